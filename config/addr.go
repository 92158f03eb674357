package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// parseName returns the canonical form of a host name, or what is wrong with
// it and what to write.
func parseName(s string) (name, problem, remedy string) {
	name, err := mtasts.ParseDomain(s)
	if err != nil {
		problem, remedy = explain(err)
		return "", problem, remedy
	}
	return name, "", ""
}

// explain takes the value out of an error of mtasts, which repeats it in
// full, and parts the fault from the advice.
func explain(err error) (problem, remedy string) {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	problem, remedy, ok := strings.Cut(err.Error(), "; ")
	if !ok {
		remedy = "write a host name such as mx1.example.com"
	}
	return problem, remedy
}

// hostPort reads "host:port", and a bare host too if def names its port.
func hostPort(s, def string) (addr, problem string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil && def != "" {
		// A bare host: a name, an IPv4 address, or an IPv6 address with or without brackets.
		host, port = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), def
		if _, ipErr := netip.ParseAddr(host); ipErr != nil && strings.Contains(host, ":") {
			return "", "it is neither host:port nor a host"
		}
	} else if err != nil {
		return "", "it is not host:port"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "its port is not a number from 1 to 65535"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(a.String(), port), ""
	}
	name, problem, _ := parseName(host)
	if problem != "" {
		return "", "its host is neither an address nor a name"
	}
	return net.JoinHostPort(name, port), ""
}

// listenAddr checks an address to listen on; def stands in for a wrong one.
func (t table) listenAddr(key, s, def string) string {
	host, port, err := net.SplitHostPort(s)
	problem := ""
	if err != nil {
		problem = "it is not host:port"
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		problem = "its port is not a number from 0 to 65535"
	} else if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		problem = "its host is not an address of this machine"
	}
	if problem == "" {
		return s
	}
	t.fail(key, `write `+key+` = "`+def+`", or put an address before the colon`, "%s is %s: %s", t.in(key), show(s), problem)
	return def
}

// adminAddr checks where the admin API listens. It has no authentication of
// its own, so only this machine may reach it.
func (t table) adminAddr(key, s string) string {
	const remedy = `write admin = "` + defaultAdmin + `" or a loopback address such as "127.0.0.1:8461"`
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			t.fail(key, remedy, "%s names no path", t.in(key))
			return defaultAdmin
		}
		path = beside(t.file, path)
		// sun_path holds 108 bytes with its end mark (unix(7)).
		if len(path) > 107 {
			t.fail(key, remedy, "%s: the path has %d bytes, and a unix socket's at most 107", t.in(key), len(path))
		}
		return "unix:" + path
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		t.fail(key, remedy, "%s is %s: it is neither unix:/path nor host:port", t.in(key), show(s))
		return defaultAdmin
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		t.fail(key, remedy, "%s is %s: its port is not a number from 0 to 65535", t.in(key), show(s))
		return defaultAdmin
	}
	if !isLoopback(host) {
		t.fail(key, remedy, "%s is %s: whoever reaches the admin API controls stshost, so it listens on this machine only", t.in(key), show(s))
		return defaultAdmin
	}
	return s
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// directory turns `directory` into the URL of an ACME directory; "" if it was
// reported.
func (t table) directory(key, s string) string {
	switch s {
	case "letsencrypt":
		return letsEncrypt
	case "letsencrypt-staging":
		return letsEncryptStaging
	case "zerossl":
		return zeroSSL
	case "google":
		return googleTrust
	}
	const remedy = `write "letsencrypt", "letsencrypt-staging" (for tries: nobody trusts its certificates), "zerossl", "google" or the CA's https:// URL`
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		hint := remedy
		if n := nearest(s, []string{"letsencrypt", "letsencrypt-staging", "zerossl", "google"}); n != "" {
			hint = `did you mean "` + n + `"?`
		}
		// Not shown: an URL may hold a password, and this may be a broken one.
		t.fail(key, hint, "%s is neither the name of a CA nor a URL", t.in(key))
	case u.User != nil:
		t.fail(key, remedy, "%s has a user or password in its URL, which ACME does not use", t.in(key))
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return s
	case u.Scheme == "http":
		// RFC 8555 §6.1: ACME is spoken over HTTPS.
		t.fail(key, "write https://", "%s is a plain http:// URL, which only a lab on this machine may use", t.in(key))
	default:
		t.fail(key, remedy, "%s is not an https:// URL", t.in(key))
	}
	return ""
}
