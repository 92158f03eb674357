package acme

import (
	"context"
	"net/http"
	"slices"

	"github.com/stshost/stshost/internal/state"
)

// orderFields are what the order has beside what autocert puts into it.
func (t *orderTransport) orderFields() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	fields := make(map[string]string)
	if t.profile != "" {
		fields["profile"] = t.profile // draft-ietf-acme-profiles §4
	}
	if t.replaces != "" {
		fields["replaces"] = t.replaces // RFC 9773 §5
	}
	return fields
}

// notReplaced deals with a CA that refuses an order because of the certificate
// that it is to replace: one that was replaced before, by an order whose
// certificate we lost (409, alreadyReplaced), or that belongs to another
// account than ours is now. To autocert the answer is one about a used nonce,
// at which the request is made again, without the field. The CA opened no
// order, so nothing more is debited, but for an order that had been free.
func (t *orderTransport) notReplaced(url string, res *http.Response, body []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if url != t.acct.dir.NewOrder || t.replaces == "" || !refusesReplacement(res.StatusCode, body) {
		return body
	}
	t.replaces, t.free = "", false
	res.StatusCode = http.StatusBadRequest
	return []byte(`{"type":"urn:ietf:params:acme:error:badNonce","detail":"to be sent again without replaces"}`)
}

// refusesReplacement reports whether an answer to newOrder may be about the
// certificate to be replaced. RFC 9773 names only alreadyReplaced; CAs have
// malformed, unauthorized and notFound for the others.
func refusesReplacement(status int, body []byte) bool {
	if status < 400 || status >= 500 {
		return false
	}
	return status == http.StatusConflict || status == http.StatusNotFound ||
		slices.Contains([]string{"alreadyReplaced", "malformed", "unauthorized", "notFound"}, parseProblem(status, body).kind())
}

// replacesTries is in how many attempts in a row a renewal says what it
// replaces. A CA that trips over just that, with a 5xx, must not keep the
// certificate from being renewed: RFC 9773 §5 has it as a SHOULD.
const replacesTries = 2

// replaced returns the identifier of the certificate that an order at ca
// replaces, or "": renewals name it only to the CA that issued it, and only
// where that offers renewal information (RFC 9773 §5).
func (i *Issuer) replaced(ctx context.Context, job state.CertJob, ca *authority, dir *directory) string {
	if dir.RenewalInfo == "" || job.CA != ca.Directory || job.NotAfter.IsZero() || job.Attempts >= replacesTries {
		return ""
	}
	leaf, err := i.leaf(ctx, job)
	if err != nil {
		return ""
	}
	id, err := renewalID(leaf)
	if err != nil {
		return ""
	}
	return id
}
