package dnsupdate_test

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/dnsupdate"
)

// line is the way to a provider, which can be cut.
type line struct {
	http.RoundTripper
	mu   sync.Mutex
	fail error
	sent int
	hold chan struct{} // if set, a request is told of here, and goes on when it is closed
}

func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.sent++
	fail, hold := l.fail, l.hold
	l.mu.Unlock()
	if hold != nil {
		hold <- struct{}{}
		<-hold
	}
	if fail != nil {
		return nil, fail
	}
	return l.RoundTripper.RoundTrip(req)
}

func (l *line) set(fail error, hold chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.hold = fail, hold
}

func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// An account that does not answer is left alone for a while that doubles, then
// asked by one push; the others fail at once, and say why and until when.
func TestSilentAccountIsLeftAlone(t *testing.T) {
	m := startModel(t, models()["desec"]())
	way := &line{RoundTripper: m.transport}
	var mu sync.Mutex
	clock := time.Unix(1_700_000_000, 0)
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); clock = clock.Add(d) }
	accounts := map[string]dnsupdate.Account{account: {Provider: "desec", Settings: m.settings}}
	b := open(t, dnsupdate.Config{Accounts: accounts, Resolver: m.resolver, Transport: way, Now: now})
	b.Unpace()
	push := func() (sent int, err error) {
		before := way.count()
		err = b.Push(t.Context(), target("x"), first)
		return way.count() - before, err
	}

	// What is no time-out and no missing connection has the account go on.
	way.set(errors.New("unexpected EOF"), nil)
	for range 2 {
		if sent, err := push(); sent != 1 || err == nil || errors.As(err, new(*dnsupdate.SilentError)) {
			t.Fatalf("%d requests, %v", sent, err)
		}
	}

	way.set(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}, nil)
	began := now()
	var said string
	for i, pause := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		for _, want := range []int{1, 0, 0} { // the one that finds out, and others
			sent, err := push()
			silent, ok := errors.AsType[*dnsupdate.SilentError](err)
			if !ok || sent != want || !silent.RetryAt().Equal(now().Add(pause)) || !silent.Since.Equal(began) {
				t.Fatalf("pause %d: %d requests, want %d; %v (%+v)", i, sent, want, err, silent)
			}
			if said == "" {
				said = err.Error()
			}
			if err.Error() != said || !strings.Contains(said, "has not answered since 2023-11-14T22:13:20Z") || !strings.Contains(said, "no route to host") {
				t.Errorf("says %q, said %q", err, said)
			}
			if until := silent.Until.UTC().Format(time.RFC3339); !strings.Contains(silent.Remedy(), until) {
				t.Errorf("remedy %q does not say %s", silent.Remedy(), until)
			}
		}
		if until := b.Stats()[account].PausedUntil; !until.Equal(now().Add(pause)) {
			t.Errorf("paused until %s", until)
		}
		pass(pause - time.Second)
		if sent, _ := push(); sent != 0 {
			t.Error("a request before the pause is over")
		}
		pass(time.Second)
	}

	// While one finds out, the others do not wait for it.
	hold := make(chan struct{})
	way.set(nil, hold)
	result := make(chan error)
	go func() { result <- b.Push(t.Context(), target("x"), first) }()
	<-hold // its request is under way
	way.set(nil, nil)
	before := way.count()
	if err := b.Push(t.Context(), target("y"), first); !errors.As(err, new(*dnsupdate.SilentError)) || way.count() != before {
		t.Errorf("a second push during the try: %v", err)
	}
	close(hold)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	// An answer ends it.
	if err := b.Push(t.Context(), target("y"), first); err != nil || !b.Stats()[account].PausedUntil.IsZero() {
		t.Error(err)
	}

	// So does a reload, and the next pause is a short one again.
	way.set(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}, nil)
	began = now()
	for range 3 {
		sent, err := push()
		silent, ok := errors.AsType[*dnsupdate.SilentError](err)
		if sent != 1 || !ok || !silent.Until.Equal(now().Add(30*time.Second)) || !silent.Since.Equal(began) {
			t.Errorf("%d requests, %v", sent, err)
		}
		pass(time.Second)
		if err := b.SetAccounts(accounts); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that takes connections and never answers counts as silent, also if
// many pushes find out at the same time: that is one failure.
func TestServerThatNeverAnswers(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	m := startModel(t, models()["desec"]())
	b := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: {Provider: "rfc2136", Settings: map[string]string{
			"server": deaf.Addr().String(), "key_name": "k", "key": "c2VjcmV0"}}},
		Resolver: m.resolver, Timeout: 200 * time.Millisecond,
	})
	errs := make(chan error)
	for _, name := range []string{"a", "b", "c"} {
		go func() { errs <- b.Push(t.Context(), target(name), first) }()
	}
	for range 3 {
		silent, ok := errors.AsType[*dnsupdate.SilentError](<-errs)
		if !ok || silent.Until.Sub(silent.Since) != 30*time.Second {
			t.Errorf("%+v", silent)
		}
	}
}
