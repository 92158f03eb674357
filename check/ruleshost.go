package check

// Codes of what is found at mta-sts.<domain>.
const (
	HostOK              = "STS-HOST-OK"
	HostLookup          = "STS-HOST-LOOKUP"
	HostNoAddress       = "STS-HOST-NO-ADDRESS"
	HostAlias           = "STS-HOST-ALIAS"
	HostDangling        = "STS-HOST-DANGLING"
	HostHalfDelegated   = "STS-HOST-HALF-DELEGATED"
	HostNotTried        = "STS-HOST-NOT-TRIED"
	HostConnect         = "STS-HOST-CONNECT"
	HostTLS             = "STS-HOST-TLS"
	HostTLSVersion      = "STS-HOST-TLS-VERSION"
	HostCertUntrusted   = "STS-HOST-CERT-UNTRUSTED"
	HostCertName        = "STS-HOST-CERT-NAME"
	HostCertExpired     = "STS-HOST-CERT-EXPIRED"
	HostCertExpires     = "STS-HOST-CERT-EXPIRES"
	HostHTTP            = "STS-HOST-HTTP"
	HostRedirect        = "STS-HOST-REDIRECT"
	HostStatus          = "STS-HOST-STATUS"
	HostMediaType       = "STS-HOST-MEDIA-TYPE"
	HostSize            = "STS-HOST-SIZE"
	HostSlow            = "STS-HOST-SLOW"
	HostFlaky           = "STS-HOST-FLAKY"
	HostTimeout         = "STS-HOST-TIMEOUT"
	HostMediaParameters = "STS-HOST-MEDIA-PARAMETERS"
	HostHTTP2           = "STS-HOST-HTTP2"
	HostAgent           = "STS-HOST-AGENT"
	HostHTTP1           = "STS-HOST-HTTP1"
	HostDifferent       = "STS-HOST-DIFFERENT"
	HostPlain           = "STS-HOST-PLAIN"
	HostCAA             = "STS-HOST-CAA"
	HostCAANone         = "STS-HOST-CAA-NONE"
	HostCAAForbids      = "STS-HOST-CAA-FORBIDS"
	HostCAALookup       = "STS-HOST-CAA-LOOKUP"
)

func hostRules() []Rule {
	const fetching = "RFC 8461 §3.3"
	const delegation = "RFC 8461 §8.2"
	const caa = "RFC 8659 §3"
	return []Rule{
		{HostOK, pass, none, fetching, "the policy is served", "Over this address a sender gets the policy: TLS, certificate, status and media type are right.", ""},
		{HostLookup, unknown, none, fetching, "the host could not be looked up", "The resolvers that were asked could not find out the addresses of the policy host.",
			"see that the name servers of the zone answer; try again, or with another resolver"},
		{HostNoAddress, fail, ignored, fetching, "the host has no address", "There is neither an A nor an AAAA record: nobody can fetch the policy.",
			"make an A or AAAA record, or a CNAME, that leads to the server which serves the policy"},
		{HostAlias, pass, none, delegation, "the host is a CNAME", "The policy host is delegated. The certificate must be for the domain's own name all the same.", ""},
		{HostDangling, fail, ignored, delegation, "the CNAME leads nowhere", "The policy host is a CNAME to a name without address: nobody can fetch the policy. Whoever can make that name can serve a policy for the domain.",
			"have the name made where the CNAME leads, or remove the CNAME"},
		{HostHalfDelegated, warn, risk, delegation, "only one of the two names is delegated", "One of _mta-sts and mta-sts leads to another organisation and the other does not: who changes the policy cannot change the id, or the other way round, so that senders do not hear of a change.",
			"delegate both names, or neither"},
		{HostNotTried, skipped, none, fetching, "an address was not tried", "The address could not be tried: this machine has no IPv6, say, or the time was over. Of many addresses four of each family are looked at.", ""},
		{HostConnect, fail, partial, fetching, "no connection", "The address takes no connection on port 443. Senders that choose it get no policy.",
			"let the address lead to the server which serves the policy, open port 443 there, or remove its record"},
		{HostTLS, fail, partial, fetching, "no TLS", "The TLS handshake fails: a sender gets no policy. As a rule the server knows no such name, has no certificate for it, or what listens there is no TLS server.",
			"have the server serve the name with a certificate for it"},
		{HostTLSVersion, fail, partial, "RFC 8461 §7.2", "an old TLS version", "The server has no TLS 1.2 or later, and senders refuse less.",
			"switch TLS 1.2 and 1.3 on"},
		{HostCertUntrusted, fail, partial, fetching, "the certificate is not trusted", "No chain leads from the certificate to a root that is trusted: self-signed, of a private CA, or sent without its intermediate certificates.",
			"serve a certificate of a public CA, with its intermediate certificates (the full chain)"},
		{HostCertName, fail, partial, fetching, "the certificate is for another name", "A sender wants a dNSName for the policy host. Common names do not count, and a wildcard stands for one label.",
			"get a certificate for the policy host's own name; a CNAME does not change the name"},
		{HostCertExpired, fail, partial, fetching, "the certificate has expired", "The time of the certificate, or of one in its chain, is over or has not begun.",
			"renew the certificate, and see why that did not happen by itself"},
		{HostCertExpires, warn, risk, fetching, "the certificate expires soon", "The certificate runs out within 14 days. Then nobody can fetch the policy, and who holds it keeps it only until its max_age has run out.",
			"renew the certificate, and see why that did not happen by itself"},
		{HostHTTP, fail, partial, fetching, "no HTTP answer", "TLS is established, and no HTTP answer comes, or it breaks off.",
			"see the log of the web server"},
		{HostRedirect, fail, partial, fetching, "a redirect", "Senders must not follow redirects of any kind: for them there is no policy.",
			"answer with the policy itself, status 200, at this very URL"},
		{HostStatus, fail, partial, fetching, "another status than 200", "Senders take the policy with status 200 only.",
			"answer with the policy, status 200, at /.well-known/mta-sts.txt"},
		{HostMediaType, fail, partial, "RFC 8461 §3.2", "another media type than text/plain", "Senders are to take the policy as text/plain only, and many check it.",
			"send the header Content-Type: text/plain"},
		{HostMediaParameters, warn, partial, fetching, "odd parameters of the media type", "Senders are to pass over the parameters of the media type; there are readers that refuse the policy when they break the grammar.",
			"send the header `Content-Type: text/plain`, with `charset=utf-8` or nothing after it"},
		{HostSize, fail, partial, fetching, "too large", "Senders need not read more than 64 KB, and stop there.", "make the policy shorter, with a pattern such as *.example.net for many MX hosts"},
		{HostSlow, warn, partial, fetching, "slow", "The answer takes more than ten seconds. Senders need not wait for longer than a minute, and impatient ones give up sooner.",
			"serve the policy as a static file"},
		{HostTimeout, unknown, none, fetching, "no answer in time", "TLS is established, and no whole answer comes for as long as is waited here. Senders wait for up to a minute, most of them less.",
			"see why the web server is so slow; serve the policy as a static file"},
		{HostFlaky, fail, partial, fetching, "now the policy, and now not", "The same host answers some requests with the policy and others not: it is overloaded, limits the rate, or one of several servers behind the address is broken. Some senders get no policy.",
			"see the log of the web server or the balancer before it; exempt /.well-known/mta-sts.txt from rate limits"},
		{HostAgent, fail, partial, fetching, "some clients get another answer", "What the server answers depends on the User-Agent: a filter against robots stands in front, and senders are robots.",
			"exempt /.well-known/mta-sts.txt from the filter"},
		{HostHTTP1, fail, partial, fetching, "HTTP/1.1 gets another answer", "The server answers HTTP/2 and not HTTP/1.1 with the policy. Many senders speak only HTTP/1.1.",
			"serve the policy over HTTP/1.1, too"},
		{HostHTTP2, fail, partial, fetching, "HTTP/2 gets another answer", "The server offers HTTP/2 and does not answer with the policy there, while HTTP/1.1 gets it. Senders that speak HTTP/2 have no policy.",
			"repair HTTP/2 at the web server, or switch it off for this host"},
		{HostDifferent, fail, partial, fetching, "different policies are served", "Which policy a sender gets depends on the address that it chooses, or on chance. Each is held against the MX hosts.",
			"serve the same policy everywhere, before the record announces it"},
		{HostPlain, warn, risk, "RFC 8461 §3.3", "port 80 serves the policy", "The policy is served without TLS, too. Senders never look there. It misleads whoever tests by hand: that it is served at port 80 says nothing about HTTPS.",
			"redirect port 80 to https://, or answer nothing there"},
		{HostCAA, pass, none, caa, "CAA records", "CAA records say which CAs may issue for the policy host. Those at the target of a CNAME count.", ""},
		{HostCAANone, pass, none, caa, "no CAA records", "Every CA may issue for the policy host.", ""},
		{HostCAAForbids, warn, risk, caa, "CAA records forbid the CA", "The CA that issued the present certificate may not issue the next one, or no CA may: it will not be renewed.",
			"name the CA in an issue record, or get the certificate from a CA that is named"},
		{HostCAALookup, warn, risk, caa, "CAA records cannot be looked up", "A CA that cannot look up the CAA records must not issue: the certificate will not be renewed.",
			"see that the name servers of the zone answer for type CAA, and that its DNSSEC is right"},
	}
}
