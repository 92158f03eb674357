package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// adminNetwork splits an admin address of the configuration, "unix:/path" or
// "host:port", into network and address.
func adminNetwork(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

// ListenAdmin listens at an admin address as the configuration has it. A unix
// socket can be used by the server's user and group (mode 0660); one that a
// killed server left behind is replaced, one that is in use is not.
func ListenAdmin(ctx context.Context, addr string) (net.Listener, error) {
	network, address := adminNetwork(addr)
	if network == "unix" {
		if err := removeStale(ctx, address); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("admin listener %s: %w; see that the directory exists and may be written, or set [listen] admin", addr, err)
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o660); err != nil {
			ln.Close()
			return nil, fmt.Errorf("admin listener %s: %w", addr, err)
		}
	}
	return ln, nil
}

// removeStale removes a unix socket on which nobody listens.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("admin socket %s: a file that is not a socket stands there; move it away or set [listen] admin", path)
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("admin socket %s: another stshost server is running there; stop it or set [listen] admin", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("admin socket %s cannot be checked: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("admin socket: remove what a killed server left: %w", err)
	}
	return nil
}
