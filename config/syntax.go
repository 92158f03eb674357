package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// tomlError is a document that is not TOML, as a decoder reported it. The
// message may quote the document, and with it a secret: it is classified,
// never shown.
type tomlError struct {
	line, column int // column 0: not known
	message      string
	deep         bool // nested too deep: not worth decoding
}

func (e *tomlError) Error() string { return e.message }

// decode reads one file's TOML into untyped values with their places. Faults
// are given to report; ok is false if there are no values to go on with.
func decode(file string, data []byte, report func(Error)) (vals map[string]any, root *node, ok bool) {
	// Editors on Windows put a byte order mark; it is not part of the text.
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	doc, indexErr := index(data)
	var deep *tomlError
	if errors.As(indexErr, &deep) && deep.deep {
		report(syntaxError(file, deep))
		return nil, nil, false
	}
	if len(doc.agains) > 0 {
		// Report every second definition, take it out, and go on with the rest.
		data = bytes.Clone(data)
		for _, a := range doc.agains {
			report(Error{
				Pos:    Pos{file, a.line},
				What:   fmt.Sprintf("%s is set again; it is already set on line %d", a.name, a.first),
				Remedy: "write it once",
			})
			blank(data[a.start:a.end])
		}
	}
	vals, err := unmarshal(data)
	if err == nil {
		err = indexErr
	}
	if te := (*tomlError)(nil); errors.As(err, &te) {
		report(syntaxError(file, te))
		return nil, nil, false
	}
	return vals, doc.root, true
}

// unmarshal decodes data into untyped values. The error is a *tomlError.
func unmarshal(data []byte) (vals map[string]any, err error) {
	defer func() {
		// The decoder panics where it finds itself at fault ("BUG: …"); a
		// config file must not be able to stop a running server.
		if r := recover(); r != nil {
			vals, err = nil, &tomlError{line: 1}
		}
	}()
	if _, err := toml.Decode(string(data), &vals); err != nil {
		te := &tomlError{line: 1, message: err.Error()}
		var pe toml.ParseError
		if errors.As(err, &pe) {
			te.message, te.line, te.column = pe.Message, max(pe.Position.Line, 1), pe.Position.Col
		}
		return nil, te
	}
	return vals, nil
}

// blank overwrites b with spaces and keeps its lines.
func blank(b []byte) {
	for i := range b {
		if b[i] != '\n' {
			b[i] = ' '
		}
	}
}

// syntaxError words a decoder's complaint without quoting the document.
func syntaxError(file string, te *tomlError) Error {
	e := Error{
		Pos:    Pos{file, te.line},
		What:   "this is not TOML",
		Remedy: "write settings as `key = value` and sections as `[name]`; https://toml.io shows the syntax",
	}
	for _, c := range syntaxClasses {
		if strings.Contains(te.message, c.contains) {
			e.What, e.Remedy = c.what, c.remedy
			break
		}
	}
	if te.column > 0 {
		e.What += fmt.Sprintf(" (column %d)", te.column)
	}
	return e
}

// syntaxClasses holds what the decoders say, and what an operator should
// read. The first match counts.
var syntaxClasses = []struct{ contains, what, remedy string }{
	{"nested more than", "values are nested too deep", "no setting needs more than a list in a table; check the brackets"},
	{"strings cannot contain newlines", "a string is not closed on its line", "end it with the quote that began it"},
	{`expected '"`, "a string is not closed", "end it with the quote that began it"},
	{`expected "'`, "a string is not closed", "end it with the quote that began it"},
	{"NULL bytes", "the file is not UTF-8 text", "save it as UTF-8"},
	{"UTF-8", "the file is not UTF-8 text", "save it as UTF-8"},
	{"control characters", "a control character stands in the text", "remove it; inside double quotes write \\t or \\uXXXX"},
	{"escape", "a backslash in a string begins no known escape", `write \\ for a backslash, or use '…' quotes, in which backslashes are plain`},
	{"hexadecimal digits after", "a backslash in a string begins no known escape", `write \\ for a backslash, or use '…' quotes, in which backslashes are plain`},
	{"out of range", "the number is too large", "write a smaller one"},
	{"invalid datetime", "the value looks like a date, but is none", `put text in quotes: key = "text"`},
	{"key name appears blank", "there is no key before the =", "write `key = value`"},
	{"expected '.' or '='", "a key is not followed by =", "write `key = value`, one a line"},
	{"key separator", "a key is not followed by =", "write `key = value`, one a line"},
	{"top-level item to end", "something follows where the line should end", "write one setting a line, and text in one pair of quotes"},
	{"array terminator", "a list is not written right", `close it with ] and put a comma between its elements: ["a", "b"]`},
	{"inline table terminator", "an inline table is not written right", "close it with } and put a comma between its members"},
	{"unexpected comma", "a comma stands where a value should", `write lists as ["a", "b"]`},
	{"table name", "a section header is not written right", "write [section], or [[domain]] for each domain"},
	{"table array name", "a section header is not written right", "write [section], or [[domain]] for each domain"},
	{"has already been defined", "a key or section is set a second time", "write it once"},
	{"was already created", "a key or section is set a second time, in another way", "write it once: either `[[name]]` or `name = …`"},
	{"is not a table", "a key is used both for a value and as a section", "write it once"},
	{"expected value", "the value is missing or not written right", `put text in quotes: key = "text"; numbers, true and false stand bare`},
	{"nvalid", "the value is not written right", `put text in quotes: key = "text"; numbers, true and false stand bare`},
	{"floats must", "the value is not written right", `put text in quotes: key = "text"; numbers, true and false stand bare`},
	{"expected a digit", "the value is not written right", `put text in quotes: key = "text"; numbers, true and false stand bare`},
	{"number", "the value is not written right", `put text in quotes: key = "text"; numbers, true and false stand bare`},
}
