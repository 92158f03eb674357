package check

// Codes of what is found at the MX hosts.
const (
	MXSet            = "STS-MX-SET"
	MXLookup         = "STS-MX-LOOKUP"
	MXNull           = "STS-MX-NULL"
	MXImplicit       = "STS-MX-IMPLICIT"
	MXNone           = "STS-MX-NONE"
	MXCNAME          = "STS-MX-CNAME"
	MXLiteral        = "STS-MX-LITERAL"
	MXNoAddress      = "STS-MX-NO-ADDRESS"
	MXHostLookup     = "STS-MX-HOST-LOOKUP"
	MXCovered        = "STS-MX-COVERED"
	MXUncovered      = "STS-MX-UNCOVERED"
	MXPatternUnused  = "STS-MX-PATTERN-UNUSED"
	MXPatternBroad   = "STS-MX-PATTERN-BROAD"
	MXOK             = "STS-MX-OK"
	MXNotTried       = "STS-MX-NOT-TRIED"
	MXPortClosed     = "STS-MX-PORT-25-CLOSED"
	MXConnect        = "STS-MX-CONNECT"
	MXRefusesUs      = "STS-MX-REFUSES-US"
	MXSlow           = "STS-MX-SLOW"
	MXSession        = "STS-MX-SESSION"
	MXNoSTARTTLS     = "STS-MX-NO-STARTTLS"
	MXSTARTTLSFailed = "STS-MX-STARTTLS-FAILED"
	MXTLS            = "STS-MX-TLS"
	MXTLSVersion     = "STS-MX-TLS-VERSION"
	MXCertUntrusted  = "STS-MX-CERT-UNTRUSTED"
	MXCertName       = "STS-MX-CERT-NAME"
	MXCertExpired    = "STS-MX-CERT-EXPIRED"
	MXCertExpires    = "STS-MX-CERT-EXPIRES"
	MXCertNoSNI      = "STS-MX-CERT-NO-SNI"
)

func mxRules() []Rule {
	const matching = "RFC 8461 §4.1"
	const validation = "RFC 8461 §4.2"
	const refused = " In mode enforce senders do not deliver there."
	return []Rule{
		{MXSet, pass, none, "RFC 5321 §5.1", "the MX hosts", "These are the hosts that take mail for the domain.", ""},
		{MXLookup, unknown, none, "RFC 5321 §5.1", "the MX records could not be looked up", "The resolvers that were asked could not find out the MX records.",
			"see that the name servers of the zone answer; try again, or with another resolver"},
		{MXNull, warn, none, "RFC 7505 §3", "a null MX", "The domain says that it takes no mail, so that there is nothing for a policy to protect. A null MX stands alone: beside other MX records it is an error.",
			"remove the null MX if the domain takes mail; otherwise the policy may go (mode none first)"},
		{MXImplicit, warn, risk, "RFC 5321 §5.1", "no MX records", "Without MX records the domain's own address is where mail goes; the policy must cover the domain itself then, and not all senders agree on that.",
			"publish an MX record"},
		{MXNone, fail, lose, "RFC 5321 §5.1", "nowhere to deliver to", "There are neither MX records nor an address at the domain: no mail can be delivered, with or without a policy.",
			"publish MX records, or a null MX if the domain takes no mail"},
		{MXCNAME, warn, partial, "RFC 2181 §10.3", "an MX host is a CNAME", "An MX record must not lead to an alias. Senders differ in which of the two names they hold against policy and certificate.",
			"write the name that the CNAME leads to into the MX record and the policy"},
		{MXLiteral, fail, lose, "RFC 5321 §5.1", "an MX record names an address", "An MX record names a host; an address there cannot be delivered to, nor matched by a policy.",
			"give the host a name, and write that into the MX record"},
		{MXNoAddress, fail, partial, "RFC 5321 §5.1", "an MX host has no address", "Nobody can deliver to the host: senders go on to the next.",
			"make an A or AAAA record for the host, or remove it from the MX records"},
		{MXHostLookup, unknown, none, "RFC 5321 §5.1", "an MX host could not be looked up", "The resolvers that were asked could not find out the addresses of the host.",
			"see that the name servers of the host's zone answer; try again, or with another resolver"},
		{MXCovered, pass, none, matching, "covered by the policy", "A pattern of the policy matches the MX host.", ""},
		{MXUncovered, fail, lose, matching, "an MX host is not covered", "No pattern of the policy matches the MX host; a wildcard stands for exactly one label." + refused,
			"add the host to the policy and give the record a new id (where stshost hosts the domain: add it to `mx` in the config, and reload); or remove the MX record, if nobody wanted it"},
		{MXPatternUnused, warn, risk, matching, "a pattern matches no MX host", "A pattern that matches none of today's MX hosts is misspelt, or of the past, or of a host yet to come: whoever has such a host, and forges MX records that lead there, gets the mail.",
			"correct or remove it, unless it is of a host that is about to become an MX host; after a move not before the TTL of the old MX records is over"},
		{MXPatternBroad, warn, risk, "RFC 8461 §10.4", "a pattern is very broad", "The wildcard stands directly below a public suffix: anybody can register a name that it matches.",
			"write the names of the MX hosts"},
		{MXOK, pass, none, validation, "authenticated TLS works", "At this address STARTTLS gives TLS 1.2 or later, with a certificate that is trusted and for the host's name.", ""},
		{MXNotTried, skipped, none, validation, "an address was not tried", "The host or address could not be tried: this machine has no IPv6, say, or the time was over. Of many MX hosts 16 are looked at, and of each four addresses of each family; the names of 200 are held against the policy.", ""},
		{MXPortClosed, unknown, none, validation, "port 25 is closed on our side", "No mail host can be reached from here, others' neither: the network of this machine lets no connection to port 25 out, as is common in clouds. It says nothing about the domain.",
			"run the check on a machine that may connect to port 25, or have the provider open it"},
		{MXConnect, fail, partial, "RFC 5321 §5.1", "no connection", "The address takes no connection on port 25: senders go on to the next address or host, with or without a policy.",
			"open port 25 there, or remove the address"},
		{MXRefusesUs, unknown, none, "RFC 5321 §3.1", "the host refuses us", "The host answers, but will not speak to this machine: a block list, a missing reverse name, or a limit. It says nothing about how it treats senders.",
			"run the check on a machine that sends mail, with a name for its address"},
		{MXSlow, unknown, none, "RFC 5321 §4.5.3.2", "the host keeps us waiting", "The host takes connections and then keeps us waiting for longer than a look lasts: it is overloaded, or slows strangers down on purpose. Senders are more patient.",
			"try again; or run the check on a machine that sends mail"},
		{MXSession, fail, partial, "RFC 5321 §4.1.1.1", "no SMTP session", "The address takes connections, and no SMTP session comes about: what listens there is no mail server, or is broken.",
			"see the log of the mail server"},
		{MXNoSTARTTLS, fail, lose, validation, "STARTTLS is not offered", "The host does not offer STARTTLS, or something on the way takes it out." + refused,
			"switch TLS on in the mail server; look whether a firewall (SMTP inspection) strips it"},
		{MXSTARTTLSFailed, fail, lose, validation, "STARTTLS is offered and refused", "The host offers STARTTLS and then refuses it: as a rule its certificate or key cannot be read." + refused,
			"see the log of the mail server"},
		{MXTLS, fail, lose, validation, "the TLS handshake fails", "STARTTLS begins, and no TLS session comes about." + refused,
			"see the log of the mail server for its certificate, key, protocols and ciphers"},
		{MXTLSVersion, fail, lose, "RFC 8461 §7.2", "an old TLS version", "The host has no TLS 1.2 or later, and senders want that." + refused,
			"switch TLS 1.2 and 1.3 on"},
		{MXCertUntrusted, fail, lose, validation, "the certificate is not trusted", "No chain leads from the certificate to a root that is trusted: self-signed, of a private CA, or sent without its intermediate certificates." + refused,
			"use a certificate of a public CA, with its intermediate certificates (the full chain)"},
		{MXCertName, fail, lose, validation, "the certificate is for another name", "A sender wants a dNSName for the MX host, as the MX record names it. Common names do not count, and a wildcard stands for one label." + refused,
			"get a certificate for the MX host's name"},
		{MXCertExpired, fail, lose, validation, "the certificate has expired", "The time of the certificate, or of one in its chain, is over or has not begun." + refused,
			"renew the certificate and have the mail server load it"},
		{MXCertExpires, warn, risk, validation, "the certificate expires soon", "The certificate runs out within 14 days. In mode enforce senders do not deliver there from then on.",
			"renew the certificate and have the mail server load it"},
		{MXCertNoSNI, warn, risk, "RFC 8461 §7.1", "another certificate without SNI", "A client that names no host in TLS gets a certificate that is not right. Senders that honour MTA-STS name it; simple monitoring does not.",
			"make the certificate for the MX host's name the default one"},
	}
}
