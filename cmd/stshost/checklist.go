package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/mtasts"
)

// domains are those of the arguments and of --file, each once, in the order in
// which they are named. Every fault is shown before anything is looked at.
func (s *checkSettings) domains(cmd *cobra.Command, args []string) ([]string, error) {
	var list domainList
	for _, arg := range args {
		list.add("", arg)
	}
	if s.file != "" {
		if err := list.read(cmd, s.file); err != nil {
			return nil, err
		}
	}
	switch {
	case len(list.faults) == 1:
		return nil, usageError{list.faults[0]}
	case len(list.faults) > 1:
		for _, fault := range list.faults {
			fmt.Fprintln(cmd.ErrOrStderr(), fault)
		}
		return nil, exitError(2)
	case len(list.names) == 0 && s.file != "":
		return nil, usageError{fmt.Errorf("%s names no domain; write one a line", list.file)}
	case len(list.names) == 0:
		return nil, usageError{errors.New("stshost check needs DOMAIN, or a file of domains with --file")}
	}
	for _, hint := range list.hints {
		fmt.Fprintln(cmd.ErrOrStderr(), hint)
	}
	return list.names, nil
}

// domainList collects domain names and what is wrong with those that are none.
type domainList struct {
	names  []string
	seen   map[string]bool
	faults []error
	hints  []string
	file   string // what messages call the file
}

// add takes a name that stands at a place; "" is the command line.
func (l *domainList) add(place, s string) {
	if place != "" {
		place += ": "
	}
	name, err := mtasts.ParseDomain(s)
	switch {
	case err != nil:
		l.faults = append(l.faults, fmt.Errorf("%s%w", place, err))
	case !l.seen[name]:
		if l.seen == nil {
			l.seen = map[string]bool{}
		}
		l.seen[name] = true
		l.names = append(l.names, name)
		// It may have a policy of its own, so it is looked at as any other.
		if domain, ok := mtasts.PolicyDomain(name); ok && strings.Contains(domain, ".") {
			l.hints = append(l.hints, fmt.Sprintf("%s%s is the name of a policy host; did you mean %s?", place, name, domain))
		}
	}
}

// read takes the domains of a file: one a line, blank lines and comments aside.
func (l *domainList) read(cmd *cobra.Command, path string) error {
	in, name := cmd.InOrStdin(), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return usageError{fmt.Errorf("the list of domains cannot be read: %w", err)}
		}
		defer f.Close()
		in, name = f, path
	}
	l.file = escaped(name)
	text, err := readInterruptibly(cmd.Context(), in)
	if errors.Is(err, context.Canceled) {
		return brokenOff(cmd.ErrOrStderr(), errInterrupted, 0)
	}
	if err != nil {
		return usageError{fmt.Errorf("the list of domains cannot be read: %w", err)}
	}
	lines := bufio.NewScanner(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))) // a byte order mark, as Windows writes it
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			l.add(fmt.Sprintf("%s:%d", l.file, n), line)
		}
	}
	return lines.Err()
}

// readInterruptibly reads all of r, and leaves a terminal or pipe that says
// nothing when ctx ends.
func readInterruptibly(ctx context.Context, r io.Reader) (string, error) {
	type outcome struct {
		text []byte
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		text, err := io.ReadAll(r)
		done <- outcome{text, err}
	}()
	select {
	case o := <-done:
		return string(o.text), o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
