package check

import (
	"bufio"
	"strings"
	"testing"
	"unicode"
)

// What is a reply, and what of it counts, is as senders have it.
func TestReadReply(t *testing.T) {
	for sent, want := range map[string]struct {
		code int
		text string
		rest string
	}{
		"220 hello\r\n":                      {220, "220 hello", ""},
		"220\r\n":                            {220, "220", ""},
		"220 \r\n":                           {220, "220", ""},
		"220 hello\n":                        {220, "220 hello", ""},
		"250-a\r\n250-\r\n250 b\r\n221 c":    {250, "250 a  b", "221 c"},
		"250-a\r\n250\r\n":                   {250, "250 a", ""},
		"220-one says\r\n554 the last one\n": {554, "220 one says the last one", ""},
		"20 hello\r\n":                       {},
		"hello\r\n":                          {},
		"220hello\r\n":                       {},
		"2 0 hello\r\n":                      {},
		"250-a\r\nb\r\n":                     {},
		"220-hello\r\n":                      {},
		"":                                   {},
	} {
		r := bufio.NewReaderSize(strings.NewReader(sent), maxReplyLine)
		reply, err := readReply(r)
		if (err == nil) != (want.code != 0) {
			t.Errorf("%q: error %v", sent, err)
		}
		if err != nil {
			continue
		}
		rest, _ := r.Peek(r.Buffered())
		if reply.code != want.code || reply.String() != want.text || string(rest) != want.rest {
			t.Errorf("%q: %d, %q, then %q", sent, reply.code, reply.String(), rest)
		}
	}
}

// FuzzReadReply: whatever comes, little of it is kept, and what is shown can be
// shown.
func FuzzReadReply(f *testing.F) {
	f.Add("250-mx\r\n250-STARTTLS\r\n250 SIZE 1\r\n")
	f.Add("250-\r\n250\r\n")
	f.Add(strings.Repeat("250-x\r\n", maxReplyLines+1))
	f.Add(strings.Repeat("2", maxReplyLine+1))
	f.Add("554 " + strings.Repeat("ü\u202e\x1b", 200) + "\r\n")
	f.Fuzz(func(t *testing.T, sent string) {
		reply, err := readReply(bufio.NewReaderSize(strings.NewReader(sent), maxReplyLine))
		if err == nil && (reply.code < 0 || reply.code > 999) {
			t.Errorf("code %d", reply.code)
		}
		if len(reply.lines) > maxReplyLines {
			t.Errorf("%d lines", len(reply.lines))
		}
		reply.offers("STARTTLS")
		reply.garbled()
		for _, text := range []string{reply.String(), reply.first()} {
			if len(text) > maxShown+len("…") {
				t.Errorf("%d bytes are shown", len(text))
			}
			if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q has what is not printable", text)
			}
		}
	})
}
