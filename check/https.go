package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/mtasts"
)

// UserAgent names us in the logs of whoever hosts the policy; our own server
// tells our looks from those of senders by it.
const UserAgent = "stshost (MTA-STS policy check)"

// otherAgents are what senders call themselves beside us: filters in front of
// web servers turn some of them away.
func otherAgents() []string {
	return []string{"", "Go-http-client/1.1", "python-requests/2.31.0", "Mozilla/5.0 (compatible; mail transfer agent)"}
}

// dialed is an open TLS connection, or why there is none.
type dialed struct {
	conn *tls.Conn
	look *TLSLook // nil: not even connected
	err  error    // of the connection
}

// connect opens a TLS connection to address for host; protos are offered by
// ALPN.
func (p *Prober) connect(ctx context.Context, host, address string, protos ...string) dialed {
	conn, err := p.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		return dialed{err: shorten(err)}
	}
	client, look := p.handshake(ctx, conn, host, host, protos...)
	if client == nil {
		conn.Close()
	}
	return dialed{conn: client, look: look}
}

// lookHTTPS fetches the policy of domain over one address, and, if others is
// set, again as other senders would. A certificate that senders refuse stops
// nothing: the look has it, and whoever judges it knows.
func (p *Prober) lookHTTPS(ctx context.Context, domain string, l *HTTPSLook, others bool) {
	host := mtasts.PolicyHost(domain)
	d := p.connect(ctx, host, l.Address, "h2", "http/1.1")
	l.Err, l.TLS = d.err, d.look
	if d.conn == nil {
		return
	}
	l.Main = p.get(ctx, mtasts.PolicyURL(domain), UserAgent, d.conn)
	if !others {
		return
	}
	for _, agent := range slices.Insert(otherAgents(), 0, UserAgent) {
		if ctx.Err() != nil {
			return
		}
		l.Others = append(l.Others, *p.fetchAs(ctx, domain, agent, l.Address, "http/1.1"))
	}
	if best := l.best(); best != nil && l.anyRefused() && ctx.Err() == nil {
		protos := []string{"http/1.1"}
		if best == l.Main {
			protos = []string{"h2", "http/1.1"}
		}
		l.Again = p.fetchAs(ctx, domain, best.Agent, l.Address, protos...)
	}
}

// anyRefused reports whether a fetch got no policy, time aside.
func (l *HTTPSLook) anyRefused() bool {
	refused := func(f HTTPFetch) bool {
		_, err := f.policy()
		return err != nil && !resolver.IsTimeout(err)
	}
	return refused(*l.Main) || slices.ContainsFunc(l.Others, refused)
}

// fetchAs fetches the policy of domain from address as a client of that name.
func (p *Prober) fetchAs(ctx context.Context, domain, agent, address string, protos ...string) *HTTPFetch {
	d := p.connect(ctx, mtasts.PolicyHost(domain), address, protos...)
	switch {
	case d.conn != nil:
		return p.get(ctx, mtasts.PolicyURL(domain), agent, d.conn)
	case d.err != nil:
		return &HTTPFetch{Agent: agent, Proto: "HTTP/1.1", Err: d.err}
	}
	return &HTTPFetch{Agent: agent, Proto: "HTTP/1.1", Err: d.look.Err}
}

// get sends one GET for target over conn, a *tls.Conn or one without TLS, and
// closes it. No redirect is followed (RFC 8461 §3.3), no proxy used.
func (p *Prober) get(ctx context.Context, target, agent string, conn net.Conn) *HTTPFetch {
	fetch := &HTTPFetch{Agent: agent, Proto: "HTTP/1.1"}
	if c, ok := conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
		fetch.Proto = "HTTP/2.0"
	}
	held := make(chan net.Conn, 1) // the transport dials in a goroutine of its own
	held <- conn
	dial := func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-held:
			return c, nil
		default: // a second one would have another certificate, perhaps
			return nil, errors.New("closed the connection without an answer")
		}
	}
	defer func() {
		if c, err := dial(ctx, "", ""); err == nil {
			c.Close()
		}
	}()
	transport := &http.Transport{
		DialContext:            dial,
		DialTLSContext:         dial,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		DisableCompression:     true, // senders ask for none
		MaxResponseHeaderBytes: 32 << 10,
	}
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		fetch.Err = err
		return fetch
	}
	req.Header.Set("User-Agent", agent) // "" leaves it out
	resp, err := client.Do(req)
	if err != nil {
		fetch.Err = shorten(err)
		fetch.Took = time.Since(start)
		return fetch
	}
	defer resp.Body.Close()
	fetch.Proto, fetch.Status = resp.Proto, resp.StatusCode
	fetch.Location, fetch.ContentType = resp.Header.Get("Location"), resp.Header.Get("Content-Type")
	body, err := io.ReadAll(io.LimitReader(resp.Body, mtasts.MaxBodySize+1))
	fetch.Took = time.Since(start)
	if err != nil {
		fetch.BodyErr = shorten(err)
	}
	if len(body) > mtasts.MaxBodySize {
		body, fetch.TooLarge = body[:mtasts.MaxBodySize], true
	}
	fetch.Body = body
	return fetch
}

// shorten drops what net/http and net put before every error: URL, operation
// and addresses. The message around it names the address, and a local port
// would make every failure look like a new one.
func shorten(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = cmp.Or(u.Err, err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = cmp.Or(op.Err, err)
	}
	return err
}
