package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stshost/stshost/internal/state"
)

// ErrNotRunning says that nothing listens at the admin address.
var ErrNotRunning = errors.New("no stshost server is running there")

// maxAnswer bounds what the client reads: thousands of domains fit into it.
const maxAnswer = 256 << 20

// Client speaks to a running server over its admin listener. It may be used from
// any goroutine.
type Client struct {
	addr string
	http *http.Client
}

// NewClient returns a client for an admin address as the configuration has it:
// "unix:/path" or "host:port". It does not connect yet.
func NewClient(adminAddr string) *Client {
	network, address := adminNetwork(adminAddr)
	if host, port, err := net.SplitHostPort(address); network == "tcp" && err == nil && host == "" {
		address = net.JoinHostPort("localhost", port)
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	c := &Client{addr: adminAddr}
	c.http = &http.Client{Transport: &http.Transport{
		// No Proxy: the server is on this machine.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		DisableKeepAlives: true,
	}}
	return c
}

// Domains returns the status of every domain, sorted by name.
func (c *Client) Domains(ctx context.Context) ([]DomainStatus, error) {
	var r domainList
	err := c.do(ctx, http.MethodGet, &r, "domains")
	return r.Domains, err
}

// Domain returns one domain's status; the error wraps state.ErrNotFound if the
// server does not know the domain.
func (c *Client) Domain(ctx context.Context, name string) (DomainStatus, error) {
	var r DomainStatus
	err := c.do(ctx, http.MethodGet, &r, "domains", name)
	return r, err
}

// Explain says what blocks a domain; it fails as Domain does.
func (c *Client) Explain(ctx context.Context, name string) (Explanation, error) {
	var r Explanation
	err := c.do(ctx, http.MethodGet, &r, "domains", name, "explain")
	return r, err
}

// Records returns the DNS records that a domain needs; it fails as Domain does.
func (c *Client) Records(ctx context.Context, name string) ([]DNSRecord, error) {
	var r recordList
	err := c.do(ctx, http.MethodGet, &r, "domains", name, "records")
	return r.Records, err
}

// Fetches returns what senders did at a domain's policy host; it fails as Domain
// does.
func (c *Client) Fetches(ctx context.Context, name string) (Fetches, error) {
	var r Fetches
	err := c.do(ctx, http.MethodGet, &r, "domains", name, "fetches")
	return r, err
}

// Events returns the events that q chooses, the oldest first. If there is none
// the server waits for one, for as long as wait, MaxEventWait at most.
func (c *Client) Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]Event, error) {
	var r eventList
	err := c.ask(ctx, http.MethodGet, nil, &r, "events?"+eventValues(q, wait).Encode())
	return r.Events, err
}

// Reload makes the server read its configuration again. The error wraps an
// *InvalidConfigError if the configuration has faults.
func (c *Client) Reload(ctx context.Context, o ReloadOrder) (ReloadResult, error) {
	var r ReloadResult
	err := c.ask(ctx, http.MethodPost, o, &r, "reload")
	return r, err
}

// Check has the server examine any policy domain, as senders see it. Unless
// allowPrivate it connects to addresses of the public Internet only. It may take
// a minute.
func (c *Client) Check(ctx context.Context, domain string, allowPrivate bool) (state.Report, error) {
	var r state.Report
	err := c.ask(ctx, http.MethodPost, checkQuestion{Domain: domain, AllowPrivate: allowPrivate}, &r, "check")
	return r, err
}

// Version says what is running.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	var r VersionInfo
	err := c.do(ctx, http.MethodGet, &r, "version")
	return r, err
}

// do makes a request and decodes the answer into out.
func (c *Client) do(ctx context.Context, method string, out any, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	return c.ask(ctx, method, nil, out, strings.Join(path, "/"))
}

// ask is do with path and query as they stand in a URL, and with in as the
// body; nil: none.
func (c *Client) ask(ctx context.Context, method string, in, out any, target string) error {
	var send io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+apiPrefix+"/"+target, send)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.addr, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.dialError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the server at %s broke its answer off: %w", c.addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return c.problem(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the server at %s gave an answer that is not understood; is it another version of stshost? %w", c.addr, err)
	}
	return nil
}

// dialError says what an operator can do about a server that cannot be reached.
func (c *Client) dialError(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (%s): start it with `stshost serve`, or name the configuration it runs with by --config", ErrNotRunning, c.addr)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the admin socket %s may not be opened by this user: run the command as root or as the user of the server: %w", c.addr, err)
	}
	return fmt.Errorf("ask the server at %s: %w", c.addr, err)
}

// problem is problem's way back: from a response to the error it was made of.
func (c *Client) problem(resp *http.Response, body []byte) error {
	var p huma.ErrorModel
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(body, &p) != nil {
		return fmt.Errorf("what listens at %s answered %s; is it stshost?", c.addr, resp.Status)
	}
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return &notFoundError{p.Detail}
	case resp.StatusCode == http.StatusConflict:
		return conflictError(body, p.Detail)
	case resp.StatusCode == http.StatusUnprocessableEntity && strings.HasSuffix(resp.Request.URL.Path, "/reload"):
		e := &InvalidConfigError{}
		for _, d := range p.Errors {
			if d.Location == "" { // or else it is a fault of the question
				e.Errors = append(e.Errors, d.Message)
			}
		}
		if len(e.Errors) > 0 {
			return e
		}
	}
	for _, d := range p.Errors {
		p.Detail += "; " + d.Message
	}
	return errors.New(p.Detail)
}

// notFoundError is a 404 in the server's words.
type notFoundError struct{ detail string }

func (e *notFoundError) Error() string { return e.detail }
func (e *notFoundError) Unwrap() error { return state.ErrNotFound }
