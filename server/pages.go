package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/templates"
)

// maxRows is how many domains the status page lists at once.
const maxRows = 500

// maxEvents is how many events the page of a domain shows.
const maxEvents = 20

// contentSecurityPolicy allows the pages their stylesheet and their search form,
// and nothing else.
func contentSecurityPolicy(t *templates.Set) string {
	return "default-src 'none'; style-src '" + t.StyleHash() +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// writePage renders a page and only then writes the header, so that no half page
// goes out under status 200.
func writePage[P any](s *Server, w http.ResponseWriter, status int, render func(io.Writer, P) error, page P) {
	var b bytes.Buffer
	if err := render(&b, page); err != nil {
		s.log.Error("a page could not be rendered; this is a fault of stshost", "error", err)
		refuse(w, http.StatusInternalServerError, "This page could not be made; the log says why.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", s.csp)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// statusPage lists the domains.
func (s *Server) statusPage(w http.ResponseWriter, r *http.Request) {
	all, err := s.cfg.Backend.Domains(r.Context())
	if err != nil {
		s.problemPage(w, r, err)
		return
	}
	p := templates.StatusPage{Version: s.cfg.Version, Now: s.stamp(s.now()), Query: clip(strings.TrimSpace(r.URL.Query().Get("q")))}
	if err := s.cfg.Backend.Ready(); err != nil {
		p.Waiting = err.Error()
	}
	count, retired := map[templates.Tone]int{}, 0
	needle := strings.ToLower(p.Query)
	for _, d := range all {
		if t := tone(d); t == templates.Good && d.Stage == string(state.StageRetired) {
			retired++
		} else {
			count[t]++
		}
		if strings.Contains(d.Domain, needle) {
			p.Rows = append(p.Rows, s.row(d))
		}
	}
	if len(all) > 0 {
		p.Counts = []templates.Count{
			{Label: "confirmed", N: count[templates.Good], Tone: templates.Good},
			{Label: "on the way", N: count[templates.Wait], Tone: templates.Wait},
			{Label: "need attention", N: count[templates.Bad], Tone: templates.Bad},
		}
	}
	if retired > 0 {
		p.Counts = append(p.Counts, templates.Count{Label: "retired", N: retired, Tone: templates.Good})
	}
	urgency := []templates.Tone{templates.Bad, templates.Wait, templates.Good}
	slices.SortStableFunc(p.Rows, func(a, b templates.DomainRow) int {
		return slices.Index(urgency, a.Tone) - slices.Index(urgency, b.Tone)
	})
	hosts, err := s.cfg.Backend.Hosts(r.Context())
	if err != nil {
		s.problemPage(w, r, err)
		return
	}
	for _, h := range hosts {
		p.Hosts = append(p.Hosts, s.hostRow(h))
	}
	p.Total = len(p.Rows)
	p.Rows = p.Rows[:min(len(p.Rows), maxRows)]
	writePage(s, w, http.StatusOK, s.templates.Status, p)
}

func (s *Server) row(d DomainStatus) templates.DomainRow {
	row := templates.DomainRow{
		Domain: d.Domain, Path: "/domains/" + url.PathEscape(d.Domain), Step: stepText(d.Step), Tone: tone(d),
		Mode: d.Mode, ID: d.ID, Certificate: s.certificate(d), Error: d.Trouble(),
	}
	if d.Goal != "" || d.Stage != d.Mode {
		row.Stage = d.StageText()
	}
	switch {
	case !d.InConfig:
		row.Note = "no longer in the configuration"
	case !d.ConfigWaits.IsZero() && d.Step != "":
		row.Note = ConfigWaitsNews
	case row.Error == "":
		row.Note = d.Hint
	}
	return row
}

// domainPage shows one domain.
func (s *Server) domainPage(w http.ResponseWriter, r *http.Request) {
	// chi leaves escapes that Go would not write, such as %c3%bc, as they are.
	name, err := url.PathUnescape(chi.URLParam(r, "domain"))
	if err == nil {
		name, err = domainName(name)
	}
	if err != nil {
		s.problemPage(w, r, err)
		return
	}
	d, err := s.cfg.Backend.Domain(r.Context(), name)
	if err != nil {
		s.problemPage(w, r, err)
		return
	}
	records, err := s.cfg.Backend.Records(r.Context(), name)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		s.problemPage(w, r, err)
		return
	}
	events, err := s.cfg.Backend.Events(r.Context(), state.EventQuery{Domain: name, Newest: true, Limit: maxEvents}, 0)
	if err != nil {
		s.problemPage(w, r, err)
		return
	}
	e, f := Explain(d), s.fetches.get(mtasts.PolicyHost(name))
	p := templates.DomainPage{
		Version: s.cfg.Version, Now: s.stamp(s.now()),
		Domain: d.Domain, Host: d.Host, Step: stepText(d.Step), Tone: tone(d), Since: s.stamp(d.Since),
		Summary: e.Summary, Blocking: e.Blocking, Remedy: e.Remedy,
		Mode: d.Mode, ModeSource: d.ModeSource, MaxAge: span(time.Duration(d.MaxAge) * time.Second), ID: d.ID, Proof: d.Proof,
		Certificate: s.certificate(d), CertificateTry: s.stamp(d.CertificateNextTry), CertificateOwn: d.CertificateOwn,
		LastRun: s.stamp(d.LastRun), NextRun: s.stamp(d.NextRun), DNSAccount: d.DNSAccount,
		MX: d.MX, MXTrouble: d.MXTrouble && d.InConfig, MXRemedy: d.MXRemedy, MXChecked: s.stamp(d.MXChecked), MXNext: s.stamp(d.MXNext),
		Stage: d.StageText(), RolloutNews: d.RolloutNews, RolloutRemedy: d.RolloutRemedy, Hint: e.Hint, RolloutNext: s.stamp(d.RolloutNext),
		Policy: d.Body, PolicyURL: mtasts.PolicyURL(name),
		Served: f.Served, Refused: f.Refused, FailedHandshakes: f.FailedHandshakes,
		CountedSince: s.stamp(f.Since), LastServed: s.stamp(f.LastServed),
		Fetches: s.requests(f.Recent), Failures: s.requests(f.RecentFailures),
	}
	for _, e := range slices.Backward(events) { // what is new stands first
		p.Events = append(p.Events, templates.Event{
			Time: s.stamp(e.Time), Severity: string(e.Severity), Tone: severityTone(e.Severity), Text: e.Text, Remedy: e.Remedy,
		})
	}
	for _, rec := range records {
		p.Records = append(p.Records, templates.Record{Name: rec.Name, Type: rec.Type, Data: rec.Data, Purpose: rec.Purpose, Problem: rec.Problem, Managed: rec.Managed})
	}
	writePage(s, w, http.StatusOK, s.templates.Domain, p)
}

func (s *Server) requests(events []FetchEvent) []templates.Fetch {
	var out []templates.Fetch
	for _, e := range events {
		out = append(out, templates.Fetch{Time: s.stamp(e.Time), Remote: e.Remote, UserAgent: e.UserAgent, Reason: e.Reason, Protocol: e.Protocol, Status: e.Status})
	}
	return out
}

// problemPage shows a person what problem says.
func (s *Server) problemPage(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.URL.Path, err)
	writePage(s, w, p.Status, s.templates.Problem, templates.ProblemPage{Title: p.Title, Detail: p.Detail})
}

func (s *Server) notFoundPage(w http.ResponseWriter) {
	writePage(s, w, http.StatusNotFound, s.templates.Problem, templates.ProblemPage{Title: "Not found", Detail: "There is no such page."})
}

// certificate says until when a domain's certificate is valid.
func (s *Server) certificate(d DomainStatus) templates.Stamp {
	if d.CertificateExternal {
		return templates.Stamp{Text: "the proxy's"}
	}
	return s.stamp(d.CertificateNotAfter)
}

// stamp makes a time readable; the zero time gives a zero Stamp.
func (s *Server) stamp(t time.Time) templates.Stamp {
	if t.IsZero() {
		return templates.Stamp{}
	}
	t = t.UTC()
	st := templates.Stamp{ISO: t.Format(time.RFC3339), Text: t.Format("2006-01-02 15:04:05 UTC")}
	switch ahead := t.Sub(s.now()); {
	case ahead >= time.Second:
		st.Relative = "in " + roughly(ahead)
	case ahead <= -time.Second:
		st.Relative = roughly(-ahead) + " ago"
	}
	return st
}

// roughly writes a positive duration in its largest fitting unit.
func roughly(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		switch n := int64(d / u.size); {
		case n == 1:
			return "1 " + u.name
		case n > 1:
			return strconv.FormatInt(n, 10) + " " + u.name + "s"
		}
	}
	return "a moment"
}

// span writes a duration without loss, as people do, e.g. "7 days"; 0 gives "".
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return ""
	case d%day == 0:
		return roughly(d)
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + " seconds"
}

// tone is how well a domain stands.
func tone(d DomainStatus) templates.Tone {
	switch {
	case d.Trouble() != "":
		return templates.Bad
	case d.Stage == string(state.StageRetired):
		return templates.Good
	case d.Step == state.Confirmed && d.ConfigWaits.IsZero() && !d.retiring():
		return templates.Good
	}
	return templates.Wait
}

// severityTone is how an event of that severity looks.
func severityTone(s state.Severity) templates.Tone {
	switch s {
	case state.SeverityCritical:
		return templates.Bad
	case state.SeverityWarning:
		return templates.Wait
	}
	return templates.Good
}
