package main

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// meters are what the service counts as it happens. No metric has a domain or
// a host as label: there may be 100,000, and the API, `stshost status` and
// the events have those.
type meters struct {
	now func() time.Time

	storeTook   *prometheus.HistogramVec // operation
	storeFailed *prometheus.CounterVec   // operation
	reloaded    prometheus.Gauge
	reloadedAt  prometheus.Gauge
}

func newMeters(now func() time.Time) *meters {
	if now == nil {
		now = time.Now
	}
	m := &meters{
		now: now,
		storeTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stshost_store_operation_seconds", Help: "How long operations of the store took, waiting included, by operation: read or write.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, []string{"operation"}),
		storeFailed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_store_failures_total", Help: "Operations that the store itself failed, by operation: read or write.",
		}, []string{"operation"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stshost_config_last_reload_successful", Help: "Whether the config that was last read, at the start or by a reload, is in force.",
		}),
		reloadedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stshost_config_last_reload_success_timestamp_seconds", Help: "When the config in force was read, in Unix time.",
		}),
	}
	for _, op := range []string{"read", "write"} {
		m.storeTook.WithLabelValues(op)
		m.storeFailed.WithLabelValues(op)
	}
	m.reload(nil)
	return m
}

// store is the store's observer.
func (m *meters) store(op string, took time.Duration, fault error) {
	m.storeTook.WithLabelValues(op).Observe(took.Seconds())
	if fault != nil {
		m.storeFailed.WithLabelValues(op).Inc()
	}
}

// reload notes how the reading of a config ended.
func (m *meters) reload(err error) {
	if err != nil {
		m.reloaded.Set(0)
		return
	}
	m.reloaded.Set(1)
	m.reloadedAt.Set(float64(m.now().Unix()))
}

// newRegistry returns a registry with what the runtime and the service count;
// the server adds its own.
func (s *service) newRegistry() *prometheus.Registry {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "stshost_build_info", Help: "What is running; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	r := prometheus.NewRegistry()
	m := s.meters
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.storeTook, m.storeFailed, m.reloaded, m.reloadedAt, newFigures(s))
	return r
}
