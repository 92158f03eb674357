package notify

import (
	"hash/fnv"
	"io"
	"strings"

	"github.com/stshost/stshost/internal/state"
)

// subjectOf is what an event is about: a policy domain, another host, a file,
// or "", the server as a whole.
func subjectOf(e state.Event) string {
	if e.Domain != "" {
		return e.Domain
	}
	if e.Kind == state.KindCertificateOwn {
		return e.Evidence["cert_file"]
	}
	return strings.TrimPrefix(e.Host, "mta-sts.") // RFC 8461 §3.3
}

// gist is the same for events that tell of the same sort of trouble: of one
// kind and severity, in the same words, less what differs from one event to the
// next all the same: the subject's name, and every word with a digit in it
// (times, addresses, ids, counts). Those about MX hosts are told once for each
// fault or host, and so differ by that, whose name may differ in a digit only.
func gist(e state.Event, subject string) uint64 {
	text := e.Text
	if subject != "" {
		text = strings.ReplaceAll(text, subject, "…")
	}
	words := strings.Fields(text)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "#"
		}
	}
	h := fnv.New64a()
	io.WriteString(h, e.Kind+" "+string(e.Severity)+" "+strings.Join(words, " "))
	fault := ""
	switch e.Kind {
	case state.KindMXFailed:
		fault = e.Evidence["code"] + " " + e.Evidence["subject"]
	case state.KindMXGuard:
		fault = e.Host
	case state.KindMXDrift:
		fault = e.Evidence["new_mx"]
	}
	if fault != "" {
		if subject != "" {
			fault = strings.ReplaceAll(fault, subject, "…")
		}
		io.WriteString(h, " "+fault)
	}
	return h.Sum64()
}

// cures reports whether e ends a trouble of the given kind with the same
// subject.
func cures(e state.Event, kind string) bool {
	switch e.Kind {
	case state.KindDomainLeft:
		return true // nobody waits for it any more
	case state.KindCertificateIssued:
		return kind == state.KindCertificateFailed
	case state.KindCertificateOwn, state.KindCertificateFallback:
		return kind == e.Kind && e.Severity == state.SeverityInfo
	case state.KindConfigReloaded, state.KindServerStarted: // which reads the config
		return kind == state.KindConfigRefused
	}
	about, ok := strings.CutSuffix(e.Kind, ".recovered")
	return ok && strings.HasPrefix(kind, about+".")
}

// curable reports whether an event of another kind says when it is over. The
// rest happen, and are over with that.
func curable(kind string) bool {
	switch kind {
	case state.KindDomainBlocked, state.KindHostBlocked, state.KindCertificateFailed, state.KindCertificateOwn,
		state.KindCertificateFallback, state.KindConfigRefused, state.KindMXFailed:
		return true
	}
	return false
}
