package server

import (
	"bufio"
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// connLimit is a net.Listener that holds no more than max connections open. At
// the limit one is closed to make room: of the client that has the most, the one
// that has been without a request for the longest, or amid one for too long
// (sources.go). Only when all are amid a request does Accept wait. So clients
// that connect and say nothing, or too little, cannot lock senders out.
type connLimit struct {
	net.Listener
	max int
	// evictBusy says that connections amid a request may be closed too.
	evictBusy bool
	// balancer reports whether a peer's connections begin with a PROXY protocol
	// header; nil: none do.
	balancer func(net.Addr) bool
	changed  func(delta int) // told that a connection opened (1) or closed (-1)
	evicted  func()

	closing   chan struct{}
	closeOnce sync.Once

	mu    sync.Mutex
	open  int
	conns sources
	freed chan struct{} // has a value when a place may have become free
}

// conn is a connection that connLimit counts.
type conn struct {
	net.Conn
	limit *connLimit

	// sni is the server name that the client asked for, in lower case. It is
	// written and read by the goroutine that makes the TLS handshake.
	sni string
	own bool // it is one of our own looks; found out when sni is

	// proxied says that a PROXY protocol header comes first, which readHeader
	// reads before anybody else reads. It sets the others.
	proxied bool
	local   bool          // the balancer speaks for itself: a health check
	client  net.Addr      // whom the balancer speaks for; nil: the peer
	rest    *bufio.Reader // what was read beyond the header; nil: nothing is left

	// What follows is guarded by limit.mu.
	from   *source       // nil once it is closed
	place  *list.Element // in from.conns[phase]
	phase  phase
	since  time.Time // when that began
	closed bool

	spoke bool // the client has said something; of the goroutine that reads
}

func newConnLimit(ln net.Listener, max int, changed func(int), evicted func()) *connLimit {
	return &connLimit{
		Listener: ln, max: max, changed: changed, evicted: evicted,
		closing: make(chan struct{}), conns: sources{byKey: map[netip.Prefix]*source{}}, freed: make(chan struct{}, 1),
	}
}

// Accept waits for a connection and for a place for it.
func (l *connLimit) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		c, wait := l.admit(nc)
		if c != nil {
			return c, nil
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-l.freed:
		case <-later:
		case <-l.closing:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
}

// admit counts nc as open, or returns nil if there is no place for it, and when
// to try again if none becomes free before.
func (l *connLimit) admit(nc net.Conn) (_ *conn, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max {
		victim, wait := l.conns.victim(l.evictBusy)
		if victim == nil {
			return nil, wait
		}
		l.drop(victim)
		l.evicted()
	}
	c := &conn{Conn: nc, limit: l, proxied: l.balancer != nil && l.balancer(nc.RemoteAddr())}
	l.conns.add(c, idle)
	l.open++
	l.changed(1)
	return c, 0
}

// moved notes that the client of c has become known by another address.
func (l *connLimit) moved(c *conn, client net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		c.client = client
		return
	}
	l.conns.remove(c)
	c.client = client
	l.conns.add(c, c.phase)
}

// turn notes that c is at another phase. The caller holds l.mu.
func (l *connLimit) turn(c *conn, to phase) {
	if c.closed || c.phase == to {
		return
	}
	l.conns.remove(c)
	l.conns.add(c, to)
	if to == idle {
		l.signal()
	}
}

// advance notes that an idle c gets on: the client has said something for the
// first time, or has made its handshake. It counts as idle from now on.
func (c *conn) advance() {
	l := c.limit
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed && c.phase == idle {
		l.conns.remove(c)
		l.conns.add(c, idle)
	}
}

// drop closes a connection's socket and gives its place back; l.mu is held.
// Whoever reads from the connection sees it closed and cleans up.
func (l *connLimit) drop(c *conn) error {
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	l.conns.remove(c)
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
	for _, from := range slices.Clone(l.conns.heap) {
		for e := from.conns[idle].Front(); e != nil; e = from.conns[idle].Front() {
			l.drop(e.Value.(*conn))
		}
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
	to := idle
	if st == http.StateActive {
		to = busy
	}
	l.turn(c, to)
}
