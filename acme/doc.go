// Package acme gets certificates for policy hosts from an ACME CA (RFC 8555)
// and hands them to TLS handshakes.
//
// The two sides share nothing but the store and the set of known hosts:
//
//   - [Certificates] is the serving side. A handshake looks at the known hosts
//     (memory), then at a bounded cache, then once at the store. It never
//     orders anything, and a name that is not ours costs no more than a map
//     lookup. A certificate of the operator's own ([Own]) goes before all that.
//   - [Issuer] is the issuing side: a durable queue in the store, few workers,
//     and for every attempt a one-shot autocert.Manager. autocert speaks ACME;
//     when to try, which challenge, how often and what it cost is decided here.
//
// # One attempt, one order
//
// autocert opens a new order for every challenge type it tries, and one more
// before it gives up. [Issuer] looks at its traffic through an
// http.RoundTripper that shows autocert only the challenge type of the attempt
// and refuses a second newOrder. Every newOrder is debited from the account's
// budget in the store before it is sent, but for the renewals that the CA itself
// has suggested. What autocert does not know, the profile and the certificate
// that the order replaces, is put into its newOrder there, which is then signed
// again.
//
// # What autocert leaves behind
//
// A Manager that has issued keeps a renewal timer that cannot be stopped from
// outside. It is inert: it has no way to the CA once its attempt is over, and
// it ends for good when it first fires, at the latest 30 days before the
// certificate expires. Until then it holds about 6 kB.
package acme
