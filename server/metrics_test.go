package server_test

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stshost/stshost/server"
)

// What counts is there before there is anything to count: to Prometheus the
// first value of a series is no increase.
func TestCountersBeginAtZero(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := start(t, func(cfg *server.Config) { cfg.Registry = reg })
	// Both listeners answer by now, but not with 200.
	do(t, w.client(t, w.https, "mta-sts.a.example", true), "GET", "https://mta-sts.a.example/nothing")
	do(t, w.client(t, w.http, "", false), "GET", "http://mta-sts.a.example/nothing")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{
		"stshost_http_requests_total":          {"code": "200"},
		"stshost_proxy_protocol_refused_total": {},
	} {
		for _, listener := range []string{"https", "http"} {
			labels["listener"] = listener
			found := false
			for _, f := range families {
				for _, m := range f.GetMetric() {
					have := make(map[string]string)
					for _, l := range m.GetLabel() {
						have[l.GetName()] = l.GetValue()
					}
					found = found || f.GetName() == name && maps.Equal(have, labels) && m.GetCounter().GetValue() == 0
				}
			}
			if !found {
				t.Errorf("there is no %s%v at 0", name, labels)
			}
		}
	}
}
