package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a config file.
type Pos struct {
	File string // path as given to Load, or as found by include
	Line int    // from 1; 0 means the file as a whole
}

// String returns "file:line", or the bare file for a finding about the file
// as a whole.
func (p Pos) String() string {
	if p.Line <= 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// IsZero reports whether p names no place at all.
func (p Pos) IsZero() bool { return p == Pos{} }

// Error is one finding in a config: where it is, what is wrong, and what to
// write instead. It never holds the value of a secret.
type Error struct {
	Pos    Pos
	What   string
	Remedy string

	cause error // what the operating system said, for errors.Is
}

// Error returns "file:line: what; what to write instead".
func (e Error) Error() string {
	s := e.Pos.String() + ": " + e.What
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap returns the error of the operating system behind the finding, if
// there is one, so that errors.Is(err, fs.ErrNotExist) works.
func (e Error) Unwrap() error { return e.cause }

// Errors are all findings of one Load, sorted by file and line.
type Errors []Error

// Error returns one line per finding.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As access to each finding.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

func sortErrors(es []Error) {
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.What, b.What))
	})
}
