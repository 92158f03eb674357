package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is what a target is sent. Both parts are plain text without secrets.
type Message struct {
	Title string // one line
	Text  string
}

const (
	shownGroups = 10 // in a message about many events
	shownNames  = 3  // of a group
)

// compose makes one message of what is to be told.
func compose(items []*item, server string) Message {
	groups := group(items)
	more := 0
	for _, it := range items {
		more += it.More
	}
	m := Message{Title: title(groups, len(items)+more)}
	var b strings.Builder
	if len(items) == 1 {
		writeOne(&b, items[0])
	} else {
		writeMany(&b, groups, len(items))
	}
	if more > 0 {
		fmt.Fprintf(&b, "Besides these, %s of severity info came while too many waited.\n", plural(more, "event"))
	}
	if it := firstHeld(items); it != nil {
		fmt.Fprintf(&b, "Held back since %s by %s.\n", stamp(it.Seen), it.held)
	}
	fmt.Fprintf(&b, "Server: %s\n", server)
	see := "stshost events"
	if subject := items[0].Subject; subject != "" && !slices.ContainsFunc(items, func(it *item) bool { return it.Subject != subject }) {
		see += " " + subject
	}
	fmt.Fprintf(&b, "More: %s\n", see)
	m.Text = b.String()
	return m
}

// alike are items that one line can tell.
type alike struct {
	items []*item
	names []string // their subjects, each once
}

func (a alike) first() *item { return a.items[0] }

// group puts alike items together: the gravest first, then the most frequent.
func group(items []*item) []alike {
	type sort struct {
		what what
		over bool
		gist uint64
	}
	index := make(map[sort]int)
	var all []alike
	for _, it := range items {
		key := sort{it.What, !it.Over.IsZero(), it.Gist}
		if it.What == isOver {
			key = sort{what: isOver}
		}
		i, ok := index[key]
		if !ok {
			i = len(all)
			index[key] = i
			all = append(all, alike{})
		}
		all[i].items = append(all[i].items, it)
	}
	for i := range all {
		seen := make(map[string]bool)
		for _, it := range all[i].items {
			if it.Subject != "" && !seen[it.Subject] {
				seen[it.Subject] = true
				all[i].names = append(all[i].names, it.Subject)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b alike) int {
		return cmp.Or(cmp.Compare(b.first().Severity.Rank(), a.first().Severity.Rank()), cmp.Compare(len(b.items), len(a.items)))
	})
	return all
}

func title(groups []alike, n int) string {
	g := groups[0]
	head := string(g.first().Severity)
	if g.first().What == isOver {
		head = "all is well again"
	}
	if len(g.names) > 0 {
		head += ": " + people(g.names, 1)
	}
	if g.first().What != isOver {
		head += ": " + g.first().Kind
	}
	if rest := n - len(g.items); rest > 0 {
		head += ", and " + plural(rest, "more event")
	}
	return "[stshost] " + head
}

func writeOne(b *strings.Builder, it *item) {
	fmt.Fprintf(b, "%s.\n", strings.TrimSuffix(sentence(it, it.Subject), "."))
	if it.Remedy != "" {
		fmt.Fprintf(b, "What to do: %s\n", it.Remedy)
	}
	fmt.Fprintf(b, "When: %s\n", stamp(it.Time))
}

func writeMany(b *strings.Builder, groups []alike, n int) {
	from, to := groups[0].first().Time, groups[0].first().Time
	for _, g := range groups {
		for _, it := range g.items {
			if it.Time.Before(from) {
				from = it.Time
			}
			if it.Time.After(to) {
				to = it.Time
			}
		}
	}
	fmt.Fprintf(b, "%s, from %s to %s.\n\n", plural(n, "event"), stamp(from), stamp(to))
	rest := 0
	for i, g := range groups {
		if i >= shownGroups {
			rest += len(g.items)
			continue
		}
		it := g.first()
		fmt.Fprintf(b, "- %s.\n", strings.TrimSuffix(sentence(it, people(g.names, shownNames)), "."))
		if it.Remedy != "" {
			fmt.Fprintf(b, "  What to do: %s\n", it.Remedy)
		}
	}
	if rest > 0 {
		fmt.Fprintf(b, "- %s of other sorts.\n", plural(rest, "more event"))
	}
	b.WriteByte('\n')
}

// sentence tells an item about whom it names.
func sentence(it *item, whom string) string {
	s := string(it.Severity) + ", " + it.Kind
	switch it.What {
	case isAgain:
		s = "still " + s
	case isOver:
		s = "well again"
	}
	if whom != "" {
		s += ", " + whom
	}
	if it.Text != "" {
		s += ": " + oneLine(it.Text)
	}
	if it.Times > 0 && it.What != isOver { // of what is over it counts the troubles that ended
		s = strings.TrimSuffix(s, ".") + fmt.Sprintf(" (it ended and came back, %s)", plural(it.Times, "time"))
	}
	if !it.Over.IsZero() {
		s = strings.TrimSuffix(s, ".") + " (over since " + stamp(it.Over) + ")"
	}
	return s
}

// people names up to max of many names and counts them.
func people(names []string, max int) string {
	switch n := len(names); {
	case n == 0:
		return ""
	case n <= max:
		return strings.Join(names, ", ")
	case max == 1:
		return plural(n, "domain")
	default:
		return plural(n, "domain") + ", e.g. " + strings.Join(names[:max], ", ")
	}
}

// firstHeld is the earliest of the items that something held up, or nil.
func firstHeld(items []*item) (first *item) {
	for _, it := range items {
		if it.held != "" && (first == nil || it.Seen.Before(first.Seen)) {
			first = it
		}
	}
	return first
}

// plural is "1 event", "9,998 events".
func plural(n int, noun string) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		noun += "s"
	}
	return digits + " " + noun
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// oneLine keeps a text from making lines of its own.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
