package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stshost/stshost/server"
)

// scrape reads the metrics as Prometheus does.
func (w *world) scrape() map[string]*dto.MetricFamily {
	w.t.Helper()
	text := w.adminGet("/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		w.t.Errorf("promlint: %v %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return families
}

// documented is a row of the tables of metrics in docs/monitoring.md.
type documented struct{ kind, labels, help string }

// metricTable reads these tables.
func metricTable(t *testing.T) map[string]documented {
	t.Helper()
	data, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]documented)
	row := regexp.MustCompile("(?m)^\\| `(stshost_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\| (.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		if _, twice := all[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		all[m[1]] = documented{kind: m[2], labels: strings.ReplaceAll(strings.TrimSpace(m[3]), "`", ""), help: m[4]}
	}
	if len(all) == 0 {
		t.Fatal("docs/monitoring.md has no table of metrics")
	}
	return all
}

// What a running server shows is what docs/monitoring.md says that it shows.
func TestMetricsAreAsDocumented(t *testing.T) {
	w := newWorld(t, example)
	w.extra = "[notify.ops]\nurl = \"generic+http://127.0.0.1:9/hook\"\nmin = \"critical\"\n"
	w.start()
	w.sees(w.confirmed(example))
	docs := metricTable(t)
	have := make(map[string]bool)
	for name, f := range w.scrape() {
		if !strings.HasPrefix(name, "stshost_") {
			continue
		}
		have[name] = true
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		got := documented{kind: strings.ToLower(f.GetType().String()), labels: strings.Join(labels, ", "), help: f.GetHelp()}
		if want, ok := docs[name]; !ok {
			t.Errorf("docs/monitoring.md lacks\n| `%s` | %s | %s | %s |", name, got.kind, got.labels, got.help)
		} else if want != got {
			t.Errorf("%s is\n%+v, the docs say\n%+v", name, got, want)
		}
	}
	for name := range docs {
		if !have[name] {
			t.Errorf("%s is documented and not there", name)
		}
	}
}

func TestMetricsFollowTheWorld(t *testing.T) {
	w := newWorld(t, example, "late.test")
	late := w.domains[1]
	late.lines = "mode = \"testing\"\n"
	w.domains = w.domains[:1]
	w.acme = "orders_per_3h = 5\n"
	s := w.start()
	d := w.confirmed(example)
	wants := func(values map[string]float64) {
		t.Helper()
		for name, want := range values {
			if got := w.metric(name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	}
	ca := fmt.Sprintf("{ca=%q}", w.lab.CA.DirectoryURL())
	wants(map[string]float64{
		`stshost_domains{step="confirmed"}`:                1,
		`stshost_domains{step="new"}`:                      0,
		`stshost_domains_by_mode{mode="testing"}`:          1,
		`stshost_domains_failing`:                          0,
		`stshost_certificates{status="valid"}`:             1,
		`stshost_certificates{status="missing"}`:           0,
		`stshost_acme_issued_total` + ca:                   1,
		`stshost_acme_orders_left` + ca:                    4,
		`stshost_acme_paused_until_timestamp_seconds` + ca: 0,
		`stshost_dns_pushes_total{account="main"}`:         1,
		`stshost_dns_failures_total{account="main"}`:       0,
		`stshost_config_last_reload_successful`:            1,
	})
	if got := w.metric("stshost_certificate_earliest_expiry_timestamp_seconds"); got != float64(d.CertificateNotAfter.Unix()) {
		t.Errorf("the first expiry is %v, want %v", got, d.CertificateNotAfter)
	}
	if got := w.metric(`stshost_store_operation_seconds_count{operation="write"}`); got < 3 {
		t.Errorf("%v writes were measured", got)
	}

	// A domain whose certificate cannot be had, and a config with faults.
	undo := w.lab.CA.Down()
	defer undo()
	w.domains = append(w.domains, late)
	s.reload()
	w.await(late.name, "the CA's absence", blockedBy("there is no certificate"))
	w.extra = "[nonsense]\n"
	w.writeConfig()
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); err == nil {
		t.Error("a config with faults was taken")
	}
	w.ahead.Add(int64(countFor + time.Second))
	wants(map[string]float64{
		`stshost_domains_failing`:                     1,
		`stshost_domains{step="waiting-certificate"}`: 1,
		`stshost_certificates{status="missing"}`:      1,
		`stshost_config_last_reload_successful`:       0,
	})
	if got := w.metric("stshost_acme_paused_until_timestamp_seconds" + ca); got < float64(time.Now().Unix()) {
		t.Errorf("paused until %v", got)
	}

	// The certificate grows old and nobody can renew it.
	w.ahead.Add(int64(d.CertificateNotAfter.Sub(w.now()) - time.Minute))
	wants(map[string]float64{`stshost_certificates{status="expiring"}`: 1, `stshost_certificates{status="expired"}`: 0})
	w.ahead.Add(int64(2 * time.Minute))
	wants(map[string]float64{`stshost_certificates{status="expiring"}`: 0, `stshost_certificates{status="expired"}`: 1})
}
