package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are picked below those that Linux (32768) and others (49152) give to
// outgoing connections, so that nothing takes one between here and its use.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreePort finds a TCP port that is free on every given IP address.
func FreePort(ips ...string) (int, error) {
	lns, port, err := listenAll(ips)
	for _, ln := range lns {
		ln.Close()
	}
	return port, err
}

// listenAll opens one port on several IP addresses.
func listenAll(ips []string) ([]net.Listener, int, error) {
	var last error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		lns, err := listenPort(ips, port)
		if err == nil {
			return lns, port, nil
		}
		last = err
	}
	return nil, 0, fmt.Errorf("find a free port: %w", last)
}

func listenPort(ips []string, port int) (lns []net.Listener, err error) {
	for _, ip := range ips {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			errs := []error{err}
			for _, ln := range lns {
				errs = append(errs, ln.Close())
			}
			return nil, errors.Join(errs...)
		}
		lns = append(lns, ln)
	}
	return lns, nil
}

// haveIP says whether this machine can listen on an IP address. Linux has the
// whole of 127.0.0.0/8, others have only 127.0.0.1.
func haveIP(ip string) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}
