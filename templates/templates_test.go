package templates_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stshost/stshost/templates"
)

const evil = `"><script>alert(1)</script>`

// TestPages executes each page with its struct, empty and full, the latter with
// text that would be a script if it were not escaped.
func TestPages(t *testing.T) {
	set, err := templates.Parse()
	if err != nil {
		t.Fatal(err)
	}
	at := templates.Stamp{ISO: "2026-01-01T00:00:00Z", Text: evil, Relative: evil}
	fetch := []templates.Fetch{{Time: at, Remote: evil, UserAgent: evil, Reason: evil, Protocol: evil, Status: 200}}
	for name, render := range map[string]func(io.Writer) error{
		"status, empty": func(w io.Writer) error { return set.Status(w, templates.StatusPage{}) },
		"status": func(w io.Writer) error {
			return set.Status(w, templates.StatusPage{
				Version: evil, Now: at, Waiting: evil, Query: evil, Total: 2,
				Counts: []templates.Count{{Label: evil, N: 1, Tone: templates.Good}},
				Hosts:  []templates.HostRow{{Host: evil, Tone: templates.Bad, Step: evil, Certificate: at, Error: evil, Remedy: evil}, {}},
				Rows: []templates.DomainRow{{
					Domain: evil, Path: "/domains/x", Step: evil, Tone: templates.Bad, Mode: evil, Stage: evil, ID: evil, Certificate: at, Error: evil, Note: evil,
				}},
			})
		},
		"domain, empty": func(w io.Writer) error { return set.Domain(w, templates.DomainPage{}) },
		"domain": func(w io.Writer) error {
			return set.Domain(w, templates.DomainPage{
				Version: evil, Now: at, Domain: evil, Host: evil, Step: evil, Tone: templates.Wait, Since: at,
				Summary: evil, Blocking: evil, Remedy: evil, Mode: evil, ModeSource: evil, MaxAge: evil, ID: evil, Proof: evil,
				Certificate: at, CertificateTry: at, CertificateOwn: evil, LastRun: at, NextRun: at, DNSAccount: evil, MX: evil, MXTrouble: true, MXRemedy: evil, MXChecked: at, MXNext: at,
				Stage: evil, RolloutNews: evil, RolloutRemedy: evil, RolloutNext: at, Hint: evil, Policy: evil, PolicyURL: "https://x.example/",
				Records: []templates.Record{{Name: evil, Type: "TXT", Data: evil, Purpose: evil, Managed: true}, {}},
				Served:  1, Refused: 2, FailedHandshakes: 3, CountedSince: at, LastServed: at, Fetches: fetch, Failures: fetch,
				Events: []templates.Event{{Time: at, Severity: evil, Tone: templates.Bad, Text: evil, Remedy: evil}, {}},
			})
		},
		"policy host": func(w io.Writer) error {
			return set.PolicyHost(w, templates.PolicyHostPage{Domain: evil, Host: evil, PolicyPath: "/p", HasPolicy: true})
		},
		"policy host, empty": func(w io.Writer) error { return set.PolicyHost(w, templates.PolicyHostPage{}) },
		"host":               func(w io.Writer) error { return set.Host(w, templates.HostPage{Host: evil}) },
		"problem":            func(w io.Writer) error { return set.Problem(w, templates.ProblemPage{Title: evil, Detail: evil}) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := render(&b); err != nil {
				t.Fatal(err)
			}
			page := b.String()
			if !strings.HasPrefix(page, "<!doctype html>") || !strings.Contains(page, "</html>") || !strings.Contains(page, "<h1>") {
				t.Errorf("not a whole page:\n%s", page)
			}
			if strings.Contains(page, "<script") || strings.Contains(page, " style=") || strings.Contains(page, "ZgotmplZ") {
				t.Errorf("script, inline style or refused value:\n%s", page)
			}
			// The stylesheet must be, byte for byte, what the CSP allows.
			style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(page, -1)
			if len(style) != 1 {
				t.Fatalf("%d stylesheets", len(style))
			}
			sum := sha256.Sum256([]byte(style[0][1]))
			if got := "sha256-" + base64.StdEncoding.EncodeToString(sum[:]); got != set.StyleHash() {
				t.Errorf("stylesheet has hash %s, StyleHash is %s", got, set.StyleHash())
			}
		})
	}
}
