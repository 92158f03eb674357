package notify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// Check says what cannot be right about a target's URL, as "what; what to
// write instead", without showing its secrets and without asking anyone.
func Check(rawURL string) error {
	_, err := open(rawURL)
	return err
}

// Send delivers a message to the service that rawURL names. It returns when
// ctx ends, though the services of shoutrrr know no contexts: what is under
// way then goes on, and may yet arrive. ended is called when nothing goes on
// any more. Errors show no secret of the URL.
func Send(ctx context.Context, rawURL string, m Message, ended func()) error {
	svc, err := open(rawURL)
	if err != nil {
		ended()
		return err
	}
	params := types.Params{}
	if titled(rawURL) {
		params.SetTitle(header(m.Title))
	}
	if service(rawURL) == "smtp" && !queryHas(rawURL, "clienthost") {
		params["clienthost"] = "auto" // the machine's name, where shoutrrr would greet as localhost
	}
	done := make(chan error, 1)
	go func() {
		defer ended()
		done <- guarded(func() error { return svc.Send(short(m.Text), &params) })
	}()
	select {
	case err := <-done:
		if err != nil {
			return errors.New(redact(err.Error(), rawURL))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s took the message and gave no answer in time; look whether it is in order", service(rawURL))
	}
}

// open finds the service of a URL.
func open(rawURL string) (svc types.Service, err error) {
	scheme := service(rawURL)
	var routes router.ServiceRouter
	known := slices.Sorted(slices.Values(routes.ListServices()))
	known = slices.DeleteFunc(known, func(s string) bool { return s == "logger" })
	if !slices.Contains(known, scheme) {
		return nil, fmt.Errorf("the URL is for no service that is known; it begins with one of %s, e.g. generic+https://HOST/PATH", strings.Join(known, ", "))
	}
	err = guarded(func() error {
		svc, err = routes.Locate(rawURL)
		return err
	})
	if err != nil {
		if fault := fault(rawURL); fault != nil {
			return nil, fault
		}
		return nil, fmt.Errorf("the URL is not one of %s (%s); see https://shoutrrr.nickfedor.com for how it is written",
			scheme, strings.ReplaceAll(redact(err.Error(), rawURL), "; ", ", "))
	}
	return svc, nil
}

// guarded turns a panic of a service into an error: there are some for URLs
// that cannot be converted.
func guarded(f func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the service cannot make anything of it")
		}
	}()
	return f()
}

// service is the part of the URL that names the service.
func service(rawURL string) string {
	scheme, _, ok := strings.Cut(rawURL, ":")
	if !ok {
		return ""
	}
	scheme, _, _ = strings.Cut(scheme, "+")
	return strings.ToLower(scheme)
}

// titled reports whether a service takes a title; the others refuse it.
func titled(rawURL string) bool {
	switch service(rawURL) {
	case "pagerduty", "signal", "wecom":
		return false
	}
	return true
}

// header is a title that can stand in a mail header as it is (RFC 5322 §2.2):
// the service does not encode it.
func header(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// short breaks lines that no mail may have (RFC 5321 §4.5.3.1.6: 1,000
// octets), and keeps a message to what chat services take.
func short(text string) string {
	const longest, all = 900, 8000
	var b strings.Builder
	for line := range strings.Lines(text) {
		for len(line) > longest {
			at := strings.LastIndexByte(line[:longest], ' ') + 1
			if at == 0 {
				for at = longest; !utf8.RuneStart(line[at]); at-- {
				}
			}
			b.WriteString(line[:at] + "\n")
			line = line[at:]
		}
		if b.Len()+len(line) > all {
			b.WriteString("…\n")
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// redact takes everything out of a text that may be a secret of the URL: its
// user, password, path, query, and the host where that is a token. What is
// left of errors is what went wrong.
func redact(text, rawURL string) string {
	const hidden = "[hidden]"
	secrets := []string{rawURL}
	_, rest, _ := strings.Cut(rawURL, "://")
	secrets = append(secrets, rest)
	if u, err := url.Parse(rawURL); err == nil {
		if u.User != nil {
			password, _ := u.User.Password()
			secrets = append(secrets, u.User.String(), password)
			if service(rawURL) != "smtp" || len(u.User.Username()) > 20 {
				secrets = append(secrets, u.User.Username())
			}
		}
		if !strings.ContainsAny(u.Host, ".:") && u.Host != "localhost" {
			secrets = append(secrets, u.Host)
		}
		secrets = append(secrets, u.Path, u.EscapedPath(), u.Fragment, u.RawQuery)
		secrets = append(secrets, strings.Split(u.Path, "/")...)
		if service(rawURL) != "smtp" { // where they are addresses
			for key, values := range u.Query() {
				if strings.HasPrefix(key, "@") || strings.HasPrefix(key, "$") || !harmless(key) {
					secrets = append(secrets, values...)
				}
			}
			secrets = append(secrets, u.Query().Encode())
		}
	} else {
		// Nobody can say which part is what.
		secrets = append(secrets, strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("/:@?&=#", r) })...)
	}
	for _, s := range slices.Clone(secrets) {
		secrets = append(secrets, url.QueryEscape(s), url.PathEscape(s))
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < 3 })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // the longest first
	for _, s := range slices.Compact(secrets) {
		if len(s) >= 8 {
			text = strings.ReplaceAll(text, s, hidden)
			continue
		}
		// A short one may be a part of any word.
		text = wholeWord(s).ReplaceAllLiteralString(text, hidden)
	}
	return oneLine(text)
}

// wholeWord matches s where it is no part of a longer word.
func wholeWord(s string) *regexp.Regexp {
	inWord := regexp.MustCompile(`^\w$`)
	pattern := regexp.QuoteMeta(s)
	if inWord.MatchString(s[:1]) {
		pattern = `\b` + pattern
	}
	if inWord.MatchString(s[len(s)-1:]) {
		pattern += `\b`
	}
	return regexp.MustCompile(pattern)
}

// harmless are parameters of a webhook that say how it is called.
func harmless(key string) bool {
	switch strings.ToLower(key) {
	case "template", "disabletls", "contenttype", "method", "titlekey", "messagekey", "title":
		return true
	}
	return false
}
