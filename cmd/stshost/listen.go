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

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/server"
)

// listeners are where stshost listens; nil is nowhere.
type listeners struct{ https, http, proxied, admin net.Listener }

// listen opens the listeners, so that a port in use is known before anything
// else happens. A socket that the service manager has opened is used in place
// of its address.
func (s *service) listen(ctx context.Context, l config.Listen) (err error) {
	passed := s.env.manager.sockets
	if err := s.allWanted(passed, l); err != nil {
		return err
	}
	for _, t := range []struct {
		key, addr string
		ln        *net.Listener
	}{{"https", l.HTTPS, &s.https}, {"http", l.HTTP, &s.http}, {"proxied", l.Proxied, &s.proxied}} {
		switch ln := passed[t.key]; {
		case ln != nil:
			*t.ln = ln
		case t.addr != "":
			if *t.ln, err = listenTCP(t.key, t.addr); err != nil {
				return err
			}
		}
	}
	if ln := passed["admin"]; ln != nil {
		s.admin = ln
		return nil
	}
	if path, ok := strings.CutPrefix(l.Admin, "unix:"); ok {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make the folder of the admin socket: %w", err)
		}
	}
	s.admin, err = server.ListenAdmin(ctx, l.Admin)
	return err
}

// allWanted sees that each socket that was passed is one that the config has,
// of a kind that can serve it.
func (s *service) allWanted(passed map[string]net.Listener, l config.Listen) error {
	addrs := map[string]string{"https": l.HTTPS, "http": l.HTTP, "proxied": l.Proxied, "admin": l.Admin}
	for name, ln := range passed {
		addr, known := addrs[name]
		at := ln.Addr()
		switch {
		case !known:
			return fmt.Errorf("the service manager passed a socket named %q (%s); set FileDescriptorName= in its unit to https, http, proxied or admin", name, at)
		case addr == "":
			return fmt.Errorf("the service manager passed the socket %s (%s), and %s in [listen] is off; take the socket out or set %s", name, at, name, name)
		case name != "admin" && at.Network() != "tcp":
			return fmt.Errorf("the service manager passed the socket %s as %s (%s); it has to be TCP: set ListenStream= to a port", name, at.Network(), at)
		case name == "admin" && !private(at):
			return fmt.Errorf("the service manager passed the socket admin as %s, which other machines reach, and whoever reaches it controls stshost: "+
				"set ListenStream= to a path or to an address such as 127.0.0.1:8461", at)
		}
	}
	if ln := passed["admin"]; ln != nil && listenAddress(ln.Addr()) != l.Admin {
		s.log.Warn("the admin socket is not where the config says, and the stshost command looks there for it",
			"socket", listenAddress(ln.Addr()), "config", l.Admin, "remedy", "set [listen] admin to the address of the socket")
	}
	return nil
}

// private reports whether only this machine reaches an address, as the config
// demands it of [listen] admin.
func private(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// listenAddress writes an address as [listen] admin has it.
func listenAddress(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
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

// serveAll serves on every listener, in goroutines of g.
func (s *service) serveAll(ctx context.Context, g *errgroup.Group) {
	for _, t := range []struct {
		ln    net.Listener
		serve func(context.Context, net.Listener) error
	}{{s.https, s.server.ServeHTTPS}, {s.http, s.server.ServeHTTP}, {s.proxied, s.server.ServeProxied}, {s.admin, s.server.ServeAdmin}} {
		if t.ln != nil {
			g.Go(func() error { return t.serve(ctx, t.ln) })
		}
	}
}

func (l listeners) close() {
	for _, ln := range []net.Listener{l.https, l.http, l.proxied, l.admin} {
		if ln != nil {
			ln.Close()
		}
	}
}
