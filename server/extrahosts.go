package server

import (
	"context"
	"net/http"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/templates"
)

// HostStatus is what is known of a host beside the policy hosts: extra_hosts of
// the configuration.
type HostStatus struct {
	Host string `json:"host" doc:"Name in A-labels"`

	CertificateNotAfter time.Time `json:"certificate_not_after,omitzero" doc:"Expiry of the certificate"`
	CertificateProblem  string    `json:"certificate_problem,omitempty" doc:"Why the last attempt at a certificate failed, in the CA's words where it gave any"`
	CertificateNextTry  time.Time `json:"certificate_next_try,omitzero" doc:"When the certificate is tried again or renewed"`
	CertificateOwn      string    `json:"certificate_own,omitempty" doc:"File of the operator's own certificate that is served; empty where a CA is asked for one"`

	LastError string    `json:"last_error,omitempty" doc:"Why there is no certificate"`
	Remedy    string    `json:"remedy,omitempty" doc:"What the operator can do about it"`
	LastRun   time.Time `json:"last_run,omitzero" doc:"When the host was last looked at"`
	NextRun   time.Time `json:"next_run,omitzero" doc:"When the host is looked at again"`
}

// Trouble is what is wrong with the host now, or what it waits for; "" if
// nothing is.
func (h HostStatus) Trouble() string {
	switch {
	case h.LastError != "" || h.CertificateProblem == "":
		return h.LastError
	case h.CertificateOwn != "":
		return h.CertificateProblem
	case h.CertificateNotAfter.IsZero():
		return "there is no certificate yet: " + h.CertificateProblem
	}
	return "the certificate could not be renewed: " + h.CertificateProblem
}

type hostList struct {
	Hosts []HostStatus `json:"hosts" nullable:"false" doc:"All hosts beside the policy hosts, sorted by name"`
}

func (s *Server) apiHosts(ctx context.Context, _ *struct{}) (hostList, error) {
	hosts, err := s.cfg.Backend.Hosts(ctx)
	return hostList{Hosts: append([]HostStatus{}, hosts...)}, err
}

// Hosts returns how the hosts beside the policy hosts stand, sorted by name.
func (c *Client) Hosts(ctx context.Context) ([]HostStatus, error) {
	var r hostList
	err := c.do(ctx, http.MethodGet, &r, "hosts")
	return r.Hosts, err
}

// isPolicyHost tells policy hosts from the other known hosts, none of which
// begins like one.
func isPolicyHost(host string) bool {
	_, ok := mtasts.PolicyDomain(host)
	return ok
}

// serveHostPage tells a person what stands behind a host that is no policy host.
func (s *Server) serveHostPage(w http.ResponseWriter, host string) {
	writePage(s, w, http.StatusOK, s.templates.Host, templates.HostPage{Host: host})
}

func (s *Server) hostRow(h HostStatus) templates.HostRow {
	row := templates.HostRow{Host: h.Host, Certificate: s.stamp(h.CertificateNotAfter), Error: h.Trouble(), Remedy: h.Remedy}
	valid := s.now().Before(h.CertificateNotAfter)
	switch {
	case valid && row.Error == "":
		row.Tone, row.Step = templates.Good, "served"
	case h.CertificateProblem == "" && h.Remedy == "":
		row.Tone, row.Step = templates.Wait, stepText(state.WaitingCertificate)
	default:
		row.Tone, row.Step = templates.Bad, "needs attention"
	}
	return row
}

// ExplainHost says in plain words what keeps a host beside the policy hosts from
// having a certificate, and what to do about it.
func ExplainHost(h HostStatus) Explanation {
	e := Explanation{
		Domain: h.Host, Blocking: h.Trouble(), Remedy: h.Remedy, NextRun: h.NextRun,
		Summary: h.Host + " is one of the extra_hosts: it has a certificate, and no policy.",
	}
	if h.CertificateNotAfter.IsZero() {
		e.Summary = h.Host + " is one of the extra_hosts, and has no certificate yet."
	}
	if h.CertificateProblem == "" {
		return e
	}
	if e.Remedy == "" {
		e.Remedy = state.CertificateRemedy
		if h.CertificateOwn != "" {
			e.Remedy = state.OwnRemedy
		}
	}
	if h.CertificateOwn == "" && h.CertificateNextTry.After(e.NextRun) {
		e.NextRun = h.CertificateNextTry
	}
	return e
}
