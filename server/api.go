package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/stshost/stshost/mtasts"
)

// apiPrefix is where version 1 of the API stands. What is there keeps its
// meaning; fields may be added.
const apiPrefix = "/api/v1"

// answer is a response whose body is B.
type answer[B any] struct{ Body B }

// byDomain is the input of an operation on one domain.
type byDomain struct {
	Domain string `path:"domain" maxLength:"255" doc:"Policy domain; A-labels or U-labels, in any case" example:"example.com"`
}

// optionalBody is how long a body may take that may be left out. If it is, huma's
// deadline for it would end the request, as net/http reads on meanwhile to see
// whether the client is still there; so there is none before that for the answer.
const optionalBody = adminTimeout

// reloadInput is the input of a reload; its body may be left out.
type reloadInput struct{ Body *ReloadOrder }

type domainList struct {
	Domains []DomainStatus `json:"domains" nullable:"false" doc:"All domains, sorted by name"`
}

type recordList struct {
	Records []DNSRecord `json:"records" nullable:"false" doc:"The DNS records that the domain needs"`
}

// mountAPI adds the API and its OpenAPI description to r. When ctx ends nothing
// waits any more.
func (s *Server) mountAPI(ctx context.Context, r chi.Router) error {
	config := huma.DefaultConfig("stshost", s.cfg.Version)
	config.Info.Description = "What the policy domains of this stshost server need and how they stand, and what senders make of any other."
	config.CreateHooks = nil // no $schema links
	config.DocsPath = ""     // its pages load scripts from elsewhere
	config.SchemasPath = ""
	config.OpenAPIPath = "" // served below, made once
	api := humachi.New(r, config)

	operation(s, api, "list-domains", http.MethodGet, "/domains", "List all domains", s.apiDomains)
	operation(s, api, "get-domain", http.MethodGet, "/domains/{domain}", "Show one domain", s.apiDomain, http.StatusNotFound)
	operation(s, api, "explain-domain", http.MethodGet, "/domains/{domain}/explain", "Say what blocks a domain and what to do", s.apiExplain, http.StatusNotFound)
	operation(s, api, "list-records", http.MethodGet, "/domains/{domain}/records", "List the DNS records that a domain needs", s.apiRecords, http.StatusNotFound)
	operation(s, api, "list-hosts", http.MethodGet, "/hosts", "List the hosts beside the policy hosts", s.apiHosts)
	operation(s, api, "get-fetches", http.MethodGet, "/domains/{domain}/fetches", "Show fetches and failed TLS handshakes at the policy host", s.apiFetches, http.StatusNotFound)
	s.mountEvents(api, ctx)
	s.mountCheck(api, ctx)
	s.mountRollouts(api, ctx)
	register(s, api, huma.Operation{
		OperationID: "reload", Method: http.MethodPost, Path: "/reload", Summary: "Read the configuration again and swap it in whole",
		Errors: []int{http.StatusConflict}, BodyReadTimeout: optionalBody,
	}, s.apiReload)
	operation(s, api, "get-version", http.MethodGet, "/version", "Say what is running", s.apiVersion)

	spec, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return fmt.Errorf("render the OpenAPI document: %w", err)
	}
	r.Get(apiPrefix+"/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		w.Write(spec)
	})
	return nil
}

// operation adds one operation. Its handler's errors become problems.
func operation[I, B any](s *Server, api huma.API, id, method, path, summary string,
	handle func(context.Context, *I) (B, error), statuses ...int) {
	register(s, api, huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Errors: statuses}, handle)
}

// register is operation for one that has more to it than these.
func register[I, B any](s *Server, api huma.API, op huma.Operation, handle func(context.Context, *I) (B, error)) {
	op.Path = apiPrefix + op.Path
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusServiceUnavailable)
	huma.Register(api, op, func(ctx context.Context, in *I) (*answer[B], error) {
		body, err := handle(ctx, in)
		if err != nil {
			p := s.problem(op.Path, err)
			if c := conflict(p, err); c != nil {
				return nil, c
			}
			return nil, withRetryAfter(p, err)
		}
		return &answer[B]{Body: body}, nil
	})
}

func (s *Server) apiDomains(ctx context.Context, _ *struct{}) (domainList, error) {
	domains, err := s.cfg.Backend.Domains(ctx)
	return domainList{Domains: append([]DomainStatus{}, domains...)}, err
}

func (s *Server) apiDomain(ctx context.Context, in *byDomain) (DomainStatus, error) {
	name, err := domainName(in.Domain)
	if err != nil {
		return DomainStatus{}, err
	}
	return s.cfg.Backend.Domain(ctx, name)
}

func (s *Server) apiExplain(ctx context.Context, in *byDomain) (Explanation, error) {
	d, err := s.apiDomain(ctx, in)
	return Explain(d), err
}

func (s *Server) apiRecords(ctx context.Context, in *byDomain) (recordList, error) {
	name, err := domainName(in.Domain)
	if err != nil {
		return recordList{}, err
	}
	records, err := s.cfg.Backend.Records(ctx, name)
	return recordList{Records: append([]DNSRecord{}, records...)}, err
}

func (s *Server) apiFetches(ctx context.Context, in *byDomain) (Fetches, error) {
	d, err := s.apiDomain(ctx, in)
	if err != nil {
		return Fetches{}, err
	}
	return s.fetches.get(mtasts.PolicyHost(d.Domain)), nil
}

func (s *Server) apiReload(ctx context.Context, in *reloadInput) (ReloadResult, error) {
	var o ReloadOrder
	if in.Body != nil {
		o.AbandonAll = in.Body.AbandonAll
		for _, domain := range in.Body.Abandon {
			name, err := domainName(domain)
			if err != nil {
				return ReloadResult{}, err
			}
			o.Abandon = append(o.Abandon, name)
		}
	}
	return s.cfg.Backend.Reload(ctx, o)
}

func (s *Server) apiVersion(context.Context, *struct{}) (VersionInfo, error) {
	return VersionInfo{Version: s.cfg.Version, Go: runtime.Version()}, nil
}

// isAPI reports whether a path belongs to the API, whose errors are problems and
// not pages.
func isAPI(path string) bool { return strings.HasPrefix(path, "/api/") }
