package server

import (
	"net/http"
	"strings"
)

// requestHost is the host that a request is for: its Host header, or the
// authority of h2, in lower case without port and trailing dot. It allocates
// nothing for a host that is written so already.
func requestHost(r *http.Request) string { return bareHost(r.Host) }

func bareHost(h string) string {
	if i := strings.LastIndexByte(h, ':'); i >= 0 && !strings.HasSuffix(h, "]") {
		h = h[:i]
	}
	return strings.ToLower(strings.TrimSuffix(h, "."))
}

// clip cuts what a client said to a length worth keeping. The result does not
// hold on to the memory of s.
func clip(s string) string {
	if len(s) > clipped {
		s = s[:clipped]
	}
	return strings.Clone(strings.ToValidUTF8(s, "?"))
}

// refuse answers with an error in one line of text.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// readOnly answers a method that the plain and HTTPS ports do not have.
func readOnly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
}

// bodyless spares us the body of a request, of which no handler of the public
// ports reads any: the connection is closed after the answer.
func bodyless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
