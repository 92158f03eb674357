package lab

import (
	"strings"
	"sync"
)

// orderCounts counts orders. It is safe for concurrent use.
type orderCounts struct {
	mu       sync.Mutex
	requests map[string][]OrderRequest // newOrder requests by host, refused ones too
	issued   map[string]int            // finalized orders by host
	total    int
	busy     int // newOrder requests being answered, and open orders
	peak     int
	byPath   map[string]*orderEntry // paths of authorizations and finalize
}

// orderEntry is one newOrder request and the order that came of it.
type orderEntry struct {
	hosts    []string
	accepted bool // there is an order
	done     bool // it was finalized or has failed
}

func newOrderCounts() *orderCounts {
	return &orderCounts{
		requests: make(map[string][]OrderRequest),
		issued:   make(map[string]int),
		byPath:   make(map[string]*orderEntry),
	}
}

// request counts a newOrder request, which is being answered until answered.
func (b *orderCounts) request(hosts []string, what OrderRequest) *orderEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total++
	for _, host := range hosts {
		b.requests[host] = append(b.requests[host], what)
	}
	b.busy++
	b.peak = max(b.peak, b.busy)
	return &orderEntry{hosts: hosts}
}

// accept notes that a request led to an order, and the URLs that tell its end.
func (b *orderCounts) accept(o *orderEntry, urls []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o.accepted = true
	for _, u := range urls {
		b.byPath[urlPath(u)] = o
	}
}

// answered notes the end of a request. Without an order that is all there is.
func (b *orderCounts) answered(o *orderEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !o.accepted {
		b.busy--
	}
}

// end notes that the order with this URL was finalized, or has failed.
func (b *orderCounts) end(path string, finalized bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.byPath[path]
	if o == nil || o.done {
		return
	}
	o.done = true
	b.busy--
	if finalized {
		for _, host := range o.hosts {
			b.issued[host]++
		}
	}
}

// Orders is how many newOrder requests for the host came in since the start.
// Those that a fault answered count too.
func (c *CA) Orders(host string) int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return len(c.orders.requests[strings.ToLower(host)])
}

// AllOrders is Orders for every host for which there was one.
func (c *CA) AllOrders() map[string]int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	all := make(map[string]int, len(c.orders.requests))
	for host, requests := range c.orders.requests {
		all[host] = len(requests)
	}
	return all
}

// TotalOrders is how many newOrder requests came in since the start.
func (c *CA) TotalOrders() int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return c.orders.total
}

// Issued is how many orders for the host were finalized.
func (c *CA) Issued(host string) int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return c.orders.issued[strings.ToLower(host)]
}

// OpenOrders is how many orders are open now: requested, and neither refused,
// failed nor finalized. An order that its client forgot stays open.
func (c *CA) OpenOrders() int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return c.orders.busy
}

// PeakOrders is the largest number of orders that were open at once.
func (c *CA) PeakOrders() int {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return c.orders.peak
}
