package reconcile

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const central = "sts.example.net"

// extra is how the only extra host stands.
func (p *process) extra(t *testing.T) HostState {
	t.Helper()
	all := p.ExtraHosts()
	if len(all) != 1 || all[0].Host != central {
		t.Fatalf("extra hosts %+v", all)
	}
	return all[0]
}

func (p *process) setExtra(t *testing.T, hosts ...string) {
	t.Helper()
	if err := p.SetExtraHosts(t.Context(), hosts); err != nil {
		t.Fatal(err)
	}
}

// An extra host gets its certificate once it leads here, and what waits for it
// goes when it leaves the config.
func TestExtraHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads = false
		p := l.start(t)
		defer p.stop()
		p.setExtra(t, central)
		settleFor(14 * time.Minute)
		h := p.extra(t)
		if !strings.Contains(h.LastError, central+" does not lead to this server") || h.Remedy == "" || l.orders[central] != 0 {
			t.Errorf("%+v, %d orders", h, l.orders[central])
		}
		l.change(func() { l.problem = "the CA saw another server" })
		settleFor(11 * time.Minute) // 15 minutes are over, and the next look has come
		if n := l.orders[central]; n != 1 {
			t.Errorf("%d orders after 15 minutes, want one all the same", n)
		}
		l.change(func() { l.leads, l.problem = true, "" })
		settleFor(15 * time.Minute)
		if h := p.extra(t); h.LastError != "" || h.Attempts != 0 || l.certs[central].IsZero() || l.orders[central] != 2 {
			t.Errorf("%+v, %d orders", h, l.orders[central])
		}
		heads, _ := l.tail()
		if len(heads) < 2 || heads[0] != "host.blocked warning" || heads[len(heads)-1] != "host.recovered info" {
			t.Errorf("told %q", heads)
		}

		p.setExtra(t, central) // a reload that changes nothing
		p.setExtra(t)
		if all := p.ExtraHosts(); len(all) != 0 {
			t.Errorf("%+v is left", all)
		}
	})
}

// What the CA says is told, and the host is woken when an order ends.
func TestExtraHostRefusedByTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.problem = "CAA forbids it"
		p := l.start(t)
		defer p.stop()
		p.setExtra(t, central)
		settleFor(time.Minute)
		if h := p.extra(t); !strings.Contains(h.LastError, "there is no certificate for "+central+" yet: CAA forbids it") {
			t.Errorf("%+v", h)
		}
		heads, _ := l.tail()
		if !slices.Equal(heads, []string{"host.blocked warning"}) {
			t.Errorf("told %q", heads)
		}
		l.change(func() { l.problem = "" })
		p.WakeBlocked()
		synctest.Wait()
		if h := p.extra(t); h.LastError != "" {
			t.Errorf("%+v", h)
		}
	})
}
