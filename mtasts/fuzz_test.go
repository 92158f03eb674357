package mtasts_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stshost/stshost/mtasts"
)

// Whatever parses is valid, and its canonical form means the same.
func FuzzParsePolicy(f *testing.F) {
	for _, body := range []string{
		policyWith(),
		policyWith("note: https://example.com:443/ä", "mode: enforce"),
		strings.ReplaceAll(policyWith(" \t", "x", "_: y"), "\r\n", "\n"),
		mxLine("*.Example.COM\r\nmx: mx.bücher.example\r\nmx: 192.0.2.1"),
		maxAgeLine("0031557600"),
		"\ufeffVersion: STSv1\rmode:none",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		policy, err := mtasts.ParsePolicy(body)
		if err != nil {
			if text := err.Error(); text == "" {
				t.Error("an error without text")
			}
			return
		}
		if err := policy.Validate(); err != nil {
			t.Fatalf("ParsePolicy returned a policy that is not valid: %v", err)
		}
		// The canonical form may be longer: "mx:a" becomes "mx: a".
		if len(body) < mtasts.MaxBodySize/2 {
			checkRoundTrip(t, policy)
		}
	})
}

// ParsePolicy after Render is the identity on valid policies.
func FuzzRenderPolicy(f *testing.F) {
	f.Add("enforce", int64(86400), "mx.example.com *.example.net")
	f.Add("none", int64(0), "")
	f.Add("testing", int64(31557601), "MX.example. *")
	f.Fuzz(func(t *testing.T, mode string, seconds int64, mx string) {
		policy := mtasts.Policy{
			Mode:   mtasts.Mode(mode),
			MX:     strings.Split(mx, " "),
			MaxAge: time.Duration(seconds) * time.Second,
		}
		if mx == "" {
			policy.MX = nil
		}
		if policy.Validate() == nil && len(mx) < mtasts.MaxBodySize/4 {
			checkRoundTrip(t, policy)
		}
	})
}

func checkRoundTrip(t *testing.T, policy mtasts.Policy) {
	t.Helper()
	body, err := policy.Render()
	if err != nil {
		t.Fatalf("Render(%+v): %v", policy, err)
	}
	again, err := mtasts.ParsePolicy(body)
	if err != nil {
		t.Fatalf("ParsePolicy(%q): %v", body, err)
	}
	if diff := cmp.Diff(policy, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("not the same after Render and ParsePolicy (-before +after):\n%s", diff)
	}
	if bodyAgain, err := again.Render(); err != nil || !bytes.Equal(body, bodyAgain) {
		t.Fatalf("rendered again: %q, %v; want %q", bodyAgain, err, body)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, txt := range []string{
		"v=STSv1; id=20160831085700Z;",
		"v=STSv1\t;x=y ;id=a",
		"v=STSv1;; id=a-b; =",
		"v=spf1 -all",
	} {
		f.Add(txt)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		record, err := mtasts.ParseRecord(txt)
		if err != nil {
			if text := err.Error(); text == "" {
				t.Error("an error without text")
			}
			return
		}
		if !mtasts.IsRecord(txt) || !mtasts.ValidID(record.ID) {
			t.Fatalf("ParseRecord(%q) = %q: IsRecord %v, ValidID %v", txt, record.ID, mtasts.IsRecord(txt), mtasts.ValidID(record.ID))
		}
		again, err := mtasts.FindRecord([]string{record.String()})
		if err != nil || again != record {
			t.Fatalf("FindRecord(%q) = %v, %v; want %v", record.String(), again, err, record)
		}
	})
}

// The canonical form of a name is canonical, may stand in a policy, and
// matches what it was written for.
func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{
		"mx.example.com", "*.Example.COM", "mx.bücher.example", "例え。テスト", "xn--a.example",
		"[IPv6:::1]", "１.1.1.1", "a.*.b", "mx.example.com.", "straße.example", "\u200d.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pattern, err := mtasts.ParsePattern(s)
		if err != nil {
			return
		}
		if again, err := mtasts.ParsePattern(pattern); err != nil || again != pattern {
			t.Fatalf("ParsePattern(%q) = %q; parsed again: %q, %v", s, pattern, again, err)
		}
		policy := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{pattern}}
		if err := policy.Validate(); err != nil {
			t.Fatalf("ParsePattern(%q) = %q: %v", s, pattern, err)
		}
		host := pattern
		if parent, wildcard := strings.CutPrefix(pattern, "*."); wildcard {
			host = "mx." + parent
			if policy.Covers(parent) || policy.Covers("a."+host) {
				t.Fatalf("%q covers %q or %q", pattern, parent, "a."+host)
			}
		} else if domain, err := mtasts.ParseDomain(s + "."); err != nil || domain != pattern {
			t.Fatalf("ParseDomain(%q) = %q, %v; want %q", s+".", domain, err, pattern)
		}
		if !policy.Covers(host) || !policy.Covers(strings.ToUpper(host)+".") {
			t.Fatalf("%q does not cover %q", pattern, host)
		}
	})
}

func FuzzNewID(f *testing.F) {
	f.Add(int64(0), []byte(""))
	f.Add(int64(1_700_000_000), []byte(policyWith()))
	f.Fuzz(func(t *testing.T, seconds int64, body []byte) {
		now := time.Unix(seconds&(1<<37-1), 0) // years 1970 to 6325
		id := mtasts.NewID(now, body)
		if len(id) != 32 || !mtasts.ValidID(id) || !mtasts.Announces(id, body) {
			t.Fatalf("NewID(%v, %q) = %q: ValidID %v, Announces %v", now, body, id, mtasts.ValidID(id), mtasts.Announces(id, body))
		}
		if made, ok := mtasts.IDTime(id); !ok || !made.Equal(now) {
			t.Fatalf("IDTime(%q) = %v, %v; want %v", id, made, ok, now)
		}
		if mtasts.Announces(id, append(body, 'x')) {
			t.Fatalf("%q announces a longer body too", id)
		}
		if _, err := mtasts.ParseRecord(mtasts.Record{ID: id}.String()); err != nil {
			t.Fatal(err)
		}
	})
}

// No string is an id of ours unless NewID can have made it.
func FuzzIDTime(f *testing.F) {
	f.Add("20231114T221320Z0123456789abcdef")
	f.Add("20231114T2213205Z123456789abcdef")
	f.Fuzz(func(t *testing.T, id string) {
		made, ok := mtasts.IDTime(id)
		if ok && (!mtasts.ValidID(id) || !strings.HasPrefix(mtasts.NewID(made, nil), id[:16])) {
			t.Fatalf("IDTime(%q) = %v", id, made)
		}
	})
}
