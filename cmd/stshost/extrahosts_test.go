package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// awaitHost waits until the only extra host is as accept wants it.
func (w *world) awaitHost(what string, accept func(server.HostStatus) bool) server.HostStatus {
	w.t.Helper()
	var last server.HostStatus
	eventually(w.t, func() error {
		all, err := w.client().Hosts(w.t.Context())
		if err != nil || len(all) != 1 {
			return errors.Join(fmt.Errorf("%d hosts", len(all)), err)
		}
		if last = all[0]; !accept(last) {
			return fmt.Errorf("want %s, have %+v", what, last)
		}
		return nil
	})
	return last
}

// explainsHost wants commands that take a domain to take hosts too.
func (w *world) explainsHost(central string) {
	w.t.Helper()
	for want, args := range map[string][]string{
		"further host:": {"status", central}, `"host": "` + central + `"`: {"status", central, "--json"},
		"one of the extra_hosts": {"explain", central}, `"domain": "` + central + `"`: {"explain", central, "--json"},
		"there is no certificate for the host": {"events", central},
		"policy host:":                         {"status", "mta-sts." + example},
		"The policy is served and announced":   {"explain", "mta-sts." + example},
		"_mta-sts." + example + ".":            {"records", "mta-sts." + example},
		"a first policy is served":             {"events", "mta-sts." + example},
	} {
		eventually(w.t, func() error { // events are stored a little later
			if out := w.stshost(args...); !strings.Contains(out, want) {
				return fmt.Errorf("%v does not say %q:\n%s", args, want, out)
			}
			return nil
		})
	}
	out, err := exec.Command("stshost", "records", central, "--config", w.config()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "needs no record but") {
		w.t.Errorf("records: %v\n%s", err, out)
	}
}

// An extra host gets a certificate once it leads here, says what it is, has no
// policy, and goes with its line in the config.
func TestExtraHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	central := "sts." + example
	w.acme = fmt.Sprintf("extra_hosts = [%q]\n", central)
	s := w.start()
	w.confirmed(example)
	h := w.awaitHost("what is missing", func(h server.HostStatus) bool { return strings.Contains(h.LastError, "has no address in DNS") })
	if !strings.Contains(h.Remedy, "add an A or AAAA record for "+central) || w.lab.CA.Orders(central) != 0 {
		t.Errorf("%+v, %d orders", h, w.lab.CA.Orders(central))
	}
	if out := w.stshost("status"); !strings.Contains(out, central) || !strings.Contains(out, "has no address in DNS") {
		t.Errorf("status says:\n%s", out)
	}

	w.explains(central, "no certificate yet", "has no address in DNS")
	w.explainsHost(central)

	if err := w.lab.DNS.Set(central, "A", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.WakeHost(central)
	h = w.awaitHost("a certificate", func(h server.HostStatus) bool {
		return h.CertificateNotAfter.After(time.Now()) && h.Trouble() == ""
	})
	if h.CertificateNextTry.IsZero() {
		t.Error("nobody says when it is renewed")
	}
	if out := w.stshost("explain", central); !strings.Contains(out, "it has a certificate") || strings.Contains(out, "What blocks it") {
		t.Errorf("explain says:\n%s", out)
	}
	v := w.visitor("", "h2")
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/":                        {200, "MTA-STS"},
		mtasts.PolicyPath:          {404, "There is no policy here"},
		"/nothing":                 {404, "There is nothing here."},
		server.ProbePath + "nonce": {200, ""},
	} {
		resp, body, err := v.fetch(t.Context(), "GET", "https://"+central+path)
		if err != nil || resp.StatusCode != want.status || !strings.Contains(body, want.text) || strings.Contains(body, "STSv1") {
			t.Errorf("%s: %v, %v, %q", path, resp, err, body)
		}
	}
	if page := w.adminGet("/"); !strings.Contains(page, central) {
		t.Error("the status page does not show the host")
	}

	// It survives a restart with the one order that it had.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if out := w.stshost("status"); !strings.Contains(out, central+"  "+day(h.CertificateNotAfter)) {
		t.Errorf("status without a server says:\n%s", out)
	}
	w.explainsHost(central)
	s = w.start()
	w.awaitHost("all well", func(h server.HostStatus) bool { return !h.LastRun.IsZero() && h.Trouble() == "" })
	if n := w.lab.CA.Orders(central); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}

	w.acme = ""
	if res := s.reload(); !slices.Equal(res.Settings, []string{"extra_hosts"}) || len(res.Restart) != 0 {
		t.Errorf("the reload says %+v", res)
	}
	if _, _, err := w.visitor("", "http/1.1").fetch(t.Context(), "GET", "https://"+central+"/"); err == nil {
		t.Error("a host that left the config is served")
	}
	if _, err := s.store.CertJob(t.Context(), central); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("its renewal is still pending: %v", err)
	}
	w.sees(w.confirmed(example))
}
