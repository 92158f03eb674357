package mtasts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/mtasts"
)

func TestNewID(t *testing.T) {
	body := []byte("version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n")
	now := time.Date(2026, 3, 1, 1, 30, 59, 999, time.FixedZone("CET", 3600))
	const want = "20260301T003059Z94815eb6141fb6e5"

	id := mtasts.NewID(now, body)
	if id != want {
		t.Errorf("NewID = %q; want %q", id, want)
	}
	if !mtasts.ValidID(id) {
		t.Errorf("ValidID(%q) = false", id)
	}
	if got, ok := mtasts.IDTime(id); !ok || !got.Equal(now.Truncate(time.Second)) {
		t.Errorf("IDTime(%q) = %v, %v; want %v", id, got, ok, now)
	}
	if digest := mtasts.Digest(body); len(digest) != 64 || !strings.HasPrefix(digest, id[16:]) {
		t.Errorf("Digest = %q; want 64 hex digits that begin with %q", digest, id[16:])
	}
}

func TestAnnounces(t *testing.T) {
	bodyA, bodyB := []byte("A"), []byte("B")
	first := mtasts.NewID(time.Unix(1_700_000_000, 0), bodyA)
	again := mtasts.NewID(time.Unix(1_700_000_001, 0), bodyA)
	if first == again {
		t.Error("two announcements of one body have the same id")
	}
	for _, id := range []string{first, again} {
		if !mtasts.Announces(id, bodyA) || mtasts.Announces(id, bodyB) {
			t.Errorf("id %q: Announces A %v, B %v", id, mtasts.Announces(id, bodyA), mtasts.Announces(id, bodyB))
		}
	}
	digest := first[16:]
	for name, id := range map[string]string{
		"empty":                   "",
		"time stamp alone":        "20231114T221320Z",
		"digest alone":            digest,
		"digest in upper case":    "20231114T221320Z" + strings.ToUpper(digest),
		"other digest":            "20231114T221320Z0000000000000000",
		"no time":                 "20231314T221320Z" + digest,
		"leap second":             "20231231T235960Z" + digest,
		"other form of time":      "20231114221320Z0" + digest,
		"other zone":              "20231114T221320A" + digest,
		"longer":                  first + "0",
		"not hex":                 "20231114T221320Zg" + digest[1:],
		"another provider's":      "20231114221320",
		"multi-byte at the split": "20231114T221320é" + digest[1:],
	} {
		if mtasts.Announces(id, bodyA) {
			t.Errorf("%s: Announces(%q) = true", name, id)
		}
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"0":                     true,
		"aZ9":                   true,
		strings.Repeat("x", 32): true,
		"":                      false,
		strings.Repeat("x", 33): false,
		"a-b":                   false,
		"a b":                   false,
		"a;":                    false,
		"é":                     false,
	} {
		if got := mtasts.ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %v; want %v", id, got, want)
		}
	}
}
