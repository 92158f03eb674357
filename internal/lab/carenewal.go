package lab

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// SuggestRenewal makes the CA answer questions about a certificate with this
// renewal window (RFC 9773 §4.2), and with an explanation if it is not "".
// Without it Pebble suggests two days before the last third of its life.
func (c *CA) SuggestRenewal(leaf *x509.Certificate, start, end time.Time, explanationURL string) error {
	info := map[string]any{"suggestedWindow": map[string]time.Time{"start": start.UTC(), "end": end.UTC()}}
	if explanationURL != "" {
		info["explanationURL"] = explanationURL
	}
	body, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if err := c.memory.SetARIResponse(leaf.SerialNumber, string(body)); err != nil {
		return fmt.Errorf("suggest a renewal: %w", err)
	}
	return nil
}

// OrderRequest is what a newOrder request had in it beside its hosts.
type OrderRequest struct {
	Profile  string `json:"profile"`
	Replaces string `json:"replaces"` // identifier of a certificate (RFC 9773 §5)
}

// OrderRequests are those for the host since the start, in their order.
func (c *CA) OrderRequests(host string) []OrderRequest {
	c.orders.mu.Lock()
	defer c.orders.mu.Unlock()
	return append([]OrderRequest(nil), c.orders.requests[strings.ToLower(host)]...)
}
