package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	mtasts "github.com/foxcpp/go-mtasts"
)

// maxPolicy is the largest policy that is read, in bytes (RFC 8461 §3.3).
const maxPolicy = 64 << 10

// Reader reads MTA-STS policies as a sender does (RFC 8461 §3), by code that
// shares nothing with ours: github.com/foxcpp/go-mtasts decides about the
// record and the flow. Its own download cannot be pointed to another port and
// root, so that part is here.
type Reader struct {
	// DNS is the host:port of the name server.
	DNS string
	// HTTPSPort is where policy hosts are connected to; 0: 443.
	HTTPSPort int
	// Roots that a policy host's certificate has to chain to; nil: the system's.
	Roots *x509.CertPool
}

// Fetch looks up the record of a policy domain and fetches the policy that it
// announces. It has no cache. The error says which step failed.
func (r *Reader) Fetch(ctx context.Context, domain string) (id, policy string, err error) {
	seen := &seenStore{}
	_, body, err := r.get(ctx, domain, seen)
	return seen.id, string(body), err
}

// get has go-mtasts find the policy of a domain with a store of its policies.
// There is no body where that had it.
func (r *Reader) get(ctx context.Context, domain string, store mtasts.Store) (policy *mtasts.Policy, body []byte, err error) {
	resolver := newResolver(r.DNS)
	var why error
	cache := mtasts.Cache{
		Store:    store,
		Resolver: lookup{resolver, &why},
		DownloadPolicy: func(domain string) (*mtasts.Policy, error) {
			var p *mtasts.Policy
			body, why = r.download(ctx, resolver, "mta-sts."+domain)
			if why == nil {
				p, why = parsePolicy(body)
			}
			return p, why
		},
	}
	if policy, err = cache.Get(ctx, domain); err != nil {
		// go-mtasts hides the reason behind ErrNoPolicy.
		if why != nil {
			err = why
		} else if mtasts.IsNoPolicy(err) {
			err = errors.New("the record _mta-sts." + domain + " is not valid")
		}
		return nil, nil, fmt.Errorf("read the MTA-STS policy of %s: %w", domain, err)
	}
	return policy, body, nil
}

// newResolver asks one name server, at host:port.
func newResolver(addr string) *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
}

// lookup keeps the reason why a look-up gave no record.
type lookup struct {
	resolver *net.Resolver
	why      *error
}

func (l lookup) LookupTXT(ctx context.Context, name string) ([]string, error) {
	// A final dot keeps the search list of the machine out of it.
	txts, err := l.resolver.LookupTXT(ctx, strings.TrimSuffix(name, ".")+".")
	switch {
	case err != nil:
		*l.why = err
	case len(txts) != 1:
		*l.why = fmt.Errorf("%s has %d TXT records, want one", name, len(txts))
	}
	return txts, err
}

// seenStore holds no policy, and keeps the id that one was to be stored under.
type seenStore struct{ id string }

func (s *seenStore) List() ([]string, error) { return nil, nil }

func (s *seenStore) Load(string) (string, time.Time, *mtasts.Policy, error) {
	return "", time.Time{}, nil, mtasts.ErrNoPolicy
}

func (s *seenStore) Store(_ string, id string, _ time.Time, _ *mtasts.Policy) error {
	s.id = id
	return nil
}

// download fetches the policy of a policy host by the rules of RFC 8461 §3.3.
func (r *Reader) download(ctx context.Context, resolver *net.Resolver, host string) ([]byte, error) {
	port := "443"
	if r.HTTPSPort != 0 {
		port = strconv.Itoa(r.HTTPSPort)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			addrs, err := resolver.LookupHost(ctx, host+".")
			if err != nil {
				return nil, err
			}
			var errs []error
			for _, addr := range addrs {
				conn, err := new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(addr, port))
				if err == nil {
					return conn, nil
				}
				errs = append(errs, err)
			}
			return nil, errors.Join(errs...)
		},
		TLSClientConfig:   &tls.Config{RootCAs: r.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	client := &http.Client{
		Transport: transport,
		Timeout:   time.Minute, // RFC 8461 §3.3
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("redirects must not be followed (RFC 8461 §3.3)")
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered HTTP %s", req.URL, resp.Status)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "text/plain" {
		return nil, fmt.Errorf("%s has Content-Type %q, want text/plain", req.URL, resp.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err == nil && len(body) > maxPolicy {
		err = fmt.Errorf("%s is longer than %d bytes", req.URL, maxPolicy)
	}
	return body, err
}

// parsePolicy reads a policy strictly, for what go-mtasts wants to know.
func parsePolicy(body []byte) (*mtasts.Policy, error) {
	p := new(mtasts.Policy)
	version := ""
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("policy line %q has no colon", lines.Text())
		}
		value = strings.TrimSpace(value)
		switch key {
		case "version":
			version = value
		case "mode":
			p.Mode = mtasts.Mode(value)
		case "mx":
			p.MX = append(p.MX, value)
		case "max_age":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 31557600 {
				return nil, fmt.Errorf("policy has max_age %q", value)
			}
			p.MaxAge = n
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case version != "STSv1":
		return nil, fmt.Errorf("policy has version %q", version)
	case p.Mode != mtasts.ModeEnforce && p.Mode != mtasts.ModeTesting && p.Mode != mtasts.ModeNone:
		return nil, fmt.Errorf("policy has mode %q", p.Mode)
	case len(p.MX) == 0 && p.Mode != mtasts.ModeNone:
		return nil, fmt.Errorf("policy of mode %s has no mx", p.Mode)
	}
	return p, nil
}
