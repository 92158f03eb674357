package rollout

import (
	"slices"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// body is an entry of a ledger, last served the given time ago; 0: it is served.
func body(t *testing.T, mode mtasts.Mode, maxAge, ago time.Duration, mx ...string) state.Body {
	t.Helper()
	text, err := mtasts.Policy{Mode: mode, MX: mx, MaxAge: maxAge}.Render()
	if err != nil {
		t.Fatal(err)
	}
	b := state.Body{Body: text, Mode: mode, MaxAge: maxAge, FirstServed: noon.Add(-90 * oneDay)}
	if ago > 0 {
		b.LastServed = noon.Add(-ago)
	}
	return b
}

// RFC 8461 §8.3: until the longest max_age that was published has run out.
func TestHorizon(t *testing.T) {
	none := body(t, mtasts.ModeNone, oneDay, 0)
	for name, c := range map[string]struct {
		ledger []state.Body
		end    time.Time
		open   bool
	}{
		"nothing":                {nil, time.Time{}, false},
		"none alone":             {[]state.Body{none}, time.Time{}, false},
		"enforce, run out":       {[]state.Body{none, body(t, mtasts.ModeEnforce, oneDay, oneDay, "a.example")}, time.Time{}, false},
		"enforce, a second left": {[]state.Body{none, body(t, mtasts.ModeEnforce, oneDay, oneDay-time.Second, "a.example")}, noon.Add(time.Second), false},
		"the longest, not the last": {[]state.Body{none, body(t, mtasts.ModeTesting, oneDay, time.Hour, "a.example"),
			body(t, mtasts.ModeEnforce, 28*oneDay, 10*oneDay, "a.example")}, noon.Add(18 * oneDay), false},
		"still served": {[]state.Body{body(t, mtasts.ModeEnforce, 7*oneDay, 0, "a.example")}, noon.Add(7 * oneDay), true},
	} {
		t.Run(name, func(t *testing.T) {
			if end, open := horizon(c.ledger, noon); !end.Equal(c.end) || open != c.open {
				t.Errorf("until %s, open %t; want %s, %t", end, open, c.end, c.open)
			}
		})
	}
}

func TestKeep(t *testing.T) {
	served := func(mode mtasts.Mode, mx ...string) mtasts.Policy {
		return mtasts.Policy{Mode: mode, MX: mx, MaxAge: 7 * oneDay}
	}
	for name, c := range map[string]struct {
		served mtasts.Policy
		mx     []string
		ledger []state.Body
		names  []string
		until  time.Time
	}{
		"testing refuses nobody": {served(mtasts.ModeTesting, "a.example"), []string{"b.example"}, nil, nil, time.Time{}},
		"nothing is dropped":     {served(mtasts.ModeEnforce, "a.example"), []string{"a.example", "b.example"}, nil, nil, time.Time{}},
		"who holds the old one refuses the new host": {served(mtasts.ModeEnforce, "a.example"), []string{"b.example"},
			[]state.Body{body(t, mtasts.ModeEnforce, 7*oneDay, 0, "a.example")}, []string{"a.example"}, noon.Add(7 * oneDay)},
		"nobody does, and it stays until somebody has looked": {served(mtasts.ModeEnforce, "a.example", "b.example"), []string{"b.example"},
			[]state.Body{body(t, mtasts.ModeEnforce, 7*oneDay, 0, "a.example", "b.example")}, []string{"a.example"}, noon},
		"a pattern names the new host": {served(mtasts.ModeEnforce, "*.example"), []string{"b.example"},
			[]state.Body{body(t, mtasts.ModeEnforce, 7*oneDay, 0, "*.example")}, []string{"*.example"}, noon},
	} {
		t.Run(name, func(t *testing.T) {
			if k := keep(c.served, c.mx, c.ledger, noon); !slices.Equal(k.names, c.names) || !k.until.Equal(c.until) {
				t.Errorf("keeps %v until %s, want %v until %s", k.names, k.until, c.names, c.until)
			}
		})
	}
}

func TestMXHorizon(t *testing.T) {
	ledger := []state.Body{
		body(t, mtasts.ModeEnforce, 28*oneDay, 0, "a.example", "b.example"),
		body(t, mtasts.ModeEnforce, 28*oneDay, 8*oneDay, "a.example"),
	}
	both := state.MXCheck{Hosts: []string{"a.example", "b.example"}}
	broken := both
	broken.Findings = []state.Finding{{Code: "STS-MX-NO-STARTTLS", Status: state.CheckFail, Subject: "b.example (192.0.2.2:25)"}}
	for name, c := range map[string]struct {
		mx     string
		seen   state.MXCheck
		ledger []state.Body
		until  time.Time
		open   bool
	}{
		"somebody holds a policy without the one left": {"a.example", both, ledger, noon.Add(20 * oneDay), false},
		"the other one can go now":                     {"b.example", both, ledger, time.Time{}, false},
		"the only host":                                {"a.example", state.MXCheck{Hosts: []string{"a.example"}}, ledger, time.Time{}, true},
		"the one left is not served":                   {"a.example", both, ledger[1:], noon.Add(20 * oneDay), false},
		"the one left takes no mail":                   {"a.example", broken, ledger, time.Time{}, true},
		"no such host":                                 {"c.example", both, ledger, time.Time{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := mxHorizon("example", c.mx, c.seen, c.ledger, noon)
			if !h.Until.Equal(c.until) || h.Open != c.open || h.Text == "" || len(h.Bodies) != len(c.ledger) {
				t.Errorf("%+v; want until %s, open %t", h, c.until, c.open)
			}
		})
	}
}

// The way from testing to enforce in full, with what was adopted in between.
func TestNextPlace(t *testing.T) {
	d := inOrder().conf
	for _, c := range []struct {
		from, to place
		more     bool
	}{
		{inTesting, place{state.StageEnforce, oneDay}, true},
		{place{state.StageEnforce, oneDay}, place{state.StageEnforce, 7 * oneDay}, true},
		{place{state.StageEnforce, 5 * oneDay}, place{state.StageEnforce, 7 * oneDay}, true},
		{place{state.StageEnforce, 7 * oneDay}, inFull, true},
		{place{state.StageEnforce, 28 * oneDay}, place{}, false},
		{inFull, place{}, false},
		{place{stage: state.StageRetiring}, inTesting, true},
	} {
		if to, more := d.next(c.from); to != c.to || more != c.more {
			t.Errorf("after %+v comes %+v, %t; want %+v, %t", c.from, to, more, c.to, c.more)
		}
	}
}
