package check

// Codes of what is found at _mta-sts.<domain>.
const (
	RecordOK             = "STS-RECORD-OK"
	RecordNone           = "STS-RECORD-NONE"
	RecordLookalike      = "STS-RECORD-LOOKALIKE"
	RecordSeveral        = "STS-RECORD-SEVERAL"
	RecordGrammar        = "STS-RECORD-GRAMMAR"
	RecordID             = "STS-RECORD-ID"
	RecordForeign        = "STS-RECORD-FOREIGN"
	RecordWildcard       = "STS-RECORD-WILDCARD"
	RecordSplit          = "STS-RECORD-SPLIT"
	RecordTTL            = "STS-RECORD-TTL"
	RecordAlias          = "STS-RECORD-ALIAS"
	RecordDangling       = "STS-RECORD-DANGLING"
	RecordLoop           = "STS-RECORD-LOOP"
	RecordUnanswered     = "STS-RECORD-UNANSWERED"
	RecordSigned         = "STS-RECORD-SIGNED"
	RecordUnsigned       = "STS-RECORD-UNSIGNED"
	RecordBogus          = "STS-RECORD-BOGUS"
	RecordDNSSECSkipped  = "STS-RECORD-DNSSEC-SKIPPED"
	RecordServersAgree   = "STS-RECORD-SERVERS-AGREE"
	RecordServersDiffer  = "STS-RECORD-SERVERS-DIFFER"
	RecordServerSilent   = "STS-RECORD-SERVER-SILENT"
	RecordCached         = "STS-RECORD-CACHED"
	RecordServersSkipped = "STS-RECORD-SERVERS-SKIPPED"
	RecordIDCurrent      = "STS-RECORD-ID-CURRENT"
	RecordIDStale        = "STS-RECORD-ID-STALE"
	RecordIDKept         = "STS-RECORD-ID-KEPT"
	RecordStoreSkipped   = "STS-RECORD-STORE-SKIPPED"
)

func recordRules() []Rule {
	const grammar = "RFC 8461 §3.1"
	return []Rule{
		{RecordOK, pass, none, grammar, "one valid record", "Senders find exactly one MTA-STS record, and it is well-formed.", ""},
		{RecordNone, fail, ignored, grammar, "no record", "Without a TXT record that begins with `v=STSv1;` senders do not look for a policy: the domain has no MTA-STS. Senders that hold an older policy keep to it until it runs out.",
			"serve a policy first, unless one is served already; then publish the TXT record `v=STSv1; id=…;` at the name"},
		{RecordLookalike, fail, ignored, grammar, "a record that is nearly one", "A TXT record at the name is meant as an MTA-STS record, but does not begin exactly with `v=STSv1;` (wrong case, blanks, quotes within the text, a missing semicolon): senders pass it over.",
			"write the record exactly as `v=STSv1; id=…;`"},
		{RecordSeveral, fail, ignored, grammar, "several records", "Where more than one TXT record begins with `v=STSv1;` senders must act as if there were none: MTA-STS is off.",
			"delete all but the one whose id announces the policy that is served"},
		{RecordGrammar, fail, ignored, grammar, "the record breaks the grammar", "Senders that keep to the grammar ignore the record, and with it the policy.",
			"write the record exactly as `v=STSv1; id=…;`"},
		{RecordID, fail, ignored, grammar, "the id is not valid", "An id is 1 to 32 letters and digits. Most senders ignore a record whose id is anything else.",
			"use 1 to 32 letters and digits, such as the time 20260131120000, and no - _ + / = in between"},
		{RecordForeign, warn, partial, grammar, "other TXT records at the name", "There are TXT records at the name that are no MTA-STS records, and senders are to pass them over. Some readers expect one TXT record and no other there, and see no policy.",
			"move them to names of their own"},
		{RecordWildcard, warn, risk, grammar, "a wildcard has the same record", "A name that nobody made has the same TXT record: a wildcard answers for all names, those of sub-domains too, which then seem to have MTA-STS and no policy to fetch.",
			"publish the record at the name itself, and take it out of the wildcard"},
		{RecordSplit, pass, none, grammar, "the text is split into strings", "The record consists of several strings. Senders join them without blanks, as they must.", ""},
		{RecordTTL, warn, risk, "RFC 8461 §8.1", "a long TTL", "Resolvers keep the record for longer than a day: after a change senders go on with the old policy for as long.",
			"set a TTL of an hour or less"},
		{RecordAlias, pass, none, "RFC 8461 §8.2", "the name is a CNAME", "The record is delegated: senders follow the CNAME.", ""},
		{RecordDangling, fail, ignored, "RFC 8461 §8.2", "the CNAME leads nowhere", "The name is a CNAME and there is no MTA-STS record where it leads: the delegation was begun or ended halfway. Whoever can make that name can announce a policy for the domain.",
			"have the record made where the CNAME leads, or remove the CNAME"},
		{RecordLoop, fail, ignored, "RFC 1034 §3.6.2", "the CNAMEs go in a circle", "Resolvers give up on the name, and senders see no record.",
			"make the CNAME lead to the name that has the record"},
		{RecordUnanswered, unknown, none, grammar, "nobody answers for the name", "The resolvers that were asked could not find out what stands at the name. Senders that see the same treat the domain as without a (new) policy.",
			"see that the name servers of the zone answer; try again, or with another resolver"},
		{RecordSigned, pass, none, "RFC 8461 §10.2", "validated by DNSSEC", "A resolver that is believed has validated the record.", ""},
		{RecordUnsigned, pass, none, "RFC 8461 §10.2", "not signed by DNSSEC", "The record is not signed. MTA-STS does not need it: an attacker in the DNS can hide a policy from senders that hold none yet, and from no others.", ""},
		{RecordBogus, fail, ignored, "RFC 4035 §5.5", "DNSSEC validation fails", "The record comes only when resolvers are asked not to validate: for senders behind validating resolvers it does not exist, nor, likely, does anything else in the zone.",
			"repair the signatures of the zone, or the DS record at its parent"},
		{RecordDNSSECSkipped, skipped, none, "RFC 4035 §4.9.3", "DNSSEC not judged", "The resolver that was asked does not validate, or it is not on this machine, and what it says of DNSSEC could be tampered with on the way.",
			"ask a validating resolver on this machine, or set trust_ad = true in [net] if the way to the resolver is safe"},
		{RecordServersAgree, pass, none, grammar, "all name servers agree", "Every authoritative name server that could be asked shows the same.", ""},
		{RecordServersDiffer, fail, partial, grammar, "name servers differ", "The authoritative name servers show different records: which policy a sender sees is left to chance.",
			"see why the zone is not the same everywhere: a secondary that is no longer updated, or two providers with one of them forgotten"},
		{RecordServerSilent, warn, risk, "RFC 1034 §4.1", "a name server does not answer", "An authoritative name server does not answer for the name, or not as authoritative: look-ups are slow, and fail when the others do.",
			"repair the name server, or take it out of the delegation"},
		{RecordCached, warn, partial, "RFC 8461 §3.1", "resolvers show an older record", "The authoritative name servers show another record, or none, and resolvers still have the former one: the record was changed a short while ago. What senders do changes when the caches have run out.",
			"wait for as long as the TTL of the former record, and check again"},
		{RecordServersSkipped, skipped, none, grammar, "name servers not asked", "The authoritative name servers could not be asked one by one.", ""},
		{RecordIDCurrent, pass, none, "RFC 8461 §3.1", "the id is of this policy", "The id carries the digest of the policy that is served, as ids made by stshost do.", ""},
		{RecordIDStale, fail, partial, "RFC 8461 §3.1", "the id is of another policy", "The id carries the digest of another policy than the one served. Senders that fetched under this id before do not fetch again: they hold the other policy.",
			"find out whose policy is served: if it is the right one, announce it under a new id; if not, see where the policy host leads"},
		{RecordIDKept, fail, partial, "RFC 8461 §3.1", "the policy changed and the id did not", "Another policy is served than was announced under this id. Senders that hold that one do not fetch again until it runs out.",
			"find out who changed the policy: if that was right, announce it under a new id; if not, see where the policy host leads"},
		{RecordStoreSkipped, skipped, none, "RFC 8461 §3.1", "the store not asked", "Whether the domain is hosted here, and what was served and announced before, could not be read, so that nothing was compared.", ""},
	}
}
