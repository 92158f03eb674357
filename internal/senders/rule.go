package senders

// effect is what a behaviour does to a reading.
type effect int

const (
	// refuses: the reader ignores the record or policy.
	refuses effect = iota
	// tolerates: it reads on where RFC 8461 refuses.
	tolerates
	// differs: it reads something else where RFC 8461 reads too.
	differs
)

// rule is one behaviour of a reader. T is what it looks at.
type rule[T any] struct {
	effect effect
	does   string // completes "a reader that …"
	when   func(T) bool
	source string // who behaves so, if not the reader that the table is of
}

// note says that a behaviour was triggered.
type note struct {
	effect effect
	does   string
	line   int // of the body, from 1; 0 if it has none
	source string
}

// trail is the behaviours that one reading triggered, in order.
type trail struct {
	source string // of rules that name none
	notes  []note
}

// follow applies rules to one thing. If one of them refuses, it is the last
// note, and follow returns false.
func follow[T any](t *trail, rules []rule[T], line int, of T) bool {
	for _, r := range rules {
		if !r.when(of) {
			continue
		}
		source := r.source
		if source == "" {
			source = t.source
		}
		t.notes = append(t.notes, note{r.effect, r.does, line, source})
		if r.effect == refuses {
			return false
		}
	}
	return true
}

// why is the behaviour that ended a reading.
func (t *trail) why() string { return t.notes[len(t.notes)-1].does }
