package main

import (
	"fmt"
	"testing"
)

// Fifty domains begin at once: one order each, never more at a time than
// there are workers.
func TestFiftyDomainsAtOnce(t *testing.T) {
	const domains, workers = 50, 3
	var names []string
	for i := range domains {
		names = append(names, fmt.Sprintf("d%02d.test", i))
	}
	w := newWorld(t, names...)
	w.acme = fmt.Sprintf("workers = %d", workers)
	s := w.start()
	for _, name := range names {
		w.sees(w.confirmed(name))
	}
	for host, n := range w.lab.CA.AllOrders() {
		if n != 1 {
			t.Errorf("%d orders for %s", n, host)
		}
	}
	if n := w.lab.CA.TotalOrders(); n != domains {
		t.Errorf("%d orders, want %d", n, domains)
	}
	if n := w.lab.CA.PeakOrders(); n > workers {
		t.Errorf("%d orders were open at once, with %d workers", n, workers)
	}
	if n := len(w.lab.DNS.Updates()); n != domains {
		t.Errorf("%d DNS updates, want %d", n, domains)
	}
	if st := s.issuer.Stats(); st.Orders != domains || st.Issued != domains || st.Failed != 0 {
		t.Errorf("issuer: %+v", st)
	}
}
