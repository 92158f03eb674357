package server

import (
	"bufio"
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connLimit is a net.Listener that holds no more than max connections open. At
// the limit the connection that has been without a request for the longest is
// closed to make room; only when every connection has a request in flight does
// Accept wait. So clients that connect and say nothing cannot lock senders out.
type connLimit struct {
	net.Listener
	max int
	// balancer reports whether a peer's connections begin with a PROXY protocol
	// header; nil: none do.
	balancer func(net.Addr) bool
	changed  func(delta int) // told that a connection opened (1) or closed (-1)
	evicted  func()

	closing   chan struct{}
	closeOnce sync.Once

	mu    sync.Mutex
	open  int
	idle  *list.List    // of *conn without a request in flight, longest first
	freed chan struct{} // has a value when a place may have become free
}

// conn is a connection that connLimit counts.
type conn struct {
	net.Conn
	limit *connLimit

	// sni is the server name that the client asked for, in lower case. It is
	// written and read by the goroutine that makes the TLS handshake.
	sni string

	// proxied says that a PROXY protocol header comes first, which readHeader
	// reads before anybody else reads. It sets the others.
	proxied bool
	local   bool          // the balancer speaks for itself: a health check
	client  net.Addr      // whom the balancer speaks for; nil: the peer
	rest    *bufio.Reader // what was read beyond the header; nil: nothing is left

	place  *list.Element // in limit.idle; nil while a request is in flight
	closed bool          // place and closed are guarded by limit.mu
}

func newConnLimit(ln net.Listener, max int, changed func(int), evicted func()) *connLimit {
	return &connLimit{
		Listener: ln, max: max, changed: changed, evicted: evicted,
		closing: make(chan struct{}), idle: list.New(), freed: make(chan struct{}, 1),
	}
}

// Accept waits for a connection and for a place for it.
func (l *connLimit) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		if c := l.admit(nc); c != nil {
			return c, nil
		}
		select {
		case <-l.freed:
		case <-l.closing:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
}

// admit counts nc as open, or returns nil if there is no place for it.
func (l *connLimit) admit(nc net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max {
		longest := l.idle.Front()
		if longest == nil {
			return nil
		}
		l.drop(longest.Value.(*conn))
		l.evicted()
	}
	c := &conn{Conn: nc, limit: l, proxied: l.balancer != nil && l.balancer(nc.RemoteAddr())}
	c.place = l.idle.PushBack(c)
	l.open++
	l.changed(1)
	return c
}

// drop closes a connection's socket and gives its place back; l.mu is held.
// Whoever reads from the connection sees it closed and cleans up.
func (l *connLimit) drop(c *conn) error {
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	if c.place != nil {
		l.idle.Remove(c.place)
		c.place = nil
	}
	l.open--
	l.changed(-1)
	l.signal()
	return c.Conn.Close()
}

// signal wakes an Accept that waits for a place or for one to close.
func (l *connLimit) signal() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// Close closes the listener. Open connections stay open.
func (l *connLimit) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

// closeIdle closes every connection that has no request in flight.
func (l *connLimit) closeIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.idle.Len() > 0 {
		l.drop(l.idle.Front().Value.(*conn))
	}
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	c.limit.mu.Lock()
	defer c.limit.mu.Unlock()
	return c.limit.drop(c)
}

// track is an http.Server's ConnState hook: it tells which connections have a
// request in flight.
func track(nc net.Conn, st http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok || st != http.StateActive && st != http.StateIdle {
		return
	}
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
	case st == http.StateActive && c.place != nil:
		l.idle.Remove(c.place)
		c.place = nil
	case st == http.StateIdle && c.place == nil:
		c.place = l.idle.PushBack(c)
		l.signal()
	}
}
