package check

// Codes of what is found about reports, DANE and the life of a policy.
const (
	TLSRPTOK      = "STS-TLSRPT-OK"
	TLSRPTNone    = "STS-TLSRPT-NONE"
	TLSRPTSeveral = "STS-TLSRPT-SEVERAL"
	TLSRPTGrammar = "STS-TLSRPT-GRAMMAR"
	TLSRPTScheme  = "STS-TLSRPT-SCHEME"
	TLSRPTLookup  = "STS-TLSRPT-LOOKUP"

	DANENone       = "STS-DANE-NONE"
	DANEOK         = "STS-DANE-OK"
	DANEMismatch   = "STS-DANE-MISMATCH"
	DANEUnusable   = "STS-DANE-UNUSABLE"
	DANEUnsigned   = "STS-DANE-UNSIGNED"
	DANEMXUnsigned = "STS-DANE-MX-UNSIGNED"
	DANESkipped    = "STS-DANE-SKIPPED"
	DANELookup     = "STS-DANE-LOOKUP"
	DANEPrecedence = "STS-DANE-PRECEDENCE"

	LifeNone              = "STS-LIFE-MODE-NONE"
	LifeUnannounced       = "STS-LIFE-UNANNOUNCED"
	LifeRemovedEarly      = "STS-LIFE-REMOVED-EARLY"
	LifeSubdomains        = "STS-LIFE-SUBDOMAINS"
	LifeSubdomainsOK      = "STS-LIFE-SUBDOMAINS-OK"
	LifeSubdomainsSkipped = "STS-LIFE-SUBDOMAINS-SKIPPED"
)

func otherRules() []Rule {
	const record = "RFC 8460 §3"
	const dane = "RFC 7672 §2.2"
	const leaving = "RFC 8461 §8.3"
	return []Rule{
		{TLSRPTOK, pass, none, record, "reports are asked for", "Senders are told where to send reports of TLS failures.", ""},
		{TLSRPTNone, warn, risk, record, "no reports are asked for", "Without a TLSRPT record senders do not tell you what fails, and in mode testing to be told is the point.",
			"publish the TXT record `v=TLSRPTv1; rua=mailto:…` at _smtp._tls.<domain>"},
		{TLSRPTSeveral, warn, risk, record, "several TLSRPT records", "Where there are several records that begin with `v=TLSRPTv1;` senders act as if there were none: no reports come.",
			"delete all but one; several addresses stand in one rua, with commas between"},
		{TLSRPTGrammar, warn, risk, record, "the TLSRPT record breaks the grammar", "Senders that keep to the grammar ignore the record: no reports come.",
			"write `v=TLSRPTv1; rua=mailto:reports@example.com`, with an address of yours"},
		{TLSRPTScheme, warn, risk, record, "an address nobody reports to", "Reports go to mailto: and https: addresses only.",
			"write mailto: and a mail address, or https: and a URL, with `!` as %21, `,` as %2C and `;` as %3B"},
		{TLSRPTLookup, unknown, none, record, "the TLSRPT record could not be looked up", "The resolvers that were asked could not find out whether there is one.",
			"see that the name servers of the zone answer; try again, or with another resolver"},

		{DANENone, pass, none, dane, "no DANE", "There are no TLSA records for the MX host: DANE plays no part in mail to it.", ""},
		{DANEOK, pass, none, dane, "DANE matches", "The certificate of the MX host matches its TLSA records.", ""},
		{DANEMismatch, fail, lose, dane, "DANE does not match", "No TLSA record matches the certificate of the MX host. Senders that honour DANE do not deliver there, whatever the mode of the MTA-STS policy.",
			"publish TLSA records of the present certificate, or of its key; keep those of the next one beside them before it is put in place"},
		{DANEUnusable, warn, risk, "RFC 7672 §3.1.3", "TLSA records that do not count for mail", "Usages 0 and 1 do not count for SMTP, nor do unknown ones, nor broken data. Where there is no other record, senders that honour DANE want TLS, but authenticate nobody.",
			"publish TLSA records of usage 3 (3 1 1), or 2"},
		{DANEUnsigned, warn, risk, dane, "TLSA records that are not signed", "The MX records, the addresses or the TLSA records are not validated by DNSSEC: senders that keep to the RFC pass the TLSA records over.",
			"sign the zones of the domain and of the MX host, or remove the TLSA records"},
		{DANEMXUnsigned, pass, none, "RFC 7672 §2.2.1", "TLSA records of the MX host, MX records not signed", "The MX host has TLSA records that are validated, and the MX records that lead to it are not: it is up to a sender whether it goes by the TLSA records. Postfix does by default.", ""},
		{DANESkipped, skipped, none, "RFC 4035 §4.9.3", "DANE not judged", "There are TLSA records; whether they count depends on DNSSEC, and the resolver that was asked does not validate, or is not one that is believed.",
			"ask a validating resolver on this machine, or set trust_ad = true in [net] if the way to the resolver is safe"},
		{DANELookup, unknown, none, dane, "the TLSA records could not be looked up", "The resolvers that were asked could not find out. Senders that honour DANE put mail off when they see the same (RFC 7672 §2.1.2).",
			"see that the name servers of the host's zone answer for type TLSA"},
		{DANEPrecedence, pass, none, "RFC 8461 §2", "DANE comes first", "At this MX host senders that honour both go by DANE, which an MTA-STS policy must not override; those that honour MTA-STS alone go by the policy: both have to be right.", ""},

		{LifeNone, warn, ignored, leaving, "the policy is withdrawn", "The mode is none: senders that see it forget the policy that they held. It has to be served until the longest max_age ever published has run out.",
			"keep record and policy until the longest max_age that was ever published has run out, and only then remove them"},
		{LifeUnannounced, warn, ignored, "RFC 8461 §8.1", "a policy without record", "A policy is served and no record announces it: senders that hold none do not look for it. Right while it is being set up, and wrong for long.",
			"publish the record, now that the policy is served"},
		{LifeRemovedEarly, fail, partial, leaving, "removed too early", "Senders may still hold an enforce policy of this domain, and what they need to learn of its end is gone: they refuse MX hosts that it does not name until it runs out.",
			"put back what is gone; to leave MTA-STS, serve a policy with mode none, announce it under a new id, and wait until the older ones have run out"},
		{LifeSubdomains, warn, risk, "RFC 8461 §3.4", "sub-domains without policy", "Sub-domains inherit no policy, and these take mail without one of their own. The DNS does not list names: only common ones were looked at.",
			"give each sub-domain that takes mail a record and a policy of its own"},
		{LifeSubdomainsOK, pass, none, "RFC 8461 §3.4", "sub-domains", "None of the common names below the domain takes mail without a policy of its own.", ""},
		{LifeSubdomainsSkipped, skipped, none, "RFC 8461 §3.4", "sub-domains not looked at", "The common names below the domain could not all be looked up.", ""},
	}
}
