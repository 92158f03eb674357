package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/server"
)

// listen opens the listeners, so that a port in use is known before anything
// else happens.
func (s *service) listen(ctx context.Context, l config.Listen) (err error) {
	if s.https, err = listenTCP("https", l.HTTPS); err != nil {
		return err
	}
	if l.HTTP != "" {
		if s.http, err = listenTCP("http", l.HTTP); err != nil {
			return err
		}
	}
	if path, ok := strings.CutPrefix(l.Admin, "unix:"); ok {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make the folder of the admin socket: %w", err)
		}
	}
	s.admin, err = server.ListenAdmin(ctx, l.Admin)
	return err
}

func listenTCP(key, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("cannot listen on %s (%s in [listen]): permission denied; give the process CAP_NET_BIND_SERVICE or choose a port above 1023", addr, key)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cannot listen on %s (%s in [listen]): another program does; `ss -ltnp` shows which", addr, key)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (%s in [listen]): %w", addr, key, err)
	}
	return ln, nil
}
