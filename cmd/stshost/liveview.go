package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// liveView is a text on a terminal that is drawn anew in its place.
type liveView struct {
	w     io.Writer
	lines int // of what is shown now
}

// live reports whether w is a terminal on which texts can be drawn anew.
func live(w io.Writer) bool { return terminal(w) && os.Getenv("TERM") != "dumb" }

// draw shows text, whose lines end in line feeds, in the place of the last one. Of
// one that is higher than the terminal, height lines, it shows the beginning, as
// what has scrolled away cannot be drawn anew.
func (v *liveView) draw(text string, height int) error {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	if height > 1 && len(lines) > height-1 {
		lines = append(lines[:height-2], "…")
	}
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines) // up to where the last one began
	}
	// Lines that are too long are cut by the terminal, so that each is one there.
	b.WriteString("\r\x1b[J\x1b[?7l" + strings.Join(lines, "") + "\x1b[?7h\n")
	v.lines = len(lines)
	_, err := io.WriteString(v.w, b.String())
	return err
}

// heightOf is how many lines a terminal has; 0: that is not known.
func heightOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	_, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return height
}
