package mtatest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// ForwardTCP makes each connection to the address from one to the address that
// to returns at the time, until the test ends.
func ForwardTCP(t testing.TB, from string, to func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	f := &forward{conns: make(map[net.Conn]bool)}
	f.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(conn, to()) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		f.end()
	})
}

// forward is a set of connections that end together.
type forward struct {
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
}

func (f *forward) serve(near net.Conn, to string) {
	defer f.close(near)
	if !f.add(near) {
		return
	}
	far, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		return
	}
	defer f.close(far)
	if !f.add(far) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0]) // ends when either end does
			_ = way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

func (f *forward) add(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[conn] = true
	return !f.ended
}

func (f *forward) close(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
	conn.Close()
}

func (f *forward) end() {
	f.mu.Lock()
	f.ended = true
	for conn := range f.conns {
		conn.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// ForwardUDP passes each packet to the address from on to the address to, and
// one back, as the DNS has it.
func ForwardUDP(t testing.TB, from, to string) {
	t.Helper()
	near, err := net.ListenPacket("udp", from)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			buf := make([]byte, 1<<16)
			n, client, err := near.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				continue // about a client that has gone
			}
			wg.Go(func() {
				if n, err = ask(to, buf, n); err == nil {
					_, _ = near.WriteTo(buf[:n], client) // who does not get it asks again
				}
			})
		}
	})
	t.Cleanup(func() {
		near.Close()
		wg.Wait()
	})
}

// ask sends the first n bytes of buf, and returns how many of it an answer fills.
func ask(to string, buf []byte, n int) (int, error) {
	far, err := net.Dial("udp", to)
	if err != nil {
		return 0, err
	}
	defer far.Close()
	if err := far.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := far.Write(buf[:n]); err != nil {
		return 0, err
	}
	return far.Read(buf)
}
