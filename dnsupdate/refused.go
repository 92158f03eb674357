package dnsupdate

import "fmt"

// refused are providers that libdns modules exist for and that are not offered,
// each with the reason. Two records that begin v=STSv1 switch MTA-STS off, so a
// module that leaves the old one beside the new is worse than none.
func refused() map[string]string {
	const (
		adds    = "its libdns module adds the new record and leaves the old one, and two of them switch MTA-STS off (RFC 8461 §3.1)"
		finds   = "its libdns module looks the record to replace up by the new value, does not find it, and adds a second one"
		cannot  = "it can hold one kind of record at one kind of name only, which is not this one"
		gap     = "its libdns module deletes the records at the name, other people's too, before it makes the new ones"
		unasked = "its libdns module writes records to the log and does not stop when it is told to"
	)
	return map[string]string{
		"gandi":        adds,
		"digitalocean": "its libdns module replaces a record only if it is told the id, and adds a second one otherwise",
		"scaleway":     finds,
		"alidns":       finds,
		"acmedns":      cannot,
		"duckdns":      cannot,
		"infomaniak":   gap,
		"bunny":        gap,
		"namecheap":    "its API replaces all records of the domain at each change, so that a change made elsewhere meanwhile is lost",
		"godaddy":      unasked,
	}
}

// RefusedProviders returns the providers that are known and not offered, and
// why, with what to do instead.
func RefusedProviders() map[string]string {
	all := make(map[string]string)
	for name, why := range refused() {
		all[name] = fmt.Sprintf("%s; make _mta-sts.<domain> a CNAME to a name in a zone at a provider that stshost speaks, or set provider = \"print\" and enter the record by hand", why)
	}
	return all
}
