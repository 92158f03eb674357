package main

import (
	"cmp"
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// scrapeTimeout bounds the questions of one scrape to the store.
const scrapeTimeout = 5 * time.Second

// figures are the metrics that are asked of the parts at each scrape.
type figures struct {
	s     *service
	certs certFigures
	descs map[string]*prometheus.Desc
}

func newFigures(s *service) *figures {
	f := &figures{s: s, certs: certFigures{s: s}, descs: make(map[string]*prometheus.Desc)}
	for _, m := range []struct {
		name, help string
		labels     []string
	}{
		{"stshost_domains", "Domains of the config, by the step they have reached.", []string{"step"}},
		{"stshost_domains_by_mode", "Domains of the config, by the mode of their policy.", []string{"mode"}},
		{"stshost_domains_waiting", "Domains whose entry in the config is new or has changed and has not been taken up yet.", nil},
		{"stshost_domains_failing", "Domains of the config with something wrong: the last look met an error, or the certificate could not be had or renewed.", nil},
		{"stshost_domains_mx_failing", "Domains of the config with an MX host that senders who honour the policy would refuse, or that cannot be reached.", nil},
		{"stshost_domains_mx_unknown", "Domains of the config of whose MX hosts it could not be told at the last look, and that are not known to fail.", nil},
		{"stshost_domains_left", "Domains that are no longer in the config and are still served.", nil},
		{"stshost_rollouts", "Domains on their way, by state: going (to enforce), held (by a gate that somebody has to open), paused, retiring.", []string{"state"}},
		{"stshost_reconcile_due", "Domains that wait to be looked at.", nil},
		{"stshost_reconcile_overdue_seconds", "For how long the domain that has waited longest has been due.", nil},
		{"stshost_reconcile_running", "Domains that are looked at now.", nil},
		{"stshost_records_repaired_total", "Records that had drifted in DNS and were pushed again since the start.", nil},

		{"stshost_certificates", "Hosts, by the state of their certificate: valid, expiring (less than a fifth of its life left), expired, missing.", []string{"status"}},
		{"stshost_certificate_earliest_expiry_timestamp_seconds", "Expiry of the certificate that expires first, in Unix time; absent without certificates.", nil},
		{"stshost_certificate_oldest_issue_timestamp_seconds", "Issue of the certificate that is oldest, in Unix time; absent without certificates.", nil},
		{"stshost_own_certificates_refused", "Own certificates whose files cannot be used as they are: the one from before is served, or the CA's.", nil},
		{"stshost_acme_orders_total", "Orders sent since the start, by CA.", []string{"ca"}},
		{"stshost_acme_issued_total", "Certificates issued since the start, by CA.", []string{"ca"}},
		{"stshost_acme_failed_total", "Attempts at a certificate that failed since the start, by CA.", []string{"ca"}},
		{"stshost_acme_orders_left", "Orders that may be sent now, of those in any 3 hours, by CA.", []string{"ca"}},
		{"stshost_acme_paused_until_timestamp_seconds", "Until when no order is sent, in Unix time, by CA; 0 if it is not held up.", []string{"ca"}},
		{"stshost_acme_running", "Attempts at a certificate running now.", nil},
		{"stshost_acme_due", "Certificates that are due to be ordered or renewed and wait.", nil},
		{"stshost_acme_retrying", "Certificates that could not be had and wait for another try.", nil},

		{"stshost_dns_pushes_total", "Changes of records tried since the start, by account.", []string{"account"}},
		{"stshost_dns_failures_total", "Changes of records that failed since the start, by account.", []string{"account"}},
		{"stshost_dns_paused_until_timestamp_seconds", "Until when the account is left alone because it does not answer, in Unix time, by account; 0 if it answers.", []string{"account"}},

		{"stshost_events_total", "Events since the start, by severity.", []string{"severity"}},
		{"stshost_notifications_sent_total", "Notifications delivered since the start, by target.", []string{"target"}},
		{"stshost_notifications_failed_total", "Deliveries of notifications that failed since the start, by target; each is tried again.", []string{"target"}},
		{"stshost_notifications_waiting", "Events that wait to be told, by target: collected, held back, or not deliverable.", []string{"target"}},
		{"stshost_notifications_failing_since_timestamp_seconds", "Since when every delivery has failed, in Unix time, by target; 0 if the last one did not.", []string{"target"}},
	} {
		f.descs[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return f
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range f.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	e := emitter{f, ch}
	certs, err := f.certs.get(ctx)
	if err != nil {
		e.fails("stshost_certificates", err)
	} else {
		e.certificates(certs)
	}
	e.domains(certs.troubled)
	e.issuing(ctx)
	for account, s := range f.s.dns.Stats() {
		e.counter("stshost_dns_pushes_total", s.Pushes, account)
		e.counter("stshost_dns_failures_total", s.Failures, account)
		e.time("stshost_dns_paused_until_timestamp_seconds", s.PausedUntil, account)
	}
	counts := f.s.events.Counts()
	for _, s := range []state.Severity{state.SeverityInfo, state.SeverityWarning, state.SeverityCritical} {
		e.counter("stshost_events_total", counts[s], string(s))
	}
	for target, s := range f.s.notifier.Stats() {
		e.counter("stshost_notifications_sent_total", s.Sent, target)
		e.counter("stshost_notifications_failed_total", s.Failed, target)
		e.gauge("stshost_notifications_waiting", s.Waiting, target)
		e.time("stshost_notifications_failing_since_timestamp_seconds", s.FailingSince, target)
	}
}

// emitter hands out the metrics of one scrape.
type emitter struct {
	f  *figures
	ch chan<- prometheus.Metric
}

func (e emitter) gauge(name string, value int, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.f.descs[name], prometheus.GaugeValue, float64(value), labels...)
}

func (e emitter) counter(name string, value uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.f.descs[name], prometheus.CounterValue, float64(value), labels...)
}

// time is 0 for the zero time.
func (e emitter) time(name string, t time.Time, labels ...string) {
	seconds := 0.0
	if !t.IsZero() {
		seconds = float64(t.UnixMilli()) / 1000
	}
	e.ch <- prometheus.MustNewConstMetric(e.f.descs[name], prometheus.GaugeValue, seconds, labels...)
}

// fails has the scrape go on without a metric, and tells why in the log.
func (e emitter) fails(name string, err error) {
	e.f.s.log.Warn("metrics cannot be shown", "metric", name, "error", err)
}

func (e emitter) domains(troubled map[string]struct{}) {
	r := e.f.s.reconciler
	t := r.Tally(func(domain string) bool {
		_, ok := troubled[domain]
		return ok
	})
	for _, step := range []state.Step{"", state.WaitingDNS, state.WaitingCertificate, state.Serving, state.Proven, state.Announced, state.Confirmed, state.Withdrawn} {
		e.gauge("stshost_domains", t.Steps[step], cmp.Or(string(step), "new"))
	}
	for _, mode := range []mtasts.Mode{"", mtasts.ModeEnforce, mtasts.ModeTesting, mtasts.ModeNone} {
		e.gauge("stshost_domains_by_mode", t.Modes[mode], cmp.Or(string(mode), "undecided"))
	}
	e.gauge("stshost_domains_waiting", t.Waiting)
	e.gauge("stshost_domains_failing", t.Failing)
	mx := e.f.s.mx.Counts()
	e.gauge("stshost_domains_mx_failing", mx.Failing)
	e.gauge("stshost_domains_mx_unknown", mx.Unknown)
	e.gauge("stshost_domains_left", t.Left)
	rollouts := e.f.s.rollouts.Counts()
	e.gauge("stshost_rollouts", rollouts.Going, "going")
	e.gauge("stshost_rollouts", rollouts.Held, "held")
	e.gauge("stshost_rollouts", rollouts.Paused, "paused")
	e.gauge("stshost_rollouts", rollouts.Retiring, "retiring")
	e.gauge("stshost_reconcile_due", t.Due)
	e.gauge("stshost_reconcile_overdue_seconds", int(t.Overdue.Seconds()))
	e.gauge("stshost_reconcile_running", t.Running)
	e.counter("stshost_records_repaired_total", r.Repairs())
}

func (e emitter) certificates(t certTally) {
	if !t.ours {
		return // a reverse proxy has them
	}
	e.gauge("stshost_acme_due", t.queue.Due)
	e.gauge("stshost_acme_retrying", t.queue.Retrying)
	e.gauge("stshost_own_certificates_refused", e.f.s.own.Refused())
	for status, n := range t.status {
		e.gauge("stshost_certificates", n, status)
	}
	if !t.earliest.IsZero() {
		e.time("stshost_certificate_earliest_expiry_timestamp_seconds", t.earliest)
		e.time("stshost_certificate_oldest_issue_timestamp_seconds", t.oldest)
	}
}

func (e emitter) issuing(ctx context.Context) {
	s := e.f.s
	if s.started.Listen.ProxyTLS() {
		return
	}
	stats := s.issuer.Stats()
	for _, ca := range stats.PerCA {
		e.counter("stshost_acme_orders_total", ca.Orders, ca.Directory)
		e.counter("stshost_acme_issued_total", ca.Issued, ca.Directory)
		e.counter("stshost_acme_failed_total", ca.Failed, ca.Directory)
		e.time("stshost_acme_paused_until_timestamp_seconds", ca.PausedUntil, ca.Directory)
	}
	e.gauge("stshost_acme_running", stats.Running)
	if budgets, err := s.issuer.Budget(ctx); err != nil {
		e.fails("stshost_acme_orders_left", err)
	} else {
		for _, b := range budgets {
			e.gauge("stshost_acme_orders_left", b.Left, b.Directory)
		}
	}
}
