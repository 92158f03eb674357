package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// drainTimeout is how long requests in flight may take to end after a stop.
	drainTimeout = 8 * time.Second
	// silentTimeout is how long, after a stop, a connection may stay open that has
	// not yet said anything: its first request may be on the way.
	silentTimeout = time.Second
)

// run serves on ln until ctx ends, and drains. limit is ln or inside of it.
func (s *Server) run(ctx context.Context, srv *http.Server, ln net.Listener, limit *connLimit) error {
	drained := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(drained)
		select {
		case <-ctx.Done():
		case <-served:
			return
		}
		silent := time.AfterFunc(silentTimeout, limit.closeIdle)
		defer silent.Stop()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := srv.Shutdown(deadline); err != nil {
			s.log.Warn("requests did not end in time and are cut off", "listener", ln.Addr().String(), "error", err)
			srv.Close()
		}
	}()
	err := srv.Serve(ln)
	close(served)
	<-drained
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	srv.Close()
	return fmt.Errorf("listener %s failed: %w", ln.Addr(), err)
}

// errorLog takes what http.Server has to say. What clients do wrong is of no
// interest to an operator; what goes wrong here is.
func (s *Server) errorLog(listener string) *log.Logger {
	return log.New(lineWriter(func(line string) {
		switch {
		case strings.HasPrefix(line, "http: panic"), strings.HasPrefix(line, "http2: panic"):
			s.log.Error("a request handler panicked; this is a fault of stshost", "listener", listener, "error", line)
		case strings.HasPrefix(line, "http: Accept error"):
			s.log.Warn("connections cannot be accepted", "listener", listener, "error", line)
		case strings.HasPrefix(line, "error gathering metrics"):
			s.log.Warn("some metrics cannot be shown", "listener", listener, "error", line)
		default:
			s.log.Debug("http", "listener", listener, "message", line)
		}
	}), "", 0)
}

// lineWriter is an io.Writer for a log.Logger, which writes a line at a time.
type lineWriter func(line string)

func (f lineWriter) Write(p []byte) (int, error) {
	f(strings.TrimSpace(string(p)))
	return len(p), nil
}
