package server

import (
	"container/heap"
	"container/list"
	"net"
	"net/netip"
	"time"
)

// busyPatience is how long a connection may be amid a request before it counts
// as one that holds a place for nothing, if places are short. A request fits
// into a packet and is answered in a moment; headers that come byte by byte, and
// answers that nobody takes, do not.
const busyPatience = 2 * time.Second

// source is where connections come from: an address, or an IPv6 network of the
// size that one customer gets.
type source struct {
	key   netip.Prefix
	conns [2]list.List // of *conn by their phase, longest in it first
	place int          // in sources.heap
}

// phase is what a connection is at. The earlier ones go first.
type phase int

const (
	idle phase = iota // no request is in flight; there may be a handshake
	busy              // one is
)

func (s *source) total() int {
	return s.conns[idle].Len() + s.conns[busy].Len()
}

// first is the connection that is to go first, if any may. There is one.
func (s *source) first() *conn {
	for i := range s.conns {
		if e := s.conns[i].Front(); e != nil {
			return e.Value.(*conn)
		}
	}
	panic("server: a source without connections")
}

// victim is the connection of the source that is to go first, nil if all have a
// request in flight that is no nuisance yet. With evictBusy unset none ever is.
func (s *source) victim(now time.Time, evictBusy bool) *conn {
	c := s.first()
	if c.phase == busy && (!evictBusy || now.Sub(c.since) < busyPatience) {
		return nil
	}
	return c
}

// sources are the open connections by their source, the source with the most of
// them first; among equals, the one whose connection is at the earliest phase, and
// has been for longest.
type sources struct {
	byKey map[netip.Prefix]*source
	heap  sourceHeap
}

type sourceHeap []*source

func (h sourceHeap) Len() int { return len(h) }
func (h sourceHeap) Less(i, j int) bool {
	if a, b := h[i].total(), h[j].total(); a != b {
		return a > b
	}
	a, b := h[i].first(), h[j].first()
	if a.phase != b.phase {
		return a.phase < b.phase
	}
	return a.since.Before(b.since)
}
func (h sourceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *sourceHeap) Push(x any) {
	s := x.(*source)
	s.place = len(*h)
	*h = append(*h, s)
}
func (h *sourceHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}

// add enters c at a phase that begins now.
func (s *sources) add(c *conn, at phase) {
	key := sourceOf(c.RemoteAddr())
	c.from = s.byKey[key]
	known := c.from != nil
	if !known {
		c.from = &source{key: key}
		s.byKey[key] = c.from
	}
	c.since, c.phase = time.Now(), at
	c.place = c.from.conns[at].PushBack(c)
	if known {
		heap.Fix(&s.heap, c.from.place)
	} else {
		heap.Push(&s.heap, c.from)
	}
}

// remove takes c out.
func (s *sources) remove(c *conn) {
	c.from.conns[c.phase].Remove(c.place)
	if c.from.total() > 0 {
		heap.Fix(&s.heap, c.from.place)
	} else {
		// It is removed by its place alone: an empty one has nothing to compare.
		s.heap.removeEmpty(c.from.place)
		delete(s.byKey, c.from.key)
	}
	c.from, c.place = nil, nil
}

// removeEmpty takes out the source at place, which has no connections.
func (h *sourceHeap) removeEmpty(place int) {
	last := len(*h) - 1
	if place != last {
		h.Swap(place, last)
	}
	h.Pop()
	if place != last {
		heap.Fix(h, place)
	}
}

// victim is the connection to close for a new one: of the source that has the
// most, the one that has been without a request in flight for longest, or else
// amid one for too long. If that source has none, another gives one up only if
// it has about as many: else a client with one connection would pay for one with
// thousands. wait is when to look again if there is none; 0 if that is up to the
// clients.
func (s *sources) victim(evictBusy bool) (_ *conn, wait time.Duration) {
	if len(s.heap) == 0 {
		return nil, 0
	}
	now := time.Now()
	most := s.heap[0]
	if c := most.victim(now, evictBusy); c != nil {
		return c, 0
	}
	var best *conn
	for i, other := range s.heap {
		if evictBusy && 2*other.total() < most.total() {
			continue
		}
		if c := other.victim(now, evictBusy); c != nil && (best == nil || s.heap.Less(i, best.from.place)) {
			best = c
		}
	}
	if best != nil || !evictBusy {
		return best, 0
	}
	return nil, busyPatience - now.Sub(most.first().since)
}

// sourceOf is the source of a client's address: IPv4 address or IPv6 /64. All
// that have neither are one.
func sourceOf(addr net.Addr) netip.Prefix {
	if addr == nil {
		return netip.Prefix{}
	}
	var ip netip.Addr
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip = tcp.AddrPort().Addr()
	} else if ap, err := netip.ParseAddrPort(addr.String()); err == nil {
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
