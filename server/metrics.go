package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of the listeners. None has a host as label: there
// may be thousands, and scanners could make more; /api/v1/…/fetches has those.
type metrics struct {
	requests    *prometheus.CounterVec // listener, code
	handshakes  *prometheus.CounterVec // known
	connections *prometheus.GaugeVec   // listener
	evictions   *prometheus.CounterVec // listener
	headerless  *prometheus.CounterVec // listener

	policies         prometheus.Counter
	failed, scanners prometheus.Counter // handshakes{true}, {false}
}

func newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_http_requests_total", Help: "Requests answered on the public ports, by listener and status code.",
		}, []string{"listener", "code"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_tls_handshakes_failed_total", Help: "Failed TLS handshakes; known=\"true\" asked for one of our policy hosts.",
		}, []string{"known"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stshost_connections", Help: "Open connections, by listener.",
		}, []string{"listener"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_connections_evicted_total", Help: "Idle connections closed to make room at the connection limit, by listener.",
		}, []string{"listener"}),
		headerless: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_proxy_protocol_refused_total", Help: "Connections of listed balancers closed because no valid PROXY protocol header came first, by listener.",
		}, []string{"listener"}),
		policies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stshost_policies_served_total", Help: "Requests answered with a policy, our own looks left out.",
		}),
	}
	m.failed, m.scanners = m.handshakes.WithLabelValues("true"), m.handshakes.WithLabelValues("false")
	for _, c := range []prometheus.Collector{m.policies, m.requests, m.handshakes, m.connections, m.evictions, m.headerless} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) handshakeFailed(known bool) {
	if known {
		m.failed.Inc()
	} else {
		m.scanners.Inc()
	}
}

// counted counts the requests of a listener by status.
func (m *metrics) counted(listener string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(sw, r)
		m.requests.WithLabelValues(listener, strconv.Itoa(max(sw.status, http.StatusOK))).Inc()
	})
}

// statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// domainCollector shows how the domains stand, asked of the Backend at each
// scrape.
type domainCollector struct {
	backend                  Backend
	domains, failing, expiry *prometheus.Desc
}

// collectTimeout bounds a scrape's question to the Backend.
const collectTimeout = 5 * time.Second

func newDomainCollector(b Backend) *domainCollector {
	return &domainCollector{
		backend: b,
		domains: prometheus.NewDesc("stshost_domains", "Domains, by the step they have reached.", []string{"step"}, nil),
		failing: prometheus.NewDesc("stshost_domains_failing", "Domains with something wrong: the last run met an error, or the certificate could not be had or renewed.", nil, nil),
		expiry: prometheus.NewDesc("stshost_certificate_earliest_expiry_timestamp_seconds",
			"Expiry of the certificate that expires first, in Unix time; absent without certificates.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *domainCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.domains
	ch <- c.failing
	ch <- c.expiry
}

// Collect implements prometheus.Collector.
func (c *domainCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	all, err := c.backend.Domains(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.domains, err)
		return
	}
	steps := map[string]int{}
	for _, step := range allSteps() {
		steps[string(step)] = 0
	}
	failing, earliest := 0, time.Time{}
	for _, d := range all {
		steps[cmp.Or(string(d.Step), "new")]++
		if d.Trouble() != "" {
			failing++
		}
		if t := d.CertificateNotAfter; !t.IsZero() && (earliest.IsZero() || t.Before(earliest)) {
			earliest = t
		}
	}
	for step, n := range steps {
		ch <- prometheus.MustNewConstMetric(c.domains, prometheus.GaugeValue, float64(n), step)
	}
	ch <- prometheus.MustNewConstMetric(c.failing, prometheus.GaugeValue, float64(failing))
	if !earliest.IsZero() {
		ch <- prometheus.MustNewConstMetric(c.expiry, prometheus.GaugeValue, float64(earliest.Unix()))
	}
}
