package config

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The keys of each part of a config.
var (
	mainKeys = []string{"include", "listen", "store", "acme", "dns", "net", "prove", "watch", "records",
		"notify", "defaults", "certificate", "profile", "domain"}
	includedKeys = []string{"certificate", "profile", "domain"}
	listenKeys   = []string{"https", "http", "admin", "max_connections", "proxied", "trusted_proxies", "proxy_protocol"}
	storeKeys    = []string{"url", "keep_events"}
	caKeys       = []string{"directory", "email", "accept_terms", "roots_file", "profile", "eab_kid", "eab_hmac", "eab_hmac_file", "orders_per_3h"}
	acmeKeys     = append(slices.Clip(caKeys), "workers", "extra_hosts", "fallback")
	certKeys     = []string{"cert_file", "key_file"}
	notifyKeys   = []string{"url", "url_file", "min", "quiet_hours", "timezone", "repeat"}
	netKeys      = []string{"resolver", "roots_file", "dns_port", "https_port", "http_port", "smtp_port", "trust_ad", "smtp_control"}
	proveKeys    = []string{"via"}
	watchKeys    = []string{"interval", "mx_interval", "workers"}
	recordsKeys  = []string{"addresses", "cname", "ttl"}
	defaultsKeys = append(slices.Clip(rolloutKeys), "dns", "mx", "max_age", "profile")
	profileKeys  = append(slices.Clip(rolloutKeys), "dns", "zone", "mx", "max_age", "mode")
	domainKeys   = append(slices.Clip(rolloutKeys), "name", "dns", "zone", "mx", "max_age", "mode", "profile")
)

// sectionsWith names the sections that know a key, "" if none does.
func sectionsWith(key string) string {
	var in []string
	for _, s := range []struct {
		name string
		keys []string
	}{
		{"[listen]", listenKeys}, {"[store]", storeKeys}, {"[acme]", acmeKeys}, {"[net]", netKeys},
		{"[[certificate]]", certKeys}, {"[notify.NAME]", notifyKeys},
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
	l.cfg.ACME = l.readACME(top)
	l.cfg.Net = readNet(top.sub("net"))
	l.cfg.Prove = readProve(top.sub("prove"))
	l.cfg.Watch = readWatch(top.sub("watch"))
	l.cfg.Records = readRecords(top.sub("records"))
	l.cfg.DNS = l.readAccounts(top.sub("dns"))
	l.cfg.Notify = l.readNotify(top.sub("notify"))
}

func readStore(t table) Store {
	t.only(storeKeys)
	out := Store{Path: defaultStorePath, KeepEvents: defaultKeepEvents}
	if d, ok := t.duration("keep_events", time.Hour, 10*365*24*time.Hour, `"90d"`, ""); ok {
		out.KeepEvents = d
	}
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
	out.TrustAD, _ = t.boolean("trust_ad")
	items, ok, _ := t.list("smtp_control", smtpControlExample)
	if ok {
		out.SMTPControl = []string{} // an empty list is nobody, and not the default
	}
	for _, it := range items {
		name, problem, _ := parseName(it.s)
		if problem != "" {
			t.l.fail(it.at, "write the names of MX hosts, e.g. smtp_control = "+smtpControlExample, "smtp_control in [net] has %s: %s", show(it.s), problem)
			continue
		}
		out.SMTPControl = append(out.SMTPControl, name)
	}
	return out
}

const smtpControlExample = `["mx1.example.net"]`

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
	out := Watch{Interval: time.Hour, MXInterval: 6 * time.Hour, Workers: t.integer("workers", 1, 1000, 8)}
	if d, ok := t.duration("interval", time.Second, 7*24*time.Hour, `"1h"`, ""); ok {
		out.Interval = d
	}
	// 0 switches it off, and is less than any interval.
	if d, ok := t.duration("mx_interval", 0, 4*7*24*time.Hour, `"6h"`, ""); ok {
		if out.MXInterval = d; d != 0 && d < minMXInterval {
			t.fail("mx_interval", `write a duration from "10m" to "4w", or 0 to have none looked at`, "mx_interval in [watch] is shorter than %s", formatDuration(minMXInterval))
		}
	}
	return out
}

// minMXInterval is as often as somebody else's mail hosts may be bothered.
const minMXInterval = 10 * time.Minute

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
