package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// maxDepth bounds dotted keys and nested values. No setting is deeper than
// three; the bound keeps the decoders' recursion small on hostile input.
const maxDepth = 32

// node is a place in a TOML document. The nodes form a tree of the same
// shape as the decoded values, so a value and its line are found together
// and no look-up walks the document.
type node struct {
	line  int
	kind  nodeKind
	keys  map[string]*node // members of a table
	elems []*node          // elements of an array, or of an array of tables
}

type nodeKind uint8

const (
	implicit nodeKind = iota // a table that only its sub-tables name
	header                   // [table]
	tables                   // [[table]]
	value                    // key = value
)

// key returns the member k, or a node on n's own line if there is none.
func (n *node) key(k string) *node {
	if c := n.keys[k]; c != nil {
		return c
	}
	return &node{line: n.line}
}

// elem returns the i-th element, or a node on n's own line if there is none.
func (n *node) elem(i int) *node {
	if i < len(n.elems) {
		return n.elems[i]
	}
	return &node{line: n.line}
}

func (n *node) child(k string, line int) *node {
	c := n.keys[k]
	if c == nil {
		if n.keys == nil {
			n.keys = make(map[string]*node)
		}
		c = &node{line: line}
		n.keys[k] = c
	}
	return c
}

// again is a key or table that a document defines a second time.
type again struct {
	name        string
	line, first int
	start, end  int // the bytes of the second definition
}

// document is the index of one file.
type document struct {
	root   *node
	agains []again
}

type indexer struct {
	parser   unstable.Parser
	newlines []int // offsets of line feeds
	doc      document
}

// index maps the keys of a TOML document to lines. The error is a *tomlError.
func index(data []byte) (doc document, err error) {
	defer func() {
		// The parser is marked unstable and its documentation names panics;
		// a config file must not be able to stop a running server.
		if r := recover(); r != nil {
			err = &tomlError{line: 1}
		}
	}()
	x := &indexer{doc: document{root: &node{line: 1}}}
	for i, b := range data {
		if b == '\n' {
			x.newlines = append(x.newlines, i)
		}
	}
	x.parser.Reset(data)
	cur, open := x.doc.root, -1 // open: the second definition of a table that is being read
	for x.parser.NextExpression() {
		e := x.parser.Expression()
		if e.Kind == unstable.KeyValue {
			if err := x.keyValue(cur, e, 0); err != nil {
				return x.doc, err
			}
			continue
		}
		keys, off := x.keysOf(e)
		if open >= 0 {
			x.doc.agains[open].end, open = x.lineStart(off), -1
		}
		if len(keys) > maxDepth {
			return x.doc, tooDeep(x.line(off))
		}
		n, first := x.table(keys, x.line(off), e.Kind == unstable.ArrayTable)
		if first != nil {
			open = len(x.doc.agains)
			x.doc.agains = append(x.doc.agains, again{
				name: "[" + joinKey(keys) + "]", line: x.line(off), first: first.line,
				start: x.lineStart(off), end: len(data),
			})
		}
		cur = n
	}
	if err := x.parser.Error(); err != nil {
		return x.doc, &tomlError{line: x.errorLine(err, data), message: err.Error()}
	}
	return x.doc, nil
}

func tooDeep(line int) error {
	return &tomlError{
		line: line, message: fmt.Sprintf("nested more than %d levels deep", maxDepth), deep: true,
	}
}

func (x *indexer) line(offset int) int {
	i, _ := slices.BinarySearch(x.newlines, offset)
	return i + 1
}

func (x *indexer) lineStart(offset int) int {
	if l := x.line(offset); l > 1 {
		return x.newlines[l-2] + 1
	}
	return 0
}

func (x *indexer) errorLine(err error, data []byte) int {
	if pe, ok := err.(*unstable.ParserError); ok && len(pe.Highlight) > 0 {
		return x.line(int(x.parser.Range(pe.Highlight).Offset))
	}
	return x.line(len(data))
}

// keysOf returns the parts of an expression's key and where the first stands.
func (x *indexer) keysOf(e *unstable.Node) (keys []string, offset int) {
	it := e.Key()
	for it.Next() {
		n := it.Node()
		if len(keys) == 0 {
			offset = int(n.Raw.Offset)
		}
		keys = append(keys, string(n.Data))
	}
	return keys, offset
}

// table finds or makes the table that a header names. If the header defines
// a table for the second time, first is its first definition and the table
// returned stands apart from the tree.
func (x *indexer) table(keys []string, line int, array bool) (t, first *node) {
	n := x.doc.root
	for i, k := range keys {
		existed := n.keys[k] != nil
		c := n.child(k, line)
		if i < len(keys)-1 {
			if c.kind == tables && len(c.elems) > 0 {
				c = c.elems[len(c.elems)-1]
			}
			n = c
			continue
		}
		switch {
		case array && (!existed || c.kind == tables):
			c.kind = tables
			e := &node{line: line, kind: header}
			c.elems = append(c.elems, e)
			return e, nil
		case !array && (!existed || c.kind == implicit):
			// [a.b] may stand before [a] (TOML 1.0, "Table").
			c.kind, c.line = header, line
			return c, nil
		}
		return &node{line: line, kind: header}, c
	}
	return n, nil
}

// keyValue enters `key = value` into the table cur.
func (x *indexer) keyValue(cur *node, e *unstable.Node, depth int) error {
	keys, off := x.keysOf(e)
	line := x.line(off)
	if len(keys)+depth > maxDepth {
		return tooDeep(line)
	}
	n := cur
	for i, k := range keys {
		if c := n.keys[k]; c != nil && (i == len(keys)-1 || c.kind == value) {
			x.doc.agains = append(x.doc.agains, again{
				name: joinKey(keys), line: line, first: c.line,
				start: int(e.Raw.Offset), end: int(e.Raw.Offset + e.Raw.Length),
			})
			n = &node{line: line} // the first definition keeps its place
			break
		}
		n = n.child(k, line)
	}
	n.kind = value
	return x.value(n, e.Value(), depth+1)
}

// value enters the parts of v, which stands at n.
func (x *indexer) value(n *node, v *unstable.Node, depth int) error {
	if depth > maxDepth {
		return tooDeep(n.line)
	}
	it := v.Children()
	switch v.Kind {
	case unstable.Array:
		line := n.line
		for it.Next() {
			el := it.Node()
			if el.Raw.Length > 0 {
				line = x.line(int(el.Raw.Offset))
			}
			c := &node{line: line, kind: value}
			n.elems = append(n.elems, c)
			if err := x.value(c, el, depth+1); err != nil {
				return err
			}
		}
	case unstable.InlineTable:
		for it.Next() {
			if err := x.keyValue(n, it.Node(), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinKey writes a dotted key as an operator would.
func joinKey(keys []string) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = showKey(k)
	}
	return strings.Join(parts, ".")
}
