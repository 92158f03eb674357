package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// eventFollower is `stshost events --follow --json` in a process of its own.
type eventFollower struct {
	w      *world
	cmd    *exec.Cmd
	events chan server.Event
	said   *logBuffer // on stderr
	ended  chan error
}

func (w *world) followEvents(args ...string) *eventFollower {
	w.t.Helper()
	f := &eventFollower{w: w, events: make(chan server.Event, 1000), said: &logBuffer{}, ended: make(chan error, 1)}
	f.cmd = exec.Command("stshost", append([]string{"events", "--follow", "--json", "--config", w.config()}, args...)...)
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	f.cmd.Stderr = f.said
	if err := f.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e server.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				w.t.Errorf("line %q: %v", lines.Text(), err)
			}
			f.events <- e
		}
		f.ended <- f.cmd.Wait()
	}()
	w.t.Cleanup(sync.OnceFunc(func() { f.cmd.Process.Kill() }))
	return f
}

// until is the next event of the kind; those before it are let pass.
func (f *eventFollower) until(kind string) server.Event {
	f.w.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case e := <-f.events:
			if e.Kind == kind {
				return e
			}
		case <-deadline:
			f.w.t.Fatalf("no event %s came; said: %s", kind, f.said.String())
		}
	}
}

// What becomes of a domain is told: on its way, when its DNS breaks, when it
// is well again, over a restart of the server, and without one.
func TestEventsOfADomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	w.watch = "1s"
	w.domains[0].lines = `mode = "enforce"`
	s := w.start()
	d := w.confirmed(example)
	f := w.followEvents(example)
	for _, step := range []state.Step{state.WaitingCertificate, state.Serving, state.Proven, state.Announced, state.Confirmed} {
		e := f.until(map[bool]string{true: state.KindPolicyServed, false: state.KindDomainStep}[step == state.Serving])
		if e.Evidence["step"] != string(step) || e.Domain != example || e.Severity != state.SeverityInfo {
			t.Errorf("event %+v, want the step %s", e, step)
		}
		if step == state.Confirmed && (e.Evidence["id"] != d.ID || e.Evidence["sha256"] != mtasts.Digest([]byte(d.Body)) || e.Evidence["proof"] != d.Proof) {
			t.Errorf("evidence %v", e.Evidence)
		}
	}

	mend := w.lab.DNS.Fail(lab.DNSFault{Name: "_mta-sts." + example + ".", Type: dns.TypeTXT, Rcode: dns.RcodeRefused})
	blocked := f.until(state.KindDomainBlocked)
	if blocked.Severity != state.SeverityCritical || blocked.Remedy == "" || blocked.Evidence["id"] != d.ID ||
		!strings.Contains(blocked.Evidence["reason"], "REFUSED") || !strings.Contains(blocked.Text, blocked.Evidence["reason"]) {
		t.Errorf("event %+v", blocked)
	}
	mend()
	recovered := f.until(state.KindDomainRecovered)
	if recovered.Evidence["reason"] != blocked.Evidence["reason"] || recovered.ID <= blocked.ID {
		t.Errorf("event %+v", recovered)
	}

	// The follower outlives the server.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return saysAll(f.said.String(), "waiting for it to come back") })
	s = w.start()
	w.domains = nil
	s.reload()
	if e := f.until(state.KindDomainLeft); e.Domain != example {
		t.Errorf("event %+v", e)
	}
	eventually(t, func() error { return saysAll(f.said.String(), "the server is back") })
	if err := f.interrupt(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}

	// A domain that has left is still told of.
	out := w.stshost("events", "EXAMPLE.test.")
	stamp := time.Now().Local().Format("Z07:00")
	for _, want := range []string{
		`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d` + regexp.QuoteMeta(stamp) + `  critical  ` + example + `  blocked at the step confirmed: .*\n    what to do: `,
		`info      ` + example + `  what blocked it is over`,
		`the domain is no longer in the config`,
		`info      ` + example + `  a certificate was issued by https://`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s is not in:\n%s", want, out)
		}
	}
	if strings.Index(out, "blocked at") > strings.Index(out, "is over") {
		t.Errorf("the latest is not at the end:\n%s", out)
	}
	critical := w.stshost("events", "--severity", "critical", "--since", "1h", "--json")
	if strings.Count(critical, "\n") != 1 || !strings.Contains(critical, `"kind":"domain.blocked"`) {
		t.Errorf("critical: %s", critical)
	}
	if out, err := exec.Command("stshost", "events", "unknown.test", "--config", w.config()).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("nothing is known of unknown.test")) {
		t.Errorf("unknown domain: %v %s", err, out)
	}

	// Without a server the store tells the same.
	online := w.stshost("events", "--json", "-n", "1000")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	offline := w.stshost("events", "--json", "-n", "1000")
	if rest, ok := strings.CutPrefix(offline, online); !ok || !strings.Contains(rest, state.KindServerStopped) {
		t.Errorf("with a server:\n%s\nwithout:\n%s", online, offline)
	}
}

// interrupt ends the follower as ctrl-C does.
func (f *eventFollower) interrupt() error {
	f.cmd.Process.Signal(os.Interrupt)
	return <-f.ended
}

// A kill is told by the next start, and so is what a reload brought.
func TestEventsOfTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	w.writeConfig()
	p := w.spawn()
	w.confirmed(example)
	eventually(t, func() error { return saysAll(w.stshost("events"), "every authoritative server") })
	p.kill()

	p = w.spawn()
	w.confirmed(example)
	eventually(t, func() error {
		return saysAll(w.stshost("events", "-n", "1", "--severity", "warning"), "ended without stopping in order")
	})
	good := w.domains[0].lines
	w.domains[0].lines = "nonsense = 1"
	w.writeConfig()
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); err == nil {
		t.Fatal("a faulty config was taken")
	}
	w.domains[0].lines = good
	w.writeConfig()
	for range 2 { // the second time there is nothing to tell
		if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); err != nil {
			t.Fatal(err)
		}
	}
	w.domains[0].lines = `max_age = "2w"`
	w.writeConfig()
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); err != nil {
		t.Fatal(err)
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	var kinds []string
	for line := range strings.Lines(w.stshost("events", "--json", "-n", "1000")) {
		var e server.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Kind == state.KindConfigRefused && (e.Severity != state.SeverityWarning || !strings.Contains(e.Evidence["faults"], "config.toml:")):
			t.Errorf("event %+v", e)
		case e.Kind == state.KindDomainChanged && (e.Evidence["old_max_age"] == "" || !strings.Contains(e.Text, "max_age was "+e.Evidence["old_max_age"]+" and is now "+e.Evidence["max_age"])):
			t.Errorf("event %+v", e)
		}
		if e.Domain == "" || e.Kind == state.KindDomainChanged || e.Kind == state.KindDomainAdded {
			kinds = append(kinds, e.Kind)
		}
	}
	want := []string{
		"domain.added", "server.started", // and killed
		"server.started", "config.refused", "config.reloaded", "domain.changed", "config.reloaded", "server.stopped",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %q, want %q", kinds, want)
	}
}

// saysAll reports which of the parts text does not have.
func saysAll(text string, parts ...string) error {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%q is not in:\n%s", part, text)
		}
	}
	return nil
}
