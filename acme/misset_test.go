package acme_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

// answering makes the CA answer requests of a kind with res.
func answering(ca *fakeCA, kind string, res func() *http.Response) {
	ca.reply = func(k, _ string) *http.Response {
		if k == kind {
			return res()
		}
		return nil
	}
}

// A fault of the config at the first CA is told with what to correct, and
// sends nothing to the second one.
func TestMissetSendsNothingElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		fail   func(r *rig)
		remedy string
	}{
		"profile": {func(r *rig) {
			r.cfg.CAs[0].Profile = "shortlved"
			r.ca.meta["profiles"] = map[string]string{"classic": ""}
		},
			"correct profile in [acme] and restart"},
		"no profiles": {func(r *rig) { r.cfg.CAs[0].Profile = "classic" }, "remove profile from [acme] and restart"},
		"profile refused": {func(r *rig) {
			r.cfg.CAs[0].Profile, r.ca.meta["profiles"] = "vip", map[string]string{"vip": ""}
			answering(r.ca, "order", func() *http.Response { return refuse(400, "invalidProfile", "not for you", 0) })
		}, "correct profile in [acme] and restart"},
		"binding missing": {func(r *rig) { r.ca.meta["externalAccountRequired"] = true },
			"write the eab_kid and eab_hmac that the CA gives you in [acme] and restart"},
		"binding refused": {func(r *rig) {
			r.cfg.CAs[0].EAB = &acme.EAB{KID: "kid", Key: []byte("key")}
			answering(r.ca, "account", func() *http.Response { return refuse(403, "unauthorized", "unknown key", 0) })
		}, "write the eab_kid and eab_hmac that the CA gives you in [acme] and restart"},
		"contact refused": {func(r *rig) {
			answering(r.ca, "account", func() *http.Response { return refuse(400, "invalidContact", "no such domain", 0) })
		}, "correct email in [acme] and restart"},
		"no directory": {func(r *rig) {
			answering(r.ca, "directory", func() *http.Response { return answer(200, []byte("<html>")) })
		}, "correct directory in [acme] and restart"},
		"not found": {func(r *rig) {
			answering(r.ca, "directory", func() *http.Response { return answer(404, nil) })
		}, "correct directory in [acme] and restart"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				second := r.second()
				events := &eventLog{}
				r.cfg.Event = events.add
				c.fail(r)
				r.start()
				defer r.stop()
				r.request(host)
				after(2 * time.Hour)
				s := r.status(host)
				if second.total() != 0 || s.Problem == "" || s.Remedy != c.remedy || s.Attempts != 0 {
					t.Errorf("%d orders at the second CA; %+v", second.total(), s)
				}
				events.want(t, state.KindCertificateFallback, 0)
				if told := events.want(t, state.KindCertificateFailed, 1); len(told) > 0 && told[0].Remedy != c.remedy {
					t.Errorf("event %+v", told[0])
				}
				// It can be mended at the CA, too.
				r.ca.set(func() { r.ca.reply = nil })
				if name == "binding refused" {
					after(11 * time.Minute)
					if s := r.status(host); !s.Valid(time.Now()) || s.Remedy != "" {
						t.Errorf("status %+v", s)
					}
				}
			})
		})
	}
}

// A registration that fails for the CA's own trouble does go elsewhere, and so
// does a directory that was one once.
func TestNotMisset(t *testing.T) {
	for name, fail := range map[string]func(r *rig){
		"register": func(r *rig) {
			r.cfg.CAs[0].EAB = &acme.EAB{KID: "kid", Key: []byte("key")}
			answering(r.ca, "account", func() *http.Response { return refuse(500, "serverInternal", "we are sorry", 0) })
		},
		"directory": func(r *rig) {
			r.start()
			r.request(other)
			after(20 * time.Second)
			r.stop()
			answering(r.ca, "directory", func() *http.Response { return answer(404, nil) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host, other)
				second := r.second()
				fail(r)
				r.start()
				defer r.stop()
				r.request(host)
				after(20 * time.Second)
				if second.orders(host) != 1 || !r.status(host).Valid(time.Now()) {
					t.Errorf("%d orders at the second CA; %+v", second.orders(host), r.status(host))
				}
			})
		})
	}
}

// A certificate in its last day is worth more than the order of the CAs; hosts
// without one, however many, do not stand in its way.
func TestMissetInTheLastDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []string{host}
		for n := range 60 {
			hosts = append(hosts, fmt.Sprintf("mta-sts.fresh%d.example", n))
		}
		r := newRig(t, hosts...)
		second := r.second()
		r.start()
		r.request(host)
		after(20 * time.Second)
		r.stop()
		events := &eventLog{}
		r.cfg.Event = events.add
		r.cfg.CAs[0].Profile = "shortlved"
		r.start()
		for _, h := range hosts[1:] {
			r.request(h)
		}
		expiry := r.status(host).NotAfter
		r.jump(time.Until(expiry) - 25*time.Hour)
		if second.total() != 0 {
			t.Errorf("%d orders at the second CA a day before expiry", second.total())
		}
		after(75 * time.Minute)
		r.stop()
		if second.orders(host) != 1 || second.total() != 1 || !r.status(host).NotAfter.After(expiry) {
			t.Errorf("%d of %d orders at the second CA; %+v", second.orders(host), second.total(), r.status(host))
		}
		told := events.want(t, state.KindCertificateFallback, 1)
		if len(told) > 0 && (!strings.HasPrefix(told[0].Text, "certificates that expire within a day are ordered from") ||
			told[0].Remedy != "remove profile from [acme] and restart") {
			t.Errorf("event %+v", told[0])
		}
	})
}
