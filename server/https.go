package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/templates"
)

// ProbePath, followed by a nonce, is where a known host answers with a token
// that only this installation can make: see Config.Probe.
const ProbePath = "/.well-known/stshost/"

const probePath = ProbePath + "{nonce}"

// httpsHandler is what policy hosts answer on the HTTPS listener.
func (s *Server) httpsHandler() http.Handler {
	return s.metrics.counted("https", s.policyHosts(s.tenantOnly))
}

// policyHosts is what policy hosts answer over TLS. gate lets only requests pass
// whose Host is one of ours. There is no HSTS: senders ignore it, and a browser
// that remembered it would bind a tenant to us after they had moved the name
// elsewhere.
func (s *Server) policyHosts(gate func(http.Handler) http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(bodyless, gate)
	getHead(r, mtasts.PolicyPath, s.servePolicy)
	getHead(r, probePath, s.serveProbe)
	getHead(r, "/", s.servePolicyHostPage)
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == mtasts.PolicyPath {
			s.noteRequest(r, requestHost(r), http.StatusMethodNotAllowed, "method "+clip(r.Method))
		}
		readOnly(w, r)
	})
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		text := "There is nothing here."
		if isPolicyHost(requestHost(r)) {
			text += " The policy is at " + mtasts.PolicyPath
		}
		refuse(w, http.StatusNotFound, text)
	})
	return r
}

func getHead(r chi.Router, pattern string, h http.HandlerFunc) {
	r.Get(pattern, h)
	r.Head(pattern, h)
}

// tenantOnly lets only requests pass whose host is the server name of the TLS
// connection and one of ours. The rest get 421 (RFC 9110 §15.5.20), upon which an
// h2 client that reused a connection makes one of its own. Both are asked for
// each request, as a host may have left while the connection was open.
func (s *Server) tenantOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Content-Type-Options"] = s.nosniff
		sni, host := serverName(r), requestHost(r)
		switch {
		case sni == "" || !s.known(sni):
			refuse(w, http.StatusMisdirectedRequest, "This host is not served here.")
		case host != sni:
			s.noteRequest(r, sni, http.StatusMisdirectedRequest, fmt.Sprintf("the request was for host %q", clip(r.Host)))
			refuse(w, http.StatusMisdirectedRequest, "The request is for another host than the TLS connection.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// servePolicy answers with the policy (RFC 8461 §3.2, §3.3). A known host without
// a policy is 404: senders take anything but 200 for a failed fetch and keep to
// what they have cached.
func (s *Server) servePolicy(w http.ResponseWriter, r *http.Request) {
	host := requestHost(r)
	p := s.cfg.Policies.get(host)
	if p == nil && !isPolicyHost(host) {
		refuse(w, http.StatusNotFound, "There is no policy here: policies are at mta-sts.<domain>.")
		return
	}
	if p == nil {
		s.noteRequest(r, host, http.StatusNotFound, "no policy yet")
		refuse(w, http.StatusNotFound, "There is no policy for "+policyDomain(host)+" yet.")
		return
	}
	s.noteRequest(r, host, http.StatusOK, "")
	h := w.Header()
	h["Content-Type"] = s.textPlain
	h["Content-Length"] = p.length
	h["Cache-Control"] = s.noCache // senders do not use HTTP caching (§3.3); nor shall anything between
	if r.Method == http.MethodHead {
		return
	}
	w.Write(p.body)
}

func (s *Server) servePolicyHostPage(w http.ResponseWriter, r *http.Request) {
	host := requestHost(r)
	if !isPolicyHost(host) {
		s.serveHostPage(w, host)
		return
	}
	writePage(s, w, http.StatusOK, s.templates.PolicyHost, templates.PolicyHostPage{
		Domain: policyDomain(host), Host: host, PolicyPath: mtasts.PolicyPath, HasPolicy: s.cfg.Policies.get(host) != nil,
	})
}

// serveProbe answers the token path; the host is known.
func (s *Server) serveProbe(w http.ResponseWriter, r *http.Request) {
	nonce := chi.URLParam(r, "nonce")
	if s.cfg.Probe == nil || !urlSafe(nonce) {
		refuse(w, http.StatusNotFound, "There is nothing here.")
		return
	}
	h := w.Header()
	h["Content-Type"] = s.textPlain
	h["Cache-Control"] = s.noCache
	w.Write([]byte(s.cfg.Probe(requestHost(r), nonce)))
}

// urlSafe reports whether s looks like a token of ours or of a CA: base64url
// (RFC 8555 §8.3), of a length that makes sense.
func urlSafe(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// serverName is the server name of the TLS connection, in lower case.
func serverName(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	return strings.ToLower(r.TLS.ServerName)
}

// noteRequest counts a request at a policy host, which must be known.
func (s *Server) noteRequest(r *http.Request, host string, status int, reason string) {
	if s.ownLook(r) {
		return // we look every hour; senders would be lost among that
	}
	s.metrics.fetched(status)
	s.fetches.request(host, FetchEvent{
		Time: s.now(), Remote: r.RemoteAddr, UserAgent: clip(r.UserAgent()),
		Protocol: protocol(r), Status: status, Reason: reason,
	})
}

// ownLook reports whether a request is one of our own looks, which at times go by
// the names of others.
func (s *Server) ownLook(r *http.Request) bool {
	if s.cfg.OwnAgent != "" && r.UserAgent() == s.cfg.OwnAgent {
		return true
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.cfg.OwnConn != nil && s.cfg.OwnConn(net.TCPAddrFromAddrPort(remote))
}

// protocol names the HTTP and TLS versions of a request.
func protocol(r *http.Request) string {
	switch {
	case r.TLS == nil:
		return "by a proxy" // which knows the client's
	case r.TLS.Version == tls.VersionTLS13 && r.ProtoMajor == 2:
		return "h2, TLS 1.3"
	case r.TLS.Version == tls.VersionTLS13:
		return "HTTP/1, TLS 1.3"
	case r.ProtoMajor == 2:
		return "h2, TLS 1.2"
	}
	return "HTTP/1, TLS 1.2"
}
