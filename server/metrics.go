package server

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of the listeners. None has a host as label: there
// may be thousands, and scanners could make more; /api/v1/…/fetches has those.
type metrics struct {
	requests    *prometheus.CounterVec // listener, code
	fetches     *prometheus.CounterVec // result
	handshakes  *prometheus.CounterVec // known, reason
	connections *prometheus.GaugeVec   // listener
	limits      *prometheus.GaugeVec   // listener
	evictions   *prometheus.CounterVec // listener
	headerless  *prometheus.CounterVec // listener
}

func newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_http_requests_total", Help: "Requests answered on the public ports, by listener and status code.",
		}, []string{"listener", "code"}),
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_policy_fetches_total", Help: "Requests for policies, our own looks left out, by result.",
		}, []string{"result"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_tls_handshakes_failed_total", Help: "Failed TLS handshakes, our own looks left out, by whether they asked for a host of ours, and reason.",
		}, []string{"known", "reason"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stshost_connections", Help: "Open connections, by listener.",
		}, []string{"listener"}),
		limits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stshost_connections_limit", Help: "How many connections may be open, by listener.",
		}, []string{"listener"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_connections_evicted_total", Help: "Connections closed to make room at the connection limit, by listener.",
		}, []string{"listener"}),
		headerless: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stshost_proxy_protocol_refused_total", Help: "Connections of listed balancers closed because no valid PROXY protocol header came first, by listener.",
		}, []string{"listener"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.fetches, m.handshakes, m.connections, m.limits, m.evictions, m.headerless} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	// Series that begin at 0 show their first increase.
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest} {
		m.fetches.WithLabelValues(fetchResult(status))
	}
	for _, reason := range handshakeReasons() {
		m.handshakes.WithLabelValues("true", reason)
		m.handshakes.WithLabelValues("false", reason)
	}
	return m, nil
}

// fetched counts a request for a policy.
func (m *metrics) fetched(status int) { m.fetches.WithLabelValues(fetchResult(status)).Inc() }

func fetchResult(status int) string {
	switch status {
	case http.StatusOK:
		return "served"
	case http.StatusNotFound:
		return "no_policy"
	case http.StatusMethodNotAllowed:
		return "wrong_method"
	case http.StatusMisdirectedRequest:
		return "wrong_host"
	}
	return "other"
}

// counted counts the requests of a listener by status.
func (m *metrics) counted(listener string, next http.Handler) http.Handler {
	m.requests.WithLabelValues(listener, strconv.Itoa(http.StatusOK)) // from 0 on
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
