package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// somebody reports whether somebody is there to be asked: what is typed comes from a
// terminal, and out is one.
func somebody(in io.Reader, out io.Writer) bool {
	f, ok := in.(*os.File)
	return ok && terminal(f) && terminal(out)
}

// confirmed asks whether to go on, and whoever says anything but yes says no. ctx
// ends the waiting.
func confirmed(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	fmt.Fprint(out, styleOf(out).wrapped(question+" Go on? [y/N]")+" ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			fmt.Fprintln(out) // the line that nobody ended
		}
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errors.New("nothing was changed")
	case <-ctx.Done():
		fmt.Fprintln(out)
		return errors.New("interrupted: nothing was changed")
	}
}
