package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"
)

// visitor is an HTTPS client that connects to stshost's own listener.
type visitor struct {
	*http.Client
	dials atomic.Int64
}

// visitor returns a client that names sni in its handshakes ("": the host of
// the URL) and speaks only the given protocol, "h2" or "http/1.1".
func (w *world) visitor(sni, proto string) *visitor {
	v := &visitor{}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(proto == "h2")
	protocols.SetHTTP1(proto == "http/1.1")
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			v.dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", w.https)
		},
		TLSClientConfig: &tls.Config{RootCAs: w.lab.Roots(), ServerName: sni},
		Protocols:       protocols,
	}
	v.Client = &http.Client{Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.t.Cleanup(tr.CloseIdleConnections)
	return v
}

// fetch makes a request and reads the whole answer.
func (v *visitor) fetch(ctx context.Context, method, url string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := v.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// adminGet returns a page of the admin listener.
func (w *world) adminGet(path string) string {
	w.t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.dir, "admin.sock"))
	}}
	resp, err := (&http.Client{Transport: tr}).Get("http://localhost" + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
	return string(body)
}
