// Package lab is a whole Internet on loopback, for `stshost demo` and for
// tests: authoritative DNS that takes RFC 2136 updates, an ACME CA that
// validates for real, mail hosts with STARTTLS, and an MTA-STS reader that is
// not ours. It needs no privilege and reaches nothing beyond this machine.
// It knows nothing of stshost: whoever uses it passes addresses and file names
// into a configuration.
package lab

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Config configures a lab. The zero value is usable.
type Config struct {
	// Domains get a zone each; see AddDomain.
	Domains []string
	// MXHosts are the mail hosts; nil: mx1.mail.test and mx2.mail.test.
	MXHosts []string
	// Dir is where the files with roots are written; it must exist. Empty: a
	// temporary directory that Close removes.
	Dir string
	// CertLifetime is that of ACME certificates; 0: 90 days.
	CertLifetime time.Duration
	// PollInterval makes issuance fast; see CAConfig. 0: as a real CA.
	PollInterval time.Duration
	// OnUpdate is told about each accepted DNS update; see DNSConfig.
	OnUpdate func(Update)
	// Log takes what the servers log, Pebble above all; nil: nothing is logged.
	Log io.Writer
}

// Lab is a running lab. A server under test is configured with HTTPSAddr and
// HTTPAddr to listen on; CA.DirectoryURL and ACMERootsFile for ACME; DNS.Addr
// as resolver and as RFC 2136 server with DNS.Key, DNSPort for authoritative
// servers; RootsFile, HTTPSPort, HTTPPort and SMTPPort to look at the world.
type Lab struct {
	DNS    *DNS
	CA     *CA
	MX     []*MX
	Mail   *Root // signs the certificates of the mail hosts and of the ACME directory
	Reader *Reader

	// HTTPSAddr and HTTPAddr are host:port on 127.0.0.1, free when the lab
	// started. The server under test has to listen there: the CA and the
	// reader connect to these ports.
	HTTPSAddr, HTTPAddr string
	// The ports of HTTPSAddr, HTTPAddr, the mail hosts and the DNS.
	HTTPSPort, HTTPPort, SMTPPort, DNSPort int

	// ACMERootsFile has the root of the ACME directory, RootsFile those that
	// policy hosts and mail hosts chain to. Both are PEM.
	ACMERootsFile, RootsFile string

	mxHosts []string
	tempDir string
	others  []*CA // see AddCA
}

// Start starts a lab. It runs until Close, also when ctx ends after the start.
func Start(ctx context.Context, cfg Config) (l *Lab, err error) {
	if cfg.MXHosts == nil {
		cfg.MXHosts = []string{"mx1.mail.test", "mx2.mail.test"}
	}
	l = &Lab{mxHosts: cfg.MXHosts}
	defer func() {
		if err != nil {
			l.Close()
			l = nil
		}
	}()
	if l.Mail, err = NewRoot("Lab Mail Root"); err != nil {
		return l, err
	}
	if l.DNS, err = StartDNS(DNSConfig{OnUpdate: cfg.OnUpdate}); err != nil {
		return l, err
	}
	l.DNSPort = l.DNS.Port()
	if l.HTTPSPort, err = FreePort("127.0.0.1"); err != nil {
		return l, err
	}
	for l.HTTPPort == 0 || l.HTTPPort == l.HTTPSPort {
		if l.HTTPPort, err = FreePort("127.0.0.1"); err != nil {
			return l, err
		}
	}
	l.HTTPSAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.HTTPSPort))
	l.HTTPAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.HTTPPort))
	l.CA, err = StartCA(CAConfig{
		DNS:          l.DNS,
		HTTPPort:     l.HTTPPort,
		TLSPort:      l.HTTPSPort,
		Lifetime:     cfg.CertLifetime,
		PollInterval: cfg.PollInterval,
		Root:         l.Mail,
		Log:          cfg.Log,
	})
	if err != nil {
		return l, err
	}
	for _, domain := range cfg.Domains {
		if err = l.AddDomain(domain); err != nil {
			return l, err
		}
	}
	if err = l.startMail(cfg.Log); err != nil {
		return l, err
	}
	if err = l.writeRoots(cfg.Dir); err != nil {
		return l, err
	}
	l.Reader = &Reader{DNS: l.DNS.Addr(), HTTPSPort: l.HTTPSPort, Roots: l.Roots()}
	return l, ctx.Err()
}

// AddDomain adds the zone of a policy domain: its MX records name the lab's
// mail hosts, and mta-sts.<domain> has the address 127.0.0.1. It does not
// touch _mta-sts.<domain>.
func (l *Lab) AddDomain(domain string) error {
	domain = dns.CanonicalName(domain)
	if err := l.DNS.AddZone(domain); err != nil {
		return err
	}
	var mx []string
	for i, host := range l.mxHosts {
		mx = append(mx, fmt.Sprintf("%d %s", (i+1)*10, dns.Fqdn(host)))
	}
	if err := l.DNS.Set(domain, "MX", mx...); err != nil {
		return err
	}
	return l.DNS.Set("mta-sts."+domain, "A", "127.0.0.1")
}

// startMail starts the mail hosts: each on an address of its own from
// 127.0.0.2 on, all on one port. Where the machine has only 127.0.0.1, one
// server plays all of them.
func (l *Lab) startMail(logs io.Writer) error {
	if len(l.mxHosts) == 0 {
		return nil
	}
	var ips []string
	var groups [][]string // the host names at each address
	for i, host := range l.mxHosts {
		ip := fmt.Sprintf("127.0.0.%d", i+2)
		if !haveIP(ip) {
			ips, groups = []string{"127.0.0.1"}, [][]string{l.mxHosts}
			break
		}
		ips, groups = append(ips, ip), append(groups, []string{host})
	}
	for i, group := range groups {
		for _, host := range group {
			if err := l.addHost(host, ips[i]); err != nil {
				return err
			}
		}
	}
	lns, port, err := listenAll(ips)
	if err != nil {
		return err
	}
	l.SMTPPort = port
	for i, ln := range lns {
		cert, err := l.Mail.Issue(time.Time{}, groups[i]...)
		if err != nil {
			for _, ln := range lns[i:] {
				ln.Close()
			}
			return err
		}
		l.MX = append(l.MX, serveMX(MXConfig{Hosts: groups[i], Certificate: &cert, Log: logs}, ln))
	}
	return nil
}

// addHost gives a host its address, in a new zone if it is in none.
func (l *Lab) addHost(host, ip string) error {
	known := slices.ContainsFunc(l.DNS.Zones(), func(zone string) bool {
		return dns.IsSubDomain(zone, dns.CanonicalName(host))
	})
	if !known {
		_, parent, _ := strings.Cut(host, ".")
		if err := l.DNS.AddZone(parent); err != nil {
			return err
		}
	}
	return l.DNS.Set(host, "A", ip)
}

// RootsPEM are the roots that the lab's policy hosts and mail hosts chain to.
func (l *Lab) RootsPEM() []byte {
	roots := append([]byte{}, l.CA.IssuerRootsPEM()...)
	for _, ca := range l.others {
		roots = append(roots, ca.IssuerRootsPEM()...)
	}
	return append(roots, l.Mail.PEM()...)
}

// AddCA starts another CA. What cfg leaves open is as with the lab's own; its
// certificates are trusted by RootsFile and Reader from now on, and its
// directory by ACMERootsFile. The lab closes it.
func (l *Lab) AddCA(cfg CAConfig) (*CA, error) {
	cfg.DNS, cfg.HTTPPort, cfg.TLSPort, cfg.Root = l.DNS, l.HTTPPort, l.HTTPSPort, l.Mail
	if cfg.PollInterval == 0 {
		cfg.PollInterval = l.CA.cfg.PollInterval
	}
	ca, err := StartCA(cfg)
	if err != nil {
		return nil, err
	}
	l.others = append(l.others, ca)
	l.Reader.Roots = l.Roots()
	if err := os.WriteFile(l.RootsFile, l.RootsPEM(), 0o644); err != nil {
		return nil, fmt.Errorf("write the roots: %w", err)
	}
	return ca, nil
}

// Roots is RootsPEM as a pool.
func (l *Lab) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.RootsPEM())
	return pool
}

func (l *Lab) writeRoots(dir string) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "lab"); err != nil {
			return fmt.Errorf("make a directory for the roots: %w", err)
		}
		l.tempDir = dir
	}
	l.ACMERootsFile = filepath.Join(dir, "acme-roots.pem")
	l.RootsFile = filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(l.ACMERootsFile, l.CA.DirectoryRootsPEM(), 0o644); err != nil {
		return fmt.Errorf("write the roots: %w", err)
	}
	if err := os.WriteFile(l.RootsFile, l.RootsPEM(), 0o644); err != nil {
		return fmt.Errorf("write the roots: %w", err)
	}
	return nil
}

// Close ends everything.
func (l *Lab) Close() error {
	var errs []error
	if l.CA != nil {
		errs = append(errs, l.CA.Close())
	}
	for _, ca := range l.others {
		errs = append(errs, ca.Close())
	}
	for _, mx := range l.MX {
		errs = append(errs, mx.Close())
	}
	if l.DNS != nil {
		errs = append(errs, l.DNS.Close())
	}
	if l.tempDir != "" {
		errs = append(errs, os.RemoveAll(l.tempDir))
	}
	return errors.Join(errs...)
}
