package config

import (
	"crypto/x509"
	"net/mail"
	"net/netip"
	"strings"
	"time"
)

// The keys of each part of a config.
var (
	mainKeys = []string{"include", "listen", "store", "acme", "dns", "net", "prove", "watch", "records",
		"defaults", "profile", "domain"}
	includedKeys = []string{"profile", "domain"}
	listenKeys   = []string{"https", "http", "admin", "max_connections"}
	storeKeys    = []string{"url"}
	acmeKeys     = []string{"directory", "email", "accept_terms", "roots_file", "workers", "orders_per_3h"}
	netKeys      = []string{"resolver", "roots_file", "dns_port", "https_port", "http_port", "smtp_port"}
	proveKeys    = []string{"via"}
	watchKeys    = []string{"interval", "workers"}
	recordsKeys  = []string{"addresses", "cname", "ttl"}
	defaultsKeys = []string{"dns", "mx", "max_age", "profile"}
	profileKeys  = []string{"dns", "zone", "mx", "max_age", "mode"}
	domainKeys   = []string{"name", "dns", "zone", "mx", "max_age", "mode", "profile"}
)

// sectionsWith names the sections that know a key, "" if none does.
func sectionsWith(key string) string {
	var in []string
	for _, s := range []struct {
		name string
		keys []string
	}{
		{"[listen]", listenKeys}, {"[store]", storeKeys}, {"[acme]", acmeKeys}, {"[net]", netKeys},
		{"[prove]", proveKeys}, {"[watch]", watchKeys}, {"[records]", recordsKeys},
		{"[[domain]]", domainKeys}, {"[profile.NAME]", profileKeys}, {"[defaults]", defaultsKeys},
		{"[dns.NAME]", []string{"provider"}}, {"the head of the main file, before the first section", mainKeys[:1]},
	} {
		for _, k := range s.keys {
			if k == key {
				in = append(in, s.name)
			}
		}
	}
	return strings.Join(in, " or ")
}

// readMain reads the sections that only the main file may have.
func (l *loader) readMain(top table) {
	top.only(mainKeys)
	l.cfg.Listen = readListen(top.sub("listen"))
	l.cfg.Store = readStore(top.sub("store"))
	l.cfg.ACME = readACME(top.sub("acme"), top.has("acme"))
	l.cfg.Net = readNet(top.sub("net"))
	l.cfg.Prove = readProve(top.sub("prove"))
	l.cfg.Watch = readWatch(top.sub("watch"))
	l.cfg.Records = readRecords(top.sub("records"))
	l.cfg.DNS = l.readAccounts(top.sub("dns"))
}

func readListen(t table) Listen {
	t.only(listenKeys)
	out := Listen{HTTPS: ":443", HTTP: ":80", Admin: defaultAdmin}
	out.MaxConnections = t.integer("max_connections", 1, 10_000_000, defaultMaxConnections)
	if s, ok := t.str("https", `":443"`); ok {
		out.HTTPS = t.listenAddr("https", s, ":443")
	}
	if s, ok := t.str("http", `":80"`); ok && s == "" {
		out.HTTP = ""
	} else if ok {
		out.HTTP = t.listenAddr("http", s, ":80")
	}
	if s, ok := t.str("admin", `"`+defaultAdmin+`"`); ok {
		out.Admin = t.adminAddr("admin", s)
	}
	if out.HTTP == out.HTTPS && out.HTTP != "" && !strings.HasSuffix(out.HTTP, ":0") {
		t.fail("http", `write another port, or http = "" to switch plain HTTP off`, "http and https in [listen] are both %s", show(out.HTTP))
	}
	if (out.Admin == out.HTTPS || out.Admin == out.HTTP) && !strings.HasSuffix(out.Admin, ":0") {
		t.fail("admin", `write admin = "`+defaultAdmin+`"`, "admin in [listen] is an address that is already taken above: %s", show(out.Admin))
	}
	return out
}

func readStore(t table) Store {
	t.only(storeKeys)
	out := Store{Path: defaultStorePath}
	s, ok := t.str("url", `"sqlite:`+defaultStorePath+`"`)
	if !ok {
		return out
	}
	remedy := `write url = "sqlite:` + defaultStorePath + `"`
	path, isSQLite := strings.CutPrefix(s, "sqlite:")
	switch {
	case strings.HasPrefix(s, "postgres:"), strings.HasPrefix(s, "postgresql:"):
		// The URL may hold a password: do not show it.
		t.fail("url", remedy, "url in [store] names PostgreSQL, which this version does not support")
	case !isSQLite:
		t.fail("url", remedy, `url in [store] does not begin with "sqlite:"`)
	case strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		t.fail("url", remedy, "url in [store] has a host; SQLite is a file")
	case path == "" || strings.HasSuffix(path, "/"):
		t.fail("url", remedy, "url in [store] names no file")
	case strings.ContainsAny(path, "?#\x00"):
		// The driver would take what follows "?" for parameters.
		t.fail("url", remedy, "the path of url in [store] has one of the characters ? and #")
	default:
		out.Path = beside(t.file, path)
	}
	return out
}

func readACME(t table, there bool) ACME {
	t.only(acmeKeys)
	out := ACME{Directory: letsEncrypt}
	if s, ok := t.str("directory", `"letsencrypt"`); ok {
		out.Directory = t.directory("directory", s)
	}
	if s, ok := t.str("email", `"hostmaster@example.com"`); ok && s != "" {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Address != s {
			t.fail("email", `write the bare address, e.g. email = "hostmaster@example.com"`, "email in [acme] is %s, which is no mail address", show(s))
		}
		out.Email = s
	}
	out.RootsFile = t.rootsFile("roots_file")
	out.Workers = t.integer("workers", 1, 100, 4)
	out.OrdersPer3Hours = t.integer("orders_per_3h", 1, 1_000_000, 300)
	accept, ok := t.boolean("accept_terms")
	out.AcceptTerms = accept
	const remedy = "read the CA's terms of service (https://letsencrypt.org/repository/ for Let's Encrypt) and write accept_terms = true"
	switch {
	case !there:
		t.l.fail(t.pos(), "add a section [acme]; "+remedy, "[acme] is missing: no CA issues certificates before its terms are accepted")
	case !t.has("accept_terms"):
		t.l.fail(t.pos(), remedy, "accept_terms is missing in [acme]: no CA issues certificates before its terms are accepted")
	case ok && !accept:
		t.fail("accept_terms", remedy, "accept_terms in [acme] is false: no CA issues certificates before its terms are accepted")
	}
	return out
}

func readNet(t table) Net {
	t.only(netKeys)
	out := Net{
		RootsFile: t.rootsFile("roots_file"),
		DNSPort:   t.integer("dns_port", 1, 65535, 53),
		HTTPSPort: t.integer("https_port", 1, 65535, 443),
		HTTPPort:  t.integer("http_port", 1, 65535, 80),
		SMTPPort:  t.integer("smtp_port", 1, 65535, 25),
	}
	var items []item
	if s, isString := t.vals["resolver"].(string); isString {
		items = []item{{s, t.posOf("resolver")}}
	} else {
		items, _, _ = t.list("resolver", `"127.0.0.1:53"`)
	}
	for _, it := range items {
		addr, problem := hostPort(it.s, "53")
		if problem != "" {
			t.l.fail(it.at, `write host:port, e.g. resolver = "127.0.0.1:53"; leave it out for /etc/resolv.conf`,
				"resolver in [net] is %s: %s", show(it.s), problem)
			continue
		}
		out.Resolver = append(out.Resolver, addr)
	}
	return out
}

func readProve(t table) Prove {
	t.only(proveKeys)
	s, ok := t.str("via", `"192.0.2.1:443"`)
	if !ok || s == "" {
		return Prove{}
	}
	addr, problem := hostPort(s, "")
	if problem != "" {
		t.fail("via", `write host:port, e.g. via = "192.0.2.1:443"`, "via in [prove] is %s: %s", show(s), problem)
	}
	return Prove{Via: addr}
}

func readWatch(t table) Watch {
	t.only(watchKeys)
	out := Watch{Interval: time.Hour, Workers: t.integer("workers", 1, 1000, 8)}
	if d, ok := t.duration("interval", time.Second, 7*24*time.Hour, `"1h"`, ""); ok {
		out.Interval = d
	}
	return out
}

func readRecords(t table) Records {
	t.only(recordsKeys)
	out := Records{TTL: 300 * time.Second}
	// RFC 2181 §8 allows 68 years; a TTL over a day only delays repairs.
	if d, ok := t.duration("ttl", time.Second, 24*time.Hour, "300", ""); ok {
		out.TTL = d
	}
	items, _, _ := t.list("addresses", `["192.0.2.1", "2001:db8::1"]`)
	for _, it := range items {
		a, err := netip.ParseAddr(it.s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			t.l.fail(it.at, `write the public addresses of this server, e.g. addresses = ["192.0.2.1", "2001:db8::1"]`,
				"addresses in [records] has %s, which is no address of a host", show(it.s))
			continue
		}
		out.Addresses = append(out.Addresses, a.Unmap())
	}
	if s, ok := t.str("cname", `"mta-sts.example.net"`); ok && s != "" {
		name, problem, remedy := parseName(s)
		if problem != "" {
			t.fail("cname", remedy, "cname in [records] is %s: %s", show(s), problem)
		}
		out.CNAME = name
		if len(items) > 0 {
			// RFC 1034 §3.6.2: a name with a CNAME has no other records.
			t.fail("cname", "keep one of the two", "[records] has both cname and addresses, and a policy host cannot have both")
		}
	}
	return out
}

// rootsFile reads the path of a file of PEM certificates and checks that it
// holds some.
func (t table) rootsFile(key string) string {
	s, ok := t.str(key, `"ca.pem"`)
	if !ok || s == "" {
		return ""
	}
	path := beside(t.file, s)
	data, err := readFile(path, 16<<20)
	if err != nil {
		t.l.failFile(t.posOf(key), err, "write the path of a file with PEM certificates, or leave it out for the system's roots",
			"%s: %s cannot be read: %s", t.in(key), path, reason(err))
		return path
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		t.fail(key, `it needs blocks that begin with "-----BEGIN CERTIFICATE-----"`, "%s: %s holds no PEM certificate", t.in(key), path)
	}
	return path
}
