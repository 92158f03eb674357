package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// result is what one measurement found. The values of a round belong together:
// they were measured one right after the other.
type result struct {
	what   string
	format func(float64) string
	base   string               // the one that ratios are to
	names  []string             // of who was measured
	values map[string][]float64 // by name, one a round
}

func newResult(what string, format func(float64) string, base string) *result {
	return &result{what: what, format: format, base: base, values: map[string][]float64{}}
}

// add keeps a value of a round; those before round 0 are thrown away.
func (r *result) add(round int, name string, value float64) {
	if !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
	if round >= 0 {
		r.values[name] = append(r.values[name], value)
	}
}

// The formats of values, which are in seconds, 1/s or bytes.
func duration(s float64) string {
	switch d := time.Duration(s * 1e9); {
	case d < time.Microsecond:
		return fmt.Sprintf("%.0f ns", s*1e9)
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", s*1e6)
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1f µs", s*1e6)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", s*1e6)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", s*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", s*1e3)
	}
	return fmt.Sprintf("%.2f s", s)
}

func perSecond(v float64) string { return fmt.Sprintf("%.0f /s", v) }
func bytesHeld(v float64) string { return fmt.Sprintf("%.1f MiB", v/(1<<20)) }

// order is stshost first, then the one that ratios are to, then the rest.
func (r result) order() []string {
	rank := func(name string) int { return slices.Index([]string{nameStshost, r.base}, name) & 3 } // -1 comes last
	return slices.SortedStableFunc(slices.Values(r.names), func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
}

// lines are the rows of the table.
func (r result) lines() string {
	var b strings.Builder
	base := r.values[r.base]
	for _, name := range r.order() {
		values := r.values[name]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | ", r.what, name, r.format(median(values)), spread(values, r.format))
		switch {
		case name == r.base:
			b.WriteString("1 |\n")
		case len(base) != len(values): // not installed
			b.WriteString("– |\n")
		default:
			ratios := make([]float64, len(values))
			for i := range values {
				ratios[i] = values[i] / base[i]
			}
			two := func(v float64) string { return fmt.Sprintf("%.2f", v) }
			fmt.Fprintf(&b, "**%.2f** (%s) |\n", median(ratios), spread(ratios, two))
		}
	}
	return b.String()
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

func spread(values []float64, format func(float64) string) string {
	if len(values) == 1 {
		return format(values[0])
	}
	return format(slices.Min(values)) + " – " + format(slices.Max(values))
}

// report is the whole text: what it was measured on, and the table.
func report(about string, versions []string, results []result) string {
	var b strings.Builder
	b.WriteString(about)
	if len(versions) > 0 {
		fmt.Fprintf(&b, "Peers: %s.\n", strings.Join(versions, ", "))
	}
	b.WriteString("\n| What | Who | Median | Least – most | Ratio in the same round: median (least – most) |\n|---|---|---|---|---|\n")
	for _, r := range results {
		b.WriteString(r.lines())
	}
	return b.String()
}

// The report stands between these lines in a file.
const (
	beginMarker = "<!-- begin: go run ./bench -o writes what follows -->\n"
	endMarker   = "<!-- end -->\n"
)

// rewrite puts the report into a file in place of the one that is there.
func rewrite(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), beginMarker)
	_, after, ok2 := strings.Cut(rest, endMarker)
	if !ok || !ok2 {
		return errors.New(file + " lacks the two markers between which the table belongs:\n" + beginMarker + endMarker)
	}
	return os.WriteFile(file, []byte(before+beginMarker+text+endMarker+after), 0o644)
}
