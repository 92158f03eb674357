package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/mailtest"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// hook is a webhook that keeps what it is told.
type hook struct {
	*httptest.Server
	mu   sync.Mutex
	told []map[string]string
}

func startHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m map[string]string
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = append(h.told, m)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) messages() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, m := range h.told {
		all = append(all, m["title"]+"\n"+m["message"])
	}
	return all
}

// A domain that breaks is told once, by webhook and by mail, over a restart
// too; and so is its repair. The secrets of both stay secrets.
func TestNotifications(t *testing.T) {
	t.Parallel()
	const password, token = "p4ssw0rd-of-the-mail", "t0ken-of-the-hook"
	web, mail := startHook(t), mailtest.Start(t, password)
	w := newWorld(t, example)
	w.notifyWindow = 300 * time.Millisecond
	w.extra = fmt.Sprintf("[notify.hook]\nurl = %q\n[notify.mail]\nurl = %q\n[notify.broken]\nurl = %q\n",
		"generic+"+web.URL+"/"+token+"?template=json", mail.URL(password), mail.URL("wrong-"+password))
	s := w.start()
	before := w.confirmed(example)

	// told wants each to have been told n messages, the last with these parts.
	told := func(n int, parts ...string) {
		t.Helper()
		for name, messages := range map[string]func() []string{"the webhook": web.messages, "the mailbox": mail.Mails} {
			eventually(t, func() error {
				if got := messages(); len(got) < n {
					return fmt.Errorf("%s got %d messages, want %d: %v", name, len(got), n, got)
				}
				return nil
			})
			got := messages()
			if len(got) != n {
				t.Fatalf("%s got %d messages, want %d: %v", name, len(got), n, got)
			}
			for _, part := range parts {
				if !strings.Contains(got[n-1], part) {
					t.Errorf("%s: %q is missing in\n%s", name, part, got[n-1])
				}
			}
		}
	}
	if len(web.messages())+len(mail.Mails()) > 0 {
		t.Fatalf("a good start was told: %v %v", web.messages(), mail.Mails())
	}
	undo := w.lab.DNS.Fail(lab.DNSFault{Updates: true, Rcode: dns.RcodeRefused})
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	told(1, "[stshost] ", example+": domain.blocked", "refuses the update", "What to do: ", "More: stshost events "+example)
	w.await(example, "a second failure", func(d server.DomainStatus) bool { return d.Attempts > 1 })
	shown := []string{s.log.String()}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = w.start()
	w.await(example, "a failure after the restart", func(d server.DomainStatus) bool { return d.LastRun.After(before.LastRun) && d.Attempts > 0 })
	undo()
	w.sees(w.confirmedAnew(before))
	told(2, "[stshost] all is well again: "+example, "what blocked it is over")

	eventually(t, func() error {
		if n := w.metric(`stshost_notifications_failed_total{target="broken"}`); n < 1 {
			return fmt.Errorf("%v deliveries failed", n)
		}
		return nil
	})
	if n := w.metric(`stshost_notifications_sent_total{target="hook"}`); n != 1 {
		t.Errorf("%v messages were counted since the restart, want 1", n)
	}
	out, err := exec.Command("stshost", "notify", "test", "--config", w.config()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "hook: done\n") || !strings.Contains(string(out), "mail: done\n") ||
		!strings.Contains(string(out), "broken: not sent: ") {
		t.Errorf("notify test: %v\n%s", err, out)
	}
	told(3, "This is a test.")
	if out := w.stshost("notify", "test", "hook"); out != "hook: done\n" {
		t.Errorf("notify test hook: %s", out)
	}
	shown = append(shown, w.everythingShown()...)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	shown = append(shown, s.log.String(), string(out))
	for _, text := range shown {
		for _, secret := range []string{password, token} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is shown in:\n%s", secret, text)
			}
		}
	}
}

// The [notify] of a config that is reloaded is in force at once, and a URL
// that cannot be right is a fault of the config.
func TestNotificationsAfterReload(t *testing.T) {
	web := startHook(t)
	w := newWorld(t, example)
	w.notifyWindow = 50 * time.Millisecond
	s := w.start()
	w.confirmed(example)
	w.extra = "[notify.hook]\nurl = \"nonsense://hush\"\n"
	w.writeConfig()
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); err == nil || !strings.Contains(err.Error(), "[notify.hook]") || strings.Contains(err.Error(), "hush") {
		t.Errorf("a wrong URL: %v", err)
	}
	// Its end is an event, though the config is what it was before.
	w.extra = ""
	if res := s.reload(); !res.Empty() {
		t.Errorf("the old config changed %+v", res)
	}
	eventually(t, func() error {
		found, err := s.events.Events(t.Context(), state.EventQuery{Kind: state.KindConfigReloaded})
		if err != nil || len(found) != 1 || !strings.Contains(found[0].Text, "in order again") {
			return fmt.Errorf("events are %v, %v", found, err)
		}
		return nil
	})
	w.extra = fmt.Sprintf("[notify.hook]\nmin = \"info\"\nurl = %q\n", "generic+"+web.URL+"?template=json")
	if res := s.reload(); len(res.Settings) != 1 || res.Settings[0] != "notify" {
		t.Errorf("changed settings are %v", res.Settings)
	}
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	eventually(t, func() error {
		if all := strings.Join(web.messages(), "\n"); !strings.Contains(all, "policy.served") {
			return fmt.Errorf("told is %q", all)
		}
		return nil
	})
}

// Who is to be told can be tried while the rest of the config has faults.
func TestNotifyTestOfAFaultyConfig(t *testing.T) {
	web := startHook(t)
	w := newWorld(t, example)
	w.extra = fmt.Sprintf("[notify.hook]\nurl = \"generic+%s/x?template=json\"\n", web.URL)
	w.domains[0].lines = `dns = "typo"`
	w.writeConfig()
	if out := w.must("notify", "test"); !strings.Contains(out, "hook: done") || len(web.messages()) != 1 {
		t.Errorf("notify test says %q, told %q", out, web.messages())
	}
}
