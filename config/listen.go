package config

import (
	"net"
	"net/netip"
)

func readListen(t table) Listen {
	t.only(listenKeys)
	out := Listen{HTTPS: ":443", HTTP: ":80", Admin: defaultAdmin}
	out.MaxConnections = t.integer("max_connections", 1, 10_000_000, defaultMaxConnections)
	if s, ok := t.str("https", `":443"`); ok && s == "" && t.has("proxied") {
		// A reverse proxy ends TLS. It answers port 80 too.
		out.HTTPS, out.HTTP = "", ""
	} else if ok && s == "" {
		t.fail("https", `write https = ":443", or name in proxied where a reverse proxy that ends TLS finds stshost`,
			"https in [listen] is off, and so is proxied: nobody could fetch a policy")
	} else if ok {
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
	t.readProxies(&out)
	t.oneAddressEach(out)
	return out
}

// readProxies reads what stands in front of the listeners.
func (t table) readProxies(out *Listen) {
	if s, ok := t.str("proxied", `"127.0.0.1:8460"`); ok && s != "" {
		out.Proxied = t.listenAddr("proxied", s, "127.0.0.1:8460")
	} else if ok && out.HTTPS == "" {
		t.fail("https", `write https = ":443", or name in proxied where the reverse proxy finds stshost`,
			"https and proxied in [listen] are both off: nobody could fetch a policy")
	}
	out.ProxyProtocol = t.prefixes("proxy_protocol", `["192.0.2.10", "192.0.2.64/28"]`)
	t.everybody("proxy_protocol", out.ProxyProtocol, "who connects without a balancer is refused, or says that he is whoever he likes")
	if t.has("proxy_protocol") && out.HTTPS == "" {
		t.fail("proxy_protocol", "take it out: what a reverse proxy says of its clients is believed of trusted_proxies",
			"proxy_protocol in [listen] is for https and http, and https is off")
	}
	if out.Proxied == "" {
		if t.has("trusted_proxies") {
			t.fail("trusted_proxies", `write proxied = "127.0.0.1:8460", or take trusted_proxies out`,
				"trusted_proxies in [listen] stands without proxied, which it is for")
		}
		return
	}
	out.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if t.has("trusted_proxies") {
		out.TrustedProxies = t.prefixes("trusted_proxies", `["127.0.0.1", "192.0.2.0/24"]`)
		t.everybody("trusted_proxies", out.TrustedProxies, "whoever reaches proxied may claim to have come by https")
		if len(out.TrustedProxies) == 0 {
			t.fail("trusted_proxies", "list the addresses of the proxies, or leave it out for those on this machine",
				"trusted_proxies in [listen] names nobody, so nobody could fetch a policy by way of proxied")
		}
	}
}

// prefixes reads a list of addresses and networks.
func (t table) prefixes(key, example string) []netip.Prefix {
	items, _, _ := t.list(key, example)
	var out []netip.Prefix
	for _, it := range items {
		if a, err := netip.ParseAddr(it.s); err == nil && a.Zone() == "" {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(it.s)
		if err != nil {
			t.l.fail(it.at, "write addresses and networks, e.g. "+key+" = "+example,
				"%s has %s, which is neither an address nor a network", t.in(key), show(it.s))
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// everybody warns of a list that has all addresses in it.
func (t table) everybody(key string, list []netip.Prefix, consequence string) {
	for _, p := range list {
		if p.Bits() == 0 {
			t.l.warn(t.posOf(key), "list only what stands in front of stshost", "%s has %s, which is everybody: %s", t.in(key), p, consequence)
			return
		}
	}
}

// oneAddressEach reports listeners that want the same address.
func (t table) oneAddressEach(l Listen) {
	if sameAddress(l.HTTP, l.HTTPS) {
		t.fail("http", `write another port, or http = "" to switch plain HTTP off`, "http and https in [listen] are both %s", show(l.HTTP))
	}
	if sameAddress(l.Proxied, l.HTTPS) || sameAddress(l.Proxied, l.HTTP) {
		t.fail("proxied", "write another port", "proxied in [listen] is an address that is already taken above: %s", show(l.Proxied))
	}
	if sameAddress(l.Admin, l.HTTPS) || sameAddress(l.Admin, l.HTTP) || sameAddress(l.Admin, l.Proxied) {
		t.fail("admin", `write admin = "`+defaultAdmin+`"`, "admin in [listen] is an address that is already taken above: %s", show(l.Admin))
	}
}

// sameAddress reports whether two listeners cannot both have their address:
// one without a host takes the port at every address.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	any := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return hostA == hostB || any(hostA) || any(hostB)
}
