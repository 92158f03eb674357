package config

import (
	"encoding/base64"
	"net/mail"
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// readACME reads [acme], which there must be unless a reverse proxy ends TLS.
func (l *loader) readACME(top table) ACME {
	t := top.sub("acme")
	t.only(acmeKeys)
	if l.cfg.Listen.ProxyTLS() {
		if top.has("acme") {
			l.warn(top.posOf("acme"), "take it out, or switch https on",
				"[acme] is not used: https in [listen] is off, so the certificates are the reverse proxy's")
		}
		return ACME{}
	}
	out := ACME{CA: t.ca(), Workers: t.integer("workers", 1, 100, 4)}
	out.AcceptTerms = t.terms(top.has("acme"))
	out.ExtraHosts = t.extraHosts()
	if t.has("fallback") {
		f := t.sub("fallback")
		f.only(caKeys)
		f.terms(true)
		second := f.ca()
		out.Fallback = &second
		switch {
		case !f.has("directory"):
			l.fail(f.pos(), `write directory = "zerossl" or the URL of another CA`, "[acme.fallback] has no directory")
		case second.Directory == "": // reported
		case second.Directory == letsEncryptStaging:
			f.fail("directory", "name a CA that senders trust", "directory in [acme.fallback] is a CA for tries: policies served with its certificates are refused by every sender")
		case second.Directory == out.Directory:
			f.fail("directory", "name another CA", "directory in [acme.fallback] is that of [acme]: it would be out of order at the same time")
		}
	}
	return out
}

// ca reads what [acme] and [acme.fallback] have in common.
func (t table) ca() CA {
	out := CA{Directory: letsEncrypt}
	if s, ok := t.str("directory", `"letsencrypt"`); ok {
		out.Directory = t.directory("directory", s)
	}
	if s, ok := t.str("email", `"hostmaster@example.com"`); ok && s != "" {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s {
			t.fail("email", `write the bare address, e.g. email = "hostmaster@example.com"`, "email in %s is %s, which is no mail address", t.name, show(s))
		}
		out.Email = s
	}
	out.RootsFile = t.rootsFile("roots_file")
	out.Profile, _ = t.str("profile", `"shortlived"`)
	out.EAB = t.eab(out.Directory)
	out.OrdersPer3Hours = t.integer("orders_per_3h", 1, 1_000_000, defaultOrders)
	return out
}

// eab reads the external account binding (RFC 8555 §7.3.4): a key identifier
// and a key, which CAs hand out in base64url.
func (t table) eab(directory string) *EAB {
	kid, hasKID := t.str("eab_kid", `"…"`)
	text, given, ok := t.setting(Setting{Key: "eab_hmac", Secret: true})
	const remedy = `write eab_kid = "…" and eab_hmac_file = "PATH" with what the CA gave you`
	switch {
	case !t.has("eab_kid") && !given:
		if directory == zeroSSL || directory == googleTrust {
			t.l.fail(t.pos(), remedy, "%s: this CA takes only accounts that are bound to one that you have there", t.name)
		}
		return nil
	case !t.has("eab_kid"):
		t.l.fail(t.pos(), remedy, "%s has eab_hmac without eab_kid", t.name)
		return nil
	case !given:
		t.fail("eab_kid", remedy, "%s has eab_kid without eab_hmac", t.name)
		return nil
	case !hasKID || !ok:
		return nil
	}
	at := "eab_hmac"
	if !t.has(at) {
		at = "eab_hmac_file"
	}
	// Some CAs show it in plain base64, or padded.
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimSpace(text)), "="))
	if err != nil || len(key) == 0 || kid == "" {
		t.fail(at, "copy both values from the CA once more", "eab_kid and eab_hmac in %s are not as a CA gives them: the second one is base64url", t.name)
		return nil
	}
	return &EAB{KID: kid, Key: key}
}

// terms reads accept_terms, which must be true.
func (t table) terms(there bool) bool {
	accept, ok := t.boolean("accept_terms")
	const remedy = "read the CA's terms of service (https://letsencrypt.org/repository/ for Let's Encrypt) and write accept_terms = true"
	switch {
	case !there:
		t.l.fail(t.pos(), "add a section "+t.name+"; "+remedy, "%s is missing: no CA issues certificates before its terms are accepted", t.name)
	case !t.has("accept_terms"):
		t.l.fail(t.pos(), remedy, "accept_terms is missing in %s: no CA issues certificates before its terms are accepted", t.name)
	case ok && !accept:
		t.fail("accept_terms", remedy, "accept_terms in %s is false: no CA issues certificates before its terms are accepted", t.name)
	}
	return accept
}

// extraHosts reads the names that get certificates beside the policy hosts.
func (t table) extraHosts() []string {
	items, _, _ := t.list("extra_hosts", `["sts.example.net"]`)
	seen := make(map[string]bool, len(items))
	var out []string
	for _, it := range items {
		name, problem, remedy := parseName(it.s)
		domain, isPolicyHost := mtasts.PolicyDomain(name)
		switch {
		case strings.HasPrefix(it.s, "*"):
			t.l.fail(it.at, "list the hosts by name; a wildcard certificate can only be one of your own, in [[certificate]]",
				"extra_hosts in %s has %s: a CA gives out wildcards only by way of DNS, which stshost does not use", t.name, show(it.s))
		case problem != "":
			t.l.fail(it.at, remedy, "extra_hosts in %s has %s: %s", t.name, show(it.s), problem)
		case isPolicyHost:
			t.l.fail(it.at, "take it out: write a [[domain]] with name = "+show(domain),
				"extra_hosts in %s has %s, which is a policy host", t.name, show(it.s))
		case !strings.Contains(name, "."):
			t.l.fail(it.at, `write its whole name, e.g. extra_hosts = ["sts.example.net"]`,
				"extra_hosts in %s has %s, a name of one label, for which no CA issues certificates", t.name, show(it.s))
		case seen[name]:
			t.l.warn(it.at, "write it once", "extra_hosts in %s has %s twice", t.name, show(name))
		default:
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}
