package acme_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
)

const (
	caURL   = "https://ca.test"
	problem = "urn:ietf:params:acme:error:"
)

// fakeCA is a CA without a network, so that it can live under a fake clock. It
// checks nonces, not signatures; Pebble does in other tests.
type fakeCA struct {
	url      string
	certs    *acme.Certificates // where challenges are answered
	lifetime time.Duration
	meta     map[string]any // of the directory
	// renewalInfo answers questions about the certificate with this identifier
	// (RFC 9773 §4.1); nil: the CA does not offer it.
	renewalInfo func(id string) *http.Response
	questions   []time.Time // when it was asked

	mu         sync.Mutex
	key        *ecdsa.PrivateKey
	root       *x509.Certificate
	nonces     map[string]bool
	hosts      []string            // by order number
	status     []string            // of the authorizations
	tried      []string            // challenge types
	detail     []string            // why an authorization is invalid
	issued     [][]byte            // certificates, PEM
	newOrders  map[string]int      // by host
	payloads   []string            // of the newOrder requests
	accounts   int                 // newAccount requests
	contacts   []string            // what accounts were made or updated with
	requests   int                 // of any kind
	open, peak int                 // orders
	invalid    map[string][]string // host → challenge types that do not validate
	reply      func(kind, host string) *http.Response
	hold       chan struct{} // if not nil, newOrder waits for it after it was counted
	ordered    chan string   // if not nil, gets the host of each newOrder
	down       bool
}

func newFakeCA(t *testing.T, certs *acme.Certificates) *fakeCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake"}, IsCA: true,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(20, 0, 0), BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeCA{
		url: caURL, certs: certs, lifetime: 90 * 24 * time.Hour, key: key, root: root,
		meta:   map[string]any{"termsOfService": caURL + "/terms"},
		nonces: map[string]bool{}, newOrders: map[string]int{}, invalid: map[string][]string{},
	}
}

func (ca *fakeCA) orders(host string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.newOrders[host]
}

func (ca *fakeCA) total() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.hosts)
}

// set changes the CA's behaviour.
func (ca *fakeCA) set(f func()) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	f()
}

// refuse makes an answer with a problem document.
func refuse(status int, kind, detail string, retryAfter time.Duration) *http.Response {
	body, _ := json.Marshal(map[string]any{"type": problem + kind, "detail": detail, "status": status})
	res := answer(status, body)
	if retryAfter > 0 {
		res.Header.Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	return res
}

func answer(status int, body []byte) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// RoundTrip implements http.RoundTripper.
func (ca *fakeCA) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	ca.mu.Lock()
	ca.requests++
	down := ca.down
	source := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 40000 + ca.requests}
	ca.mu.Unlock()
	if down {
		return nil, &net.OpError{
			Op: "read", Net: "tcp", Source: source, Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 443}, Err: syscall.ECONNRESET,
		}
	}
	path := strings.TrimPrefix(req.URL.String(), ca.url)
	nonce, payload := readJWS(req)
	res := ca.serve(req.Context(), req.Method, path, nonce, payload)
	if res == nil {
		return nil, req.Context().Err()
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	fresh := fmt.Sprintf("nonce%d", ca.requests*1000+len(ca.nonces))
	ca.nonces[fresh] = true
	res.Header.Set("Replay-Nonce", fresh)
	res.Request = req
	return res, nil
}

// lastOrder is the newOrder request that came last for a host; "": none came.
func (ca *fakeCA) lastOrder(host string) string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, payload := range slices.Backward(ca.payloads) {
		if strings.Contains(payload, `"`+host+`"`) {
			return payload
		}
	}
	return ""
}

func (ca *fakeCA) serve(ctx context.Context, method, path, nonce string, payload []byte) *http.Response {
	kind, number, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	n, _ := strconv.Atoi(strings.SplitN(number, "/", 2)[0])
	if method == http.MethodPost {
		ca.mu.Lock()
		good := ca.nonces[nonce]
		delete(ca.nonces, nonce)
		ca.mu.Unlock()
		if !good {
			return refuse(400, "badNonce", "unknown nonce", 0)
		}
	}
	host := ca.hostOf(kind, n, payload)
	ca.mu.Lock()
	reply := ca.reply
	if kind == "order" {
		ca.payloads = append(ca.payloads, string(payload))
	}
	ca.mu.Unlock()
	if reply != nil {
		if res := reply(kind, host); res != nil {
			return res
		}
	}
	switch kind {
	case "directory":
		renewalInfo := ""
		if ca.renewalInfo != nil {
			renewalInfo = ca.url + "/renewal-info"
		}
		return object(200, map[string]any{
			"newNonce": ca.url + "/nonce", "newAccount": ca.url + "/account", "newOrder": ca.url + "/order",
			"meta": ca.meta, "renewalInfo": renewalInfo,
		})
	case "renewal-info":
		ca.mu.Lock()
		ca.questions = append(ca.questions, time.Now())
		answer := ca.renewalInfo
		ca.mu.Unlock()
		return answer(number)
	case "nonce":
		return answer(200, nil)
	case "account":
		ca.set(func() {
			if number == "" {
				ca.accounts++
			}
			ca.contacts = append(ca.contacts, string(payload))
		})
		res := object(201, map[string]any{"status": "valid"})
		if number != "" {
			res.StatusCode = http.StatusOK
		}
		res.Header.Set("Location", ca.url+"/account/1")
		return res
	case "order":
		return ca.newOrder(ctx, host)
	case "authz", "challenge":
		if kind == "challenge" && len(payload) > 0 {
			ca.validate(n, number, host)
		}
		return ca.authorization(n, kind == "challenge")
	case "finalize":
		return ca.finalize(n, payload)
	case "orders":
		return object(200, ca.order(n))
	case "cert":
		ca.mu.Lock()
		defer ca.mu.Unlock()
		return answer(200, ca.issued[n])
	}
	return refuse(404, "malformed", "no such thing: "+path, 0)
}

func (ca *fakeCA) newOrder(ctx context.Context, host string) *http.Response {
	ca.mu.Lock()
	n := len(ca.hosts)
	ca.hosts = append(ca.hosts, host)
	ca.status, ca.tried = append(ca.status, "pending"), append(ca.tried, "")
	ca.detail, ca.issued = append(ca.detail, ""), append(ca.issued, nil)
	ca.newOrders[host]++
	ca.open++
	ca.peak = max(ca.peak, ca.open)
	hold, ordered := ca.hold, ca.ordered
	ca.mu.Unlock()
	if ordered != nil {
		ordered <- host
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil
		}
	}
	res := object(201, ca.order(n))
	res.Header.Set("Location", fmt.Sprintf("%s/orders/%d", ca.url, n))
	return res
}

func (ca *fakeCA) order(n int) map[string]any {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	status := map[string]string{"pending": "pending", "valid": "ready", "invalid": "invalid"}[ca.status[n]]
	if ca.issued[n] != nil {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifiers": []any{map[string]string{"type": "dns", "value": ca.hosts[n]}},
		"authorizations": []string{fmt.Sprintf("%s/authz/%d", ca.url, n)},
		"finalize":       fmt.Sprintf("%s/finalize/%d", ca.url, n),
		"certificate":    fmt.Sprintf("%s/cert/%d", ca.url, n),
	}
}

// authorization shows an authorization, or the challenge that was tried.
func (ca *fakeCA) authorization(n int, challenge bool) *http.Response {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	var all []any
	for _, typ := range []string{"dns-01", acme.HTTP01, acme.TLSALPN01} {
		ch := map[string]any{
			"type": typ, "status": "pending", "token": fmt.Sprintf("token-%d", n),
			"url": fmt.Sprintf("%s/challenge/%d/%s", ca.url, n, typ),
		}
		if typ == ca.tried[n] {
			ch["status"] = ca.status[n]
			if ca.status[n] == "invalid" {
				ch["error"] = map[string]any{"type": problem + "unauthorized", "detail": ca.detail[n], "status": 403}
			}
			if challenge {
				return object(200, ch)
			}
		}
		all = append(all, ch)
	}
	return object(200, map[string]any{
		"status": ca.status[n], "identifier": map[string]string{"type": "dns", "value": ca.hosts[n]}, "challenges": all,
	})
}

// validate looks for the answer to a challenge where a CA would find it.
func (ca *fakeCA) validate(n int, number, host string) {
	_, typ, _ := strings.Cut(number, "/")
	token := fmt.Sprintf("token-%d", n)
	why := ""
	switch typ {
	case acme.TLSALPN01:
		cert, err := ca.certs.GetCertificate(&tls.ClientHelloInfo{ServerName: host, SupportedProtos: []string{acme.ALPNProto}})
		if err != nil || len(cert.Certificate) == 0 {
			why = fmt.Sprintf("no challenge certificate: %v", err)
		}
	case acme.HTTP01:
		keyAuth, ok := ca.certs.HTTP01(context.Background(), host, token)
		if !ok || !strings.HasPrefix(keyAuth, token+".") {
			why = "no key authorization"
		}
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, t := range ca.invalid[host] {
		if t == typ {
			why = typ + " cannot reach " + host
		}
	}
	ca.tried[n], ca.status[n], ca.detail[n] = typ, "valid", why
	if why != "" {
		ca.status[n] = "invalid"
		ca.open--
	}
}

func (ca *fakeCA) finalize(n int, payload []byte) *http.Response {
	var req struct{ CSR string }
	der, err := base64.RawURLEncoding.DecodeString(field(payload, &req, &req.CSR))
	if err != nil {
		return refuse(400, "badCSR", err.Error(), 0)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return refuse(400, "badCSR", err.Error(), 0)
	}
	ca.mu.Lock()
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(int64(n + 2)), DNSNames: csr.DNSNames,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(ca.lifetime),
	}, ca.root, csr.PublicKey, ca.key)
	if err == nil {
		ca.issued[n] = append(block(leaf), block(ca.root.Raw)...)
		ca.open--
	}
	ca.mu.Unlock()
	if err != nil {
		return refuse(500, "serverInternal", err.Error(), 0)
	}
	return object(200, ca.order(n))
}

func (ca *fakeCA) hostOf(kind string, n int, payload []byte) string {
	if kind == "order" {
		var req struct {
			Identifiers []struct{ Value string }
		}
		if json.Unmarshal(payload, &req) == nil && len(req.Identifiers) > 0 {
			return req.Identifiers[0].Value
		}
		return ""
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if kind == "directory" || kind == "nonce" || kind == "account" || n >= len(ca.hosts) {
		return ""
	}
	return ca.hosts[n]
}

func block(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func object(status int, v any) *http.Response {
	body, _ := json.Marshal(v)
	return answer(status, body)
}

func field(payload []byte, into any, value *string) string {
	_ = json.Unmarshal(payload, into)
	return *value
}

func readJWS(req *http.Request) (nonce string, payload []byte) {
	if req.Body == nil {
		return "", nil
	}
	var jws struct{ Protected, Payload string }
	_ = json.NewDecoder(req.Body).Decode(&jws)
	protected, _ := base64.RawURLEncoding.DecodeString(jws.Protected)
	payload, _ = base64.RawURLEncoding.DecodeString(jws.Payload)
	var header struct{ Nonce string }
	_ = json.Unmarshal(protected, &header)
	return header.Nonce, payload
}
