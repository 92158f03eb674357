package check

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxReplyLine and maxReplyLines bound what is read of one reply. The first
	// is four times what servers may send (RFC 5321 §4.5.3.1.5).
	maxReplyLine  = 2048
	maxReplyLines = 128
	// maxShown is how much of a server's text is shown, in bytes.
	maxShown = 200
)

// replyFault says what is wrong with a reply as such, after "the greeting" or
// "the reply to EHLO".
type replyFault string

func (f replyFault) Error() string { return "the reply" + string(f) }

// smtpReply is a reply of one or several lines. Its texts are as the server
// sent them, the methods return what can be shown.
type smtpReply struct {
	code  int      // of the last line, as senders do it
	lines []string // each with its code, without line end
}

// readReply reads one reply (RFC 5321 §4.2). net/textproto does not bound lines
// nor their number, takes lines of no reply as part of one, and refuses the
// reply that is a code and nothing more, which the standard allows.
func readReply(r *bufio.Reader) (smtpReply, error) {
	var reply smtpReply
	for range maxReplyLines {
		raw, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			reply.lines = append(reply.lines, string(raw))
			return reply, replyFault(fmt.Sprintf(" has a line of more than %d bytes (RFC 5321 §4.5.3.1.5 allows 512)", maxReplyLine))
		}
		line := strings.TrimRight(string(raw), "\r\n")
		if line != "" {
			reply.lines = append(reply.lines, line)
		}
		if err != nil {
			return reply, err
		}
		code, more, ok := parseReplyLine(line)
		if !ok {
			return reply, replyFault(" is not one of SMTP (RFC 5321 §4.2)")
		}
		reply.code = code
		if !more {
			return reply, nil
		}
	}
	return reply, replyFault(fmt.Sprintf(" has more than %d lines", maxReplyLines))
}

// parseReplyLine takes the code from a line, and whether another line follows.
func parseReplyLine(line string) (code int, more, ok bool) {
	if len(line) < 3 {
		return 0, false, false
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, false, true
	}
	return code, line[3] == '-', line[3] == '-' || line[3] == ' '
}

// first is the first line, to be shown.
func (r smtpReply) first() string {
	if len(r.lines) == 0 {
		return ""
	}
	return printable(r.lines[0])
}

// String is the code and the texts of all lines, to be shown.
func (r smtpReply) String() string {
	var words []string
	for i, line := range r.lines {
		if _, _, ok := parseReplyLine(line); ok {
			if i == 0 {
				words = append(words, line[:3])
			}
			line = line[min(4, len(line)):]
		}
		words = append(words, line)
	}
	return printable(strings.TrimSpace(strings.Join(words, " ")))
}

// offers reports whether a reply to EHLO lists an extension (RFC 5321 §4.1.1.1).
func (r smtpReply) offers(keyword string) bool {
	for _, k := range r.keywords() {
		if strings.EqualFold(k, keyword) {
			return true
		}
	}
	return false
}

// garbled reports whether an extension was made unreadable, as some firewalls
// do: STARTTLS becomes XXXXXXXA.
func (r smtpReply) garbled() bool {
	for _, k := range r.keywords() {
		if strings.HasPrefix(k, "XXXX") {
			return true
		}
	}
	return false
}

// keywords are the first words of the lines after the first, which only greets.
func (r smtpReply) keywords() []string {
	var words []string
	for i, line := range r.lines {
		if i == 0 || len(line) <= 4 {
			continue
		}
		if fields := strings.Fields(line[4:]); len(fields) > 0 {
			words = append(words, fields[0])
		}
	}
	return words
}

// printable makes a server's text fit for a terminal and for JSON: nothing that
// moves the cursor or turns the writing around, and no more than maxShown.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
