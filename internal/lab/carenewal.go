package lab

import (
	"context"
	"crypto/x509"
	"encoding/hex"
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

// Replaced waits until the CA knows that the certificate was replaced (RFC 9773
// §5). Pebble notes that a while after it has answered with the new one, and
// tells nobody: it can only be asked again and again.
func (c *CA) Replaced(ctx context.Context, leaf *x509.Certificate) error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		order, err := c.memory.GetOrderByIssuedSerial(hex.EncodeToString(leaf.SerialNumber.Bytes()))
		if err != nil {
			return fmt.Errorf("see a certificate replaced: %w", err)
		}
		order.RLock()
		replaced := order.IsReplaced
		order.RUnlock()
		if replaced {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("see a certificate replaced: %w", ctx.Err())
		}
	}
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
