package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// table is one TOML table with its place, read field by field so that each
// wrong type is reported with its own line.
type table struct {
	l    *loader
	file string
	name string // for messages: "[acme]", "[[domain]]"; "" is the top of the file
	vals map[string]any
	at   *node
}

// item is an element of a list of strings.
type item struct {
	s  string
	at Pos
}

func (t table) pos() Pos             { return Pos{t.file, t.at.line} }
func (t table) posOf(key string) Pos { return Pos{t.file, t.at.key(key).line} }
func (t table) has(key string) bool  { _, ok := t.vals[key]; return ok }

// in words "key in [table]".
func (t table) in(key string) string {
	if t.name == "" {
		return showKey(key)
	}
	return showKey(key) + " in " + t.name
}

// fail reports a finding at key.
func (t table) fail(key, remedy, what string, args ...any) {
	t.l.fail(t.posOf(key), remedy, what, args...)
}

// wrongType reports that key is not what it should be. The value itself is
// not shown: it may be a secret.
func (t table) wrongType(at Pos, key, want string, got any, example string) {
	t.l.fail(at, fmt.Sprintf("write %s = %s", showKey(key), example),
		"%s must be %s, not %s", t.in(key), want, typeName(got))
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time"
	case []any:
		return "a list"
	case []map[string]any:
		return "a list of tables"
	case map[string]any:
		return "a table"
	}
	return "a value of another type"
}

// str reads a string. ok is false if it is missing or was reported.
func (t table) str(key, example string) (s string, ok bool) {
	v, there := t.vals[key]
	if !there {
		return "", false
	}
	s, ok = v.(string)
	if !ok {
		t.wrongType(t.posOf(key), key, "a string", v, example)
	}
	return s, ok
}

// boolean reads true or false.
func (t table) boolean(key string) (b, ok bool) {
	v, there := t.vals[key]
	if !there {
		return false, false
	}
	b, ok = v.(bool)
	if !ok {
		t.wrongType(t.posOf(key), key, "true or false", v, "true")
	}
	return b, ok
}

// integer reads a whole number between lo and hi; def if it is missing or wrong.
func (t table) integer(key string, lo, hi, def int) int {
	v, there := t.vals[key]
	if !there {
		return def
	}
	n, ok := v.(int64)
	if !ok {
		t.wrongType(t.posOf(key), key, "an integer", v, fmt.Sprint(def))
		return def
	}
	if n < int64(lo) || n > int64(hi) {
		t.fail(key, fmt.Sprintf("write a number from %d to %d", lo, hi), "%s is %d", t.in(key), n)
		return def
	}
	return int(n)
}

// list reads a list of strings. ok is false if the list is missing or no
// list; elements of another type are reported and left out, and wrong tells.
func (t table) list(key, example string) (items []item, ok, wrong bool) {
	v, there := t.vals[key]
	if !there {
		return nil, false, false
	}
	vs, isList := v.([]any)
	if !isList {
		t.wrongType(t.posOf(key), key, "a list of strings", v, example)
		return nil, false, true
	}
	n := t.at.key(key)
	for i, v := range vs {
		at := Pos{t.file, n.elem(i).line}
		s, isString := v.(string)
		if !isString {
			t.wrongType(at, key, "a list of strings", v, example)
			wrong = true
			continue
		}
		items = append(items, item{s, at})
	}
	return items, true, wrong
}

// sub returns the table under key. A missing one reads as empty, with t's place.
func (t table) sub(key string) table {
	s := table{l: t.l, file: t.file, name: "[" + showKey(key) + "]", at: t.at.key(key)}
	if t.name != "" {
		s.name = strings.TrimSuffix(t.name, "]") + "." + showKey(key) + "]"
	}
	switch v := t.vals[key].(type) {
	case nil:
	case map[string]any:
		s.vals = v
	case []map[string]any:
		t.fail(key, "write "+s.name+" once, with single brackets", "%s may stand only once", s.name)
	default:
		t.fail(key, "write a line "+s.name+" and its settings below", "%s must be a section, not %s", showKey(key), typeName(v))
	}
	return s
}

// subs returns the tables of the list under key: [[key]] sections, or a list
// of inline tables.
func (t table) subs(key string) []table {
	name := "[[" + showKey(key) + "]]"
	n := t.at.key(key)
	var out []table
	switch v := t.vals[key].(type) {
	case nil:
	case []map[string]any:
		for i, m := range v {
			out = append(out, table{t.l, t.file, name, m, n.elem(i)})
		}
	case []any:
		for i, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				t.l.fail(Pos{t.file, n.elem(i).line}, "write a section "+name+" for each",
					"%s must be a list of tables, and this element is %s", showKey(key), typeName(e))
				continue
			}
			out = append(out, table{t.l, t.file, name, m, n.elem(i)})
		}
	case map[string]any:
		t.fail(key, "write "+name+" with two pairs of brackets", "[%s] is not a list", showKey(key))
	default:
		t.fail(key, "write a section "+name+" for each", "%s must be a list of tables, not %s", showKey(key), typeName(v))
	}
	return out
}

// only reports each key that is not known here.
func (t table) only(known []string) {
	for key := range t.vals {
		if slices.Contains(known, key) {
			continue
		}
		where := "at the top of the file"
		if t.name != "" {
			where = "in " + t.name
		}
		remedy := didYouMean(key, known, "known are")
		if nearest(key, known) == "" {
			if other := sectionsWith(key); other != "" {
				remedy = "it belongs in " + other
			}
		}
		t.fail(key, remedy, "unknown key %s %s", showKey(key), where)
	}
}

// names returns the members of t in order, and reports those that are no
// name: names are shown in messages, on pages and in metrics.
func (t table) names(what string) []string {
	var out []string
	for k := range t.vals {
		if !isName(k) || len(k) > 63 {
			t.fail(k, "use at most 63 letters, digits, - and _", "%s is no name for a %s", showKey(k), what)
			continue
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
