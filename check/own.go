package check

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// connections are those that a Prober has open, by our end's address and port:
// where one leads to this installation, the server's side sees it come from
// there, unless there is a translation of addresses between the two.
type connections struct {
	mu   sync.Mutex
	ours map[netip.AddrPort]struct{}
}

// dialer returns dial, with what it opens noted until it is closed.
func (c *connections) dialer(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		end, ok := endOf(conn.LocalAddr())
		if !ok {
			return conn, nil
		}
		c.mu.Lock()
		c.ours[end] = struct{}{}
		c.mu.Unlock()
		return &noted{Conn: conn, forget: sync.OnceFunc(func() {
			c.mu.Lock()
			delete(c.ours, end)
			c.mu.Unlock()
		})}, nil
	}
}

// noted is a connection of ours.
type noted struct {
	net.Conn
	forget func()
}

func (c *noted) Close() error {
	c.forget()
	return c.Conn.Close()
}

func endOf(addr net.Addr) (netip.AddrPort, bool) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	end := tcp.AddrPort()
	return netip.AddrPortFrom(end.Addr().Unmap(), end.Port()), true
}

// Own reports whether a connection that comes from addr is one that p has open
// now: a server asks it to tell our own looks from clients.
func (p *Prober) Own(addr net.Addr) bool {
	end, ok := endOf(addr)
	if !ok {
		return false
	}
	p.conns.mu.Lock()
	defer p.conns.mu.Unlock()
	_, ours := p.conns.ours[end]
	return ours
}
