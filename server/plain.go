package server

import (
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/stshost/stshost/mtasts"
)

// plainHandler is what port 80 answers: ACME's http-01, the token, redirects for
// people. A policy is never given or redirected to from here (RFC 8461 §3.3): a
// client that asks for it without TLS is no sender, and one that followed a
// redirect would be a broken one.
func (s *Server) plainHandler() http.Handler {
	r := chi.NewRouter()
	r.Use(bodyless, s.knownHostOnly)
	getHead(r, "/.well-known/acme-challenge/{token}", s.serveHTTP01)
	getHead(r, probePath, s.serveProbe)
	r.HandleFunc(mtasts.PolicyPath, noPlainPolicy)
	getHead(r, "/*", s.redirect)
	r.MethodNotAllowed(readOnly)
	return s.metrics.counted("http", r)
}

func (s *Server) knownHostOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Content-Type-Options"] = s.nosniff
		if !s.known(requestHost(r)) {
			refuse(w, http.StatusMisdirectedRequest, "This host is not served here.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveHTTP01 answers a live challenge with its key authorization (RFC 8555 §8.3).
func (s *Server) serveHTTP01(w http.ResponseWriter, r *http.Request) {
	token := chi.URLParam(r, "token")
	if s.cfg.HTTP01 != nil && urlSafe(token) {
		if keyAuth, ok := s.cfg.HTTP01(r.Context(), requestHost(r), token); ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header()["Cache-Control"] = s.noCache
			w.Write([]byte(keyAuth))
			return
		}
	}
	refuse(w, http.StatusNotFound, "There is no such challenge.")
}

func noPlainPolicy(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusNotFound, "An MTA-STS policy is served over HTTPS only, and without a redirect (RFC 8461 section 3.3).")
}

// redirect sends people's browsers to HTTPS.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == mtasts.PolicyPath { // written with needless escapes
		noPlainPolicy(w, r)
		return
	}
	host := requestHost(r)
	if s.cfg.HTTPSPort != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(s.cfg.HTTPSPort))
	}
	// Not RequestURI: what a client writes in absolute form may end in another host.
	target := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusPermanentRedirect)
}
