package check

import (
	"net"
	"testing"
)

// A server can tell the Prober's connections from others for as long as they
// are open.
func TestOwn(t *testing.T) {
	dns, _, cfg := setUp(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	set(t, dns, host, "A", "127.0.0.1")
	cfg.HTTPSPort = portNumber(t, ln)
	p := New(cfg)

	conn, err := p.cfg.Dial(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if !p.Own(conn.LocalAddr()) {
		t.Error("an open connection is not known")
	}
	stranger, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if p.Own(stranger.LocalAddr()) {
		t.Error("a connection of another is taken for ours")
	}
	if err := conn.Close(); err != nil || p.Own(conn.LocalAddr()) {
		t.Errorf("a closed connection is known still (%v)", err)
	}
	if _, err := p.Open(t.Context(), host); err != nil || len(p.conns.ours) != 0 {
		t.Errorf("%d connections are kept (%v)", len(p.conns.ours), err)
	}
}
