package server

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
)

// ServeProxied serves policies on ln to reverse proxies that have ended TLS,
// over plain HTTP. It ends as ServeHTTPS does.
//
// A policy must not be had over plain HTTP (RFC 8461 §3.3), so a request is
// answered only if it comes from Config.TrustedProxies and says that the client
// itself came by https. Certificates and ACME are the proxy's business.
func (s *Server) ServeProxied(ctx context.Context, ln net.Listener) error {
	limit := s.limited(ln, "proxied")
	return s.run(ctx, s.publicServer("proxied", s.proxiedHandler()), limit, limit)
}

// askPath is where a proxy that gets certificates on demand asks whether a host
// is one of ours: Caddy's on_demand_tls.
const askPath = "/ask"

// proxiedHandler is what policy hosts answer behind a proxy, and the proxy's own
// question.
func (s *Server) proxiedHandler() http.Handler {
	own := chi.NewRouter()
	getHead(own, askPath, s.answerAsk)
	own.MethodNotAllowed(readOnly)
	hosts := s.policyHosts(s.clientOfProxy)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Content-Type-Options"] = s.nosniff
		if peer := addrOf(r.RemoteAddr); !trusted(s.cfg.TrustedProxies, peer) {
			s.untrusted.warn(s, "a request on the proxied listener came from no trusted proxy",
				"remote", r.RemoteAddr, "remedy", "if this is your proxy, add its address to trusted_proxies in [listen]")
			refuse(w, http.StatusForbidden, "This port is for the reverse proxy in front of stshost, and "+peer.String()+
				" is not in trusted_proxies in [listen] of its configuration.")
			return
		}
		// Nobody but the proxy can ask: what it passes on has one of these.
		if r.URL.Path == askPath && !forwarded(r.Header) {
			own.ServeHTTP(w, r)
			return
		}
		hosts.ServeHTTP(w, r)
	})
	return s.metrics.counted("proxied", bodyless(h))
}

// answerAsk says whether a certificate may be ordered for a host: 200 if it is
// ours, 404 otherwise.
func (s *Server) answerAsk(w http.ResponseWriter, r *http.Request) {
	host := strings.ToLower(strings.TrimSuffix(r.URL.Query().Get("domain"), "."))
	if !s.known(host) {
		refuse(w, http.StatusNotFound, "This host is not served here.")
		return
	}
	h := w.Header()
	h["Content-Type"] = s.textPlain
	h["Cache-Control"] = s.noCache
	w.Write([]byte("This host is served here.\n"))
}

// clientOfProxy lets only requests pass that a client made over TLS for a host
// of ours, and puts that host and the client's address into the request. The
// peer is a trusted proxy.
func (s *Server) clientOfProxy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch schemes := forwardedSchemes(r.Header); {
		case len(schemes) == 0:
			s.unmarked.warn(s, "the proxy does not say whether its client came over TLS", "host", clip(r.Host), "remote", r.RemoteAddr,
				"remedy", "have it set the header X-Forwarded-Proto (or Forwarded with proto=)")
			refuse(w, http.StatusBadRequest, "The request has no X-Forwarded-Proto header. The reverse proxy must set X-Forwarded-Proto: https "+
				"(or Forwarded: proto=https) on what came over TLS; a policy is served over HTTPS only (RFC 8461 section 3.3).")
			return
		case slices.ContainsFunc(schemes, func(scheme string) bool { return strings.ToLower(scheme) != "https" }):
			refuse(w, http.StatusForbidden, "By X-Forwarded-Proto or Forwarded the client did not come over HTTPS all the way. "+
				"An MTA-STS policy is served over HTTPS only (RFC 8461 section 3.3).")
			return
		}
		host := s.forwardedHost(r)
		if host == "" {
			refuse(w, http.StatusMisdirectedRequest, "This host is not served here.")
			return
		}
		r.Host, r.RemoteAddr = host, s.forwardedClient(r)
		next.ServeHTTP(w, r)
	})
}

// forwardedHost is the host of ours that a request is for, or "". A proxy that
// writes a Host of its own says in X-Forwarded-Host which it was. That header is
// looked at only then: of a proxy that keeps Host it comes from the client.
func (s *Server) forwardedHost(r *http.Request) string {
	if host := requestHost(r); s.known(host) {
		return host
	}
	for _, h := range slices.Backward(elements(r.Header, "X-Forwarded-Host")) {
		if host := bareHost(h); s.known(host) {
			return host
		}
	}
	return ""
}

// forwardedClient is the address of the client: the last hop that is not a
// trusted proxy. What stands before it the client may have made up.
func (s *Server) forwardedClient(r *http.Request) string {
	hops := elements(r.Header, "X-Forwarded-For")
	if len(hops) == 0 {
		hops = forwardedParam(r.Header, "for")
	}
	client := r.RemoteAddr
	for _, hop := range slices.Backward(hops) {
		addr := addrOf(hop)
		if !addr.IsValid() {
			break
		}
		client = addr.String()
		if !trusted(s.cfg.TrustedProxies, addr) {
			break
		}
	}
	return client
}
