package dnsupdate

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// An API that drops its connections fails in the same words each time, or each
// failure would be told as a new one.
func TestFailuresInTheSameWords(t *testing.T) {
	reset := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
		conn.Close()
	}))
	t.Cleanup(reset.Close)
	var said []string
	for range 2 {
		api := newJSONAPI(environment{transport: &http.Transport{DisableKeepAlives: true}, now: time.Now}, "test", reset.URL, time.Millisecond, 9)
		err := api.call(t.Context(), http.MethodGet, "/", nil, nil)
		var op *net.OpError
		if !errors.As(err, &op) || op.Source == nil {
			t.Fatalf("got %v, want the error of a connection", err)
		}
		said = append(said, redactor{}.error(err).Error())
	}
	if said[0] != said[1] {
		t.Errorf("it says %q, and then %q", said[0], said[1])
	}
}
