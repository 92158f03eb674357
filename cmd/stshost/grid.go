package main

import (
	"strings"
	"unicode/utf8"

	"github.com/fatih/color"
)

// cell is a field of a table.
type cell struct {
	text  string
	paint []color.Attribute
}

// cells are fields without colour. What comes from the network is made harmless.
func cells(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i] = cell{text: escaped(text)}
	}
	return row
}

const (
	columnGap = 2
	// longWord is as much of a word as is not broken, as long as there is another
	// way to make a table fit; narrowest is how far a column is made narrower then.
	longWord  = 24
	narrowest = 8
)

// grid is a table; nil is no head. On a terminal that it is too wide for, its widest
// columns are made narrower, and their texts go on in the next line.
func (st style) grid(head []string, rows [][]cell) string {
	all := rows
	if head != nil {
		all = append([][]cell{cells(head...)}, rows...)
	}
	var widths, words []int
	for _, row := range all {
		widths = append(widths, make([]int, max(0, len(row)-len(widths)))...)
		words = append(words, make([]int, max(0, len(row)-len(words)))...)
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
			for word := range strings.FieldsSeq(c.text) {
				words[i] = max(words[i], min(utf8.RuneCountInString(word), longWord))
			}
		}
	}
	st.narrow(widths, func(i int) int { return words[i] })
	st.narrow(widths, func(int) int { return narrowest })
	var b strings.Builder
	for _, row := range all {
		st.gridRow(&b, row, widths)
	}
	return b.String()
}

// narrow makes widths fit the terminal, the widest first, as far as that can be done
// with none of them below least.
func (st style) narrow(widths []int, least func(int) int) {
	total := columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; st.width > 0 && total > st.width; total-- {
		widest := -1
		for i, w := range widths {
			if w > least(i) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

func (st style) gridRow(b *strings.Builder, row []cell, widths []int) {
	lines := make([][]string, len(row))
	height := 1
	for i, c := range row {
		lines[i] = folded(c.text, widths[i])
		height = max(height, len(lines[i]))
	}
	for n := range height {
		blank := 0 // what separates the next text from the last one
		for i, c := range row {
			text := ""
			if n < len(lines[i]) {
				text = lines[i][n]
			}
			if text != "" {
				b.WriteString(strings.Repeat(" ", blank) + st.painted(text, c.paint))
				blank = 0
			}
			// Escape sequences of colour have no width.
			blank += widths[i] - utf8.RuneCountInString(text) + columnGap
		}
		b.WriteString("\n")
	}
}

// painted is paint for what has a colour or none.
func (st style) painted(text string, attributes []color.Attribute) string {
	if len(attributes) == 0 {
		return text
	}
	return st.paint(text, attributes...)
}

// folded is text in lines that are no longer than width.
func folded(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
		for r := []rune(line); len(r) > width; r = []rune(line) {
			lines, line = append(lines, string(r[:width])), string(r[width:])
		}
	}
	return append(lines, line)
}

// pairs are names and what there is of each; those without a text are left out.
func (st style) pairs(all ...[2]string) string {
	var rows [][]cell
	for _, p := range all {
		if p[1] != "" {
			rows = append(rows, cells(p[0]+":", p[1]))
		}
	}
	return st.grid(nil, rows)
}
