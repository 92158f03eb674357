// Package templates holds the HTML pages of stshost and their stylesheet,
// embedded and parsed once. Each page has one struct that says all it shows.
//
// Pages carry no script, and their stylesheet stands in the page, so that a page
// is one response; StyleHash is what a Content-Security-Policy needs to allow it.
package templates

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
)

//go:embed *.html style.css
var files embed.FS

// Set is the parsed pages. Its methods may be called from any goroutine.
type Set struct {
	status, domain, policyHost, host, problem *template.Template
	styleHash                                 string
}

// Parse parses the embedded pages. It fails only if the program was built wrong.
func Parse() (*Set, error) {
	css, err := files.ReadFile("style.css")
	if err != nil {
		return nil, err
	}
	layout, err := template.New("layout.html").
		Option("missingkey=error").
		Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(css) }}).
		ParseFS(files, "layout.html")
	if err != nil {
		return nil, fmt.Errorf("parse layout.html: %w", err)
	}
	sum := sha256.Sum256(css)
	s := &Set{styleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:])}
	for name, page := range map[string]**template.Template{
		"status.html": &s.status, "domain.html": &s.domain,
		"policyhost.html": &s.policyHost, "host.html": &s.host, "problem.html": &s.problem,
	} {
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(files, name)
		}
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		*page = t
	}
	return s, nil
}

// StyleHash is the hash of the stylesheet as a CSP source, without quotes.
func (s *Set) StyleHash() string { return s.styleHash }

// Status writes the list of domains.
func (s *Set) Status(w io.Writer, p StatusPage) error { return s.status.Execute(w, p) }

// Domain writes the page of one domain.
func (s *Set) Domain(w io.Writer, p DomainPage) error { return s.domain.Execute(w, p) }

// PolicyHost writes what a person sees who opens a policy host.
func (s *Set) PolicyHost(w io.Writer, p PolicyHostPage) error { return s.policyHost.Execute(w, p) }

// Host writes what a person sees who opens a host that is no policy host.
func (s *Set) Host(w io.Writer, p HostPage) error { return s.host.Execute(w, p) }

// Problem writes an error for a person.
func (s *Set) Problem(w io.Writer, p ProblemPage) error { return s.problem.Execute(w, p) }
