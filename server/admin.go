package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminTimeout is how long a request to the admin listener may take as a whole: a
// reload, or a look at the gates of a rollout, takes its time.
const adminTimeout = 2 * time.Minute

// adminHandler is what the admin listener answers until ctx ends. tcp says that
// browsers can reach it.
func (s *Server) adminHandler(ctx context.Context, tcp bool) (http.Handler, error) {
	r := chi.NewRouter()
	r.Use(s.adminHeaders, middleware.GetHead)
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "this request comes from another web site")
	}))
	r.Use(origin.Handler)

	// Monitoring may ask by any name: there is nothing in these that a web site
	// could use.
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	r.Get("/readyz", s.ready)
	r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{
		Registry: s.cfg.Registry, ErrorHandling: promhttp.ContinueOnError, ErrorLog: s.errorLog("admin"),
	}))

	var err error
	r.Group(func(r chi.Router) {
		if tcp {
			r.Use(noRebinding)
		}
		r.Get("/", s.statusPage)
		r.Get("/domains/{domain}", s.domainPage)
		err = s.mountAPI(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	// chi's own answer to a wrong method is right: 405 with Allow.
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		if isAPI(r.URL.Path) {
			writeProblem(w, http.StatusNotFound, "there is no such operation; "+apiPrefix+"/openapi.json lists them")
			return
		}
		s.notFoundPage(w)
	})
	return r, nil
}

// ready answers 200 once everything that is to be served is served.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Backend.Ready(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte("not ready: " + err.Error() + "\n"))
		return
	}
	w.Write([]byte("ready\n"))
}

// adminHeaders keeps answers out of caches, frames and guesses at their type.
// Pages have a policy that allows their stylesheet in place of this one.
func (s *Server) adminHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// noRebinding refuses requests whose host is a name other than localhost. A web
// site can let its own name point at 127.0.0.1 and so have a browser read from
// here as if it were that site (DNS rebinding); it cannot do that with an
// address or with localhost.
func noRebinding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
			writeProblem(w, http.StatusMisdirectedRequest,
				"use an IP address or localhost in the URL of the admin listener; a proxy in front of it must send one as Host")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// writeProblem answers with a problem (RFC 9457) outside of an operation.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(&huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail})
}
