package server

import (
	"context"
	"errors"
	"net"
	"sync"
)

// readyListener is a net.Listener whose connections are ready for HTTP: what
// comes before it, a PROXY protocol header and the TLS handshake, is done. That
// happens here, each connection in a goroutine of its own, rather than in
// http.Server, because there a failure is only a line of text in a log, and we
// want to know whose policy it kept a sender from fetching.
type readyListener struct {
	*connLimit
	prepare func(context.Context, *conn) net.Conn

	ctx    context.Context // ends when the listener is closed
	cancel context.CancelFunc
	ready  chan accepted
	wg     sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

// newReadyListener starts to accept on inner. prepare returns what is to be
// served in place of a connection, or nil if there is nothing more to it; its
// context lasts for handshakeTimeout and ends when the listener is closed.
func newReadyListener(inner *connLimit, prepare func(context.Context, *conn) net.Conn) *readyListener {
	l := &readyListener{connLimit: inner, prepare: prepare, ready: make(chan accepted)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.acceptAll)
	return l
}

// Accept returns the next connection that is ready.
func (l *readyListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting and breaks off what is under way; wait waits until that
// has ended.
func (l *readyListener) Close() error {
	l.cancel()
	return l.connLimit.Close()
}

func (l *readyListener) wait() { l.wg.Wait() }

func (l *readyListener) acceptAll() {
	for {
		nc, err := l.connLimit.Accept()
		if err != nil {
			// http.Server waits after a temporary error before it accepts again,
			// and so do we, as nobody takes the error before.
			if !l.hand(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		l.wg.Go(func() { l.make(nc.(*conn)) })
	}
}

// hand gives a to Accept and reports whether anybody took it.
func (l *readyListener) hand(a accepted) bool {
	select {
	case l.ready <- a:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// make makes a connection ready and hands it on.
func (l *readyListener) make(c *conn) {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	ready := l.prepare(ctx, c)
	if ready == nil {
		c.Close()
		return
	}
	if !l.hand(accepted{conn: ready}) {
		ready.Close()
	}
}
