package acme

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// jws is a signed request in flattened form (RFC 8555 §6.2, RFC 7515 §7.2.2).
type jws struct {
	Protected string `json:"protected"`
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
}

// resign puts fields into the payload of a signed request and signs it again
// under the same header: the same nonce, URL and account. autocert makes
// newOrders that know neither profiles nor renewals. The key is the account's,
// on P-256, and so the algorithm ES256.
func resign(req *http.Request, key *ecdsa.PrivateKey, fields map[string]string) error {
	if len(fields) == 0 {
		return nil
	}
	var signed jws
	if err := json.NewDecoder(req.Body).Decode(&signed); err != nil {
		return fmt.Errorf("acme: the order is not signed as expected: %w", err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil {
		return fmt.Errorf("acme: the order is not encoded as expected: %w", err)
	}
	payload := make(map[string]any)
	if err := json.Unmarshal(raw, &payload); err != nil {
		return fmt.Errorf("acme: the order is not an object as expected: %w", err)
	}
	for name, value := range fields {
		payload[name] = value
	}
	if raw, err = json.Marshal(payload); err != nil {
		return err
	}
	signed.Payload = base64.RawURLEncoding.EncodeToString(raw)
	digest := sha256.Sum256([]byte(signed.Protected + "." + signed.Payload))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return err
	}
	size := (key.Params().BitSize + 7) / 8
	signature := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...) // RFC 7518 §3.4
	signed.Signature = base64.RawURLEncoding.EncodeToString(signature)
	body, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return nil
}
