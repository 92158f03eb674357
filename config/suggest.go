package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// nearest returns the candidate that a mistyped word most likely meant, or
// "" if none is close. Candidates may come in any order.
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	best, bestDist := "", 0
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		d := distance(word, strings.ReplaceAll(strings.ToLower(c), "-", "_"))
		// A third of the letters wrong is a typing error; more is another word.
		if d <= max(1, len(c)/3) && (best == "" || d < bestDist) {
			best, bestDist = c, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, change or swap with their
// neighbour to make a out of b.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// didYouMean words the remedy for an unknown name.
func didYouMean(word string, candidates []string, all string) string {
	if s := nearest(word, candidates); s != "" {
		return "did you mean " + s + "?"
	}
	if len(candidates) > 0 && len(candidates) <= 24 {
		return all + " " + strings.Join(slices.Sorted(slices.Values(candidates)), ", ")
	}
	return "remove it, or correct it"
}

// few returns the names in m to suggest from, or none if there are so many
// that looking through them for each of many faults would take long.
func few[V any](m map[string]V) []string {
	if len(m) > 200 {
		return nil
	}
	return slices.Collect(maps.Keys(m))
}

// show quotes a value for a message: printable, and not longer than a line.
func show(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}

// showKey writes a key as it stands in TOML.
func showKey(k string) string {
	if isName(k) && len(k) <= 80 {
		return k
	}
	return show(k)
}

// isName reports whether s is a bare TOML key.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}
