package config

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// InitOptions says what a starting config is for.
type InitOptions struct {
	Domain   string   // policy domain
	Provider string   // DNS provider; "" is "print"
	MX       []string // MX patterns; empty writes a placeholder to be corrected
	Email    string   // contact for the CA; "" is hostmaster@Domain

	// Options are those that Load will get: they name the known providers.
	Options Options
}

// Init returns a commented starting config. Load accepts it as soon as the
// secret files that it names exist.
func Init(o InitOptions) ([]byte, error) {
	domain, err := mtasts.ParseDomain(o.Domain)
	if err != nil {
		return nil, err
	}
	if o.Provider == "" {
		o.Provider = PrintAccount
	}
	if why := o.Options.Refused[o.Provider]; why != "" {
		return nil, fmt.Errorf("DNS provider %s is not offered: %s", show(o.Provider), why)
	}
	settings, ok := o.Options.Providers[o.Provider]
	if !ok && o.Provider != PrintAccount {
		names := []string{PrintAccount}
		for p := range o.Options.Providers {
			names = append(names, p)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("DNS provider %s is unknown; %s", show(o.Provider), didYouMean(o.Provider, slices.Compact(names), "known are"))
	}
	if o.Email == "" {
		o.Email = "hostmaster@" + domain
	} else if a, err := mail.ParseAddress(o.Email); err != nil || a.Address != o.Email {
		return nil, fmt.Errorf("%s is no mail address; write a bare one such as hostmaster@%s", show(o.Email), domain)
	}
	mx := make([]string, 0, len(o.MX))
	for _, s := range o.MX {
		p, err := mtasts.ParsePattern(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(mx, p) {
			mx = append(mx, p)
		}
	}
	mxNote := "# Every MX host of the domain, as `dig MX " + domain + "` shows them. Senders refuse the others once\n" +
		"# the policy is enforced, so keep the list complete."
	if len(mx) == 0 {
		mx = []string{"mx1." + domain}
		mxNote = "# CORRECT THIS LINE: name every MX host of the domain, as `dig MX " + domain + "` shows them.\n" +
			"# Senders refuse the others once the policy is enforced."
	}

	var b strings.Builder
	fmt.Fprintf(&b, initHead, quote(o.Email))
	b.WriteString(initAccount(o.Provider, settings, domain))
	fmt.Fprintf(&b, initDomain, quote(domain), mxNote, quoteList(mx), domain)
	return []byte(b.String()), nil
}

const initHead = `# stshost: https://github.com/stshost/stshost
# config.example.toml shows every setting. After a change:
#   stshost config check --config FILE    finds every mistake
#   stshost reload --config FILE          takes it over, without a restart

[listen]
https = ":443"                          # policies; senders use no other port
http  = ":80"                           # ACME http-01 and redirects; "" switches it off
admin = "unix:/run/stshost/admin.sock"  # for the stshost command; this machine only

[store]
url = "sqlite:/var/lib/stshost/stshost.db"

[acme]
directory = "letsencrypt"               # or "letsencrypt-staging" for tries, or a CA's URL
email = %s
# You accept the CA's terms of service: https://letsencrypt.org/repository/
accept_terms = true

`

const initDomain = `
[[domain]]
name = %s
%s
mx = %s
dns = "main"
# The policy starts in testing, which delays no mail, or as the one that the domain
# has already. To have it taken to enforce, stage by stage:
#   stshost rollout %s
`

// initAccount writes [dns.main] with what the provider needs.
func initAccount(provider string, settings []Setting, domain string) string {
	var b strings.Builder
	if provider == PrintAccount {
		b.WriteString("# Who changes DNS: with \"print\" you do. `stshost records` shows the records to enter,\n" +
			"# and stshost goes on when it sees them.\n" +
			"[dns.main]\nprovider = \"print\"\n")
		return b.String()
	}
	fmt.Fprintf(&b, "# Access to the DNS provider. stshost changes only TXT records at _mta-sts.DOMAIN,\n"+
		"# so give it no more rights than that, where the provider can tell.\n"+
		"[dns.main]\nprovider = %s\n", quote(provider))
	for _, s := range settings {
		line := s.Key + " = " + quote(sample(s.Key, domain))
		note := s.Doc
		if s.Secret {
			// Relative to the config, so that both move together.
			line = s.Key + "_file = " + quote(provider+"."+s.Key)
			note = strings.TrimPrefix(note+"; in a file of its own beside this one (chmod 600)", "; ")
		}
		if note != "" {
			fmt.Fprintf(&b, "# %s\n", strings.Join(strings.Fields(note), " "))
		}
		if !s.Required {
			line = "# " + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// sample is a value to begin with for a setting that is not secret.
func sample(key, domain string) string {
	switch {
	case strings.Contains(key, "alg"):
		return "hmac-sha256"
	case strings.Contains(key, "url"):
		return "http://127.0.0.1:8081"
	case key == "server_id":
		return "localhost"
	case strings.Contains(key, "server"):
		return "ns1." + domain + ":53"
	case strings.Contains(key, "key"):
		return "stshost"
	}
	return "CORRECT-THIS"
}

// quote writes s as a TOML string. Only names, addresses and paths come here.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func quoteList(ss []string) string {
	quoted := make([]string, len(ss))
	for i, s := range ss {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
