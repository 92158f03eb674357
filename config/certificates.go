package config

import (
	"slices"
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// ownNames are the names that a [[certificate]] is for.
type ownNames struct {
	at    Pos
	file  string
	names []string
}

// readCertificates reads the [[certificate]] sections of one file.
func (l *loader) readCertificates(top table) {
	for _, t := range top.subs("certificate") {
		t.only(certKeys)
		c := Certificate{CertFile: t.path("cert_file", "fullchain.pem"), KeyFile: t.path("key_file", "privkey.pem"), At: t.pos()}
		if c.CertFile == "" || c.KeyFile == "" {
			continue
		}
		if l.cfg.Listen.ProxyTLS() {
			l.warn(t.pos(), "take it out, or switch https on",
				"[[certificate]] is not used: https in [listen] is off, so the certificates are the reverse proxy's")
		} else {
			l.checkCertificate(t, c)
		}
		if worldReadable(c.KeyFile) {
			l.warn(t.posOf("key_file"), "chmod 600 "+c.KeyFile, "key_file in [[certificate]]: every user of this machine can read %s", c.KeyFile)
		}
		l.cfg.Certificates = append(l.cfg.Certificates, c)
	}
}

func (l *loader) checkCertificate(t table, c Certificate) {
	if l.opts.CheckCertificate == nil {
		return
	}
	names, err := l.opts.CheckCertificate(c.CertFile, c.KeyFile)
	if err == nil {
		l.ownNames = append(l.ownNames, ownNames{t.pos(), c.CertFile, names})
		return
	}
	what, remedy, _ := strings.Cut(err.Error(), "; ")
	if l.opts.Starting {
		l.warn(t.pos(), remedy, "[[certificate]] is left out until its files can be used, and its hosts have the CA's: %s", what)
		return
	}
	l.failFile(t.pos(), err, remedy, "in [[certificate]] %s", what)
}

// idleCertificates warns of certificates that no host of the config has.
func (l *loader) idleCertificates() {
	if l.partial || len(l.errs) > 0 {
		return // the hosts are not all known
	}
	for _, own := range l.ownNames {
		covers := func(host string) bool {
			return slices.ContainsFunc(own.names, func(name string) bool { return mtasts.MatchMX(name, host) })
		}
		if !slices.ContainsFunc(l.cfg.ACME.ExtraHosts, covers) &&
			!slices.ContainsFunc(l.cfg.Domains, func(d Domain) bool { return covers(mtasts.PolicyHost(d.Name)) }) {
			l.warn(own.at, "have one issued for mta-sts.DOMAIN, or take it out",
				"%s in [[certificate]] is for %s, and no host of this config is among them", own.file, strings.Join(own.names[:min(len(own.names), 5)], ", "))
		}
	}
}

// path reads the path of a file that must be given; "" if it was reported.
func (t table) path(key, example string) string {
	s, ok := t.str(key, `"`+example+`"`)
	if !ok {
		if !t.has(key) {
			t.l.fail(t.pos(), `write `+key+` = "`+example+`"`, "%s has no %s", t.name, key)
		}
		return ""
	}
	if s == "" {
		t.fail(key, `write `+key+` = "`+example+`"`, "%s is empty", t.in(key))
		return ""
	}
	return beside(t.file, s)
}
