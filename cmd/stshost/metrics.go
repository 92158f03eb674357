package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/reconcile"
)

// newRegistry returns a registry with what the runtime, the issuing side and
// the reconciler count; the server adds its own.
func newRegistry(issuer *acme.Issuer, reconciler *reconcile.Reconciler) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, of func(acme.Stats) uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(of(issuer.Stats())) }))
	}
	counter("stshost_acme_orders_total", "Orders sent to the CA since the start.", func(s acme.Stats) uint64 { return s.Orders })
	counter("stshost_acme_issued_total", "Certificates issued since the start.", func(s acme.Stats) uint64 { return s.Issued })
	counter("stshost_acme_failed_total", "Attempts at a certificate that failed since the start.", func(s acme.Stats) uint64 { return s.Failed })
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "stshost_records_repaired_total", Help: "Records that had drifted in DNS and were pushed again since the start.",
	}, func() float64 { return float64(reconciler.Repairs()) }))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stshost_acme_running", Help: "Attempts at a certificate running now.",
	}, func() float64 { return float64(issuer.Stats().Running) }))
	return r
}
