package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// Reloads that change policies and domains drop no connection and no request,
// be it between two requests or in the middle of one.
func TestReloadDropsNothing(t *testing.T) {
	const reloads = 10
	w := newWorld(t, example, "second.test")
	second := w.domains[1]
	w.domains = w.domains[:1]
	s := w.start()
	first := w.confirmed(example)
	url := "https://" + first.Host + mtasts.PolicyPath

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var senders sync.WaitGroup
	var fetched atomic.Int64
	visitors := map[string]*visitor{}
	for _, proto := range []string{"http/1.1", "h2"} {
		v := w.visitor("", proto)
		visitors[proto] = v
		senders.Go(func() {
			for ctx.Err() == nil {
				resp, body, err := v.fetch(t.Context(), http.MethodGet, url)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%s: a request was dropped: %v", proto, err)
					return
				}
				if _, err := mtasts.ParsePolicy([]byte(body)); err != nil {
					t.Errorf("%s: %v in %q", proto, err, body)
				}
				fetched.Add(1)
			}
		})
	}

	h1, h2 := w.halfRequest1(first.Host), w.halfRequest2(first.Host)
	for i := range reloads {
		w.domains = w.domains[:1]
		w.domains[0].mx = []string{fmt.Sprintf("mx%d.mail.test", i)}
		if i%2 == 0 {
			w.domains = append(w.domains, second)
		}
		before := fetched.Load()
		if res := s.reload(); res.Empty() {
			t.Errorf("reload %d: %+v", i, res)
		}
		eventually(t, func() error {
			if fetched.Load() == before {
				return errors.New("nobody is served any more")
			}
			return nil
		})
	}
	last := w.await(example, "the last policy", func(d server.DomainStatus) bool {
		return strings.Contains(d.Body, fmt.Sprintf("mx%d.mail.test", reloads-1))
	})
	for name, finish := range map[string]func() (int, string, error){"http/1.1": h1, "h2": h2} {
		if status, body, err := finish(); err != nil || status != http.StatusOK || body != last.Body {
			t.Errorf("%s: a request begun before the reloads got status %d, %q, %v", name, status, body, err)
		}
	}
	cancel()
	senders.Wait()
	for proto, v := range visitors {
		if n := v.dials.Load(); n != 1 {
			t.Errorf("%s: %d connections, want to keep the one", proto, n)
		}
	}
	w.sees(w.confirmedAnew(first))
}

// halfRequest1 sends the first half of a request over HTTP/1.1; finish sends
// the rest and reads the answer.
func (w *world) halfRequest1(host string) (finish func() (int, string, error)) {
	w.t.Helper()
	conn := w.dialTLS(host, "http/1.1")
	if _, err := io.WriteString(conn, "GET "+mtasts.PolicyPath+" HTTP/1.1\r\nHost: "+host+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
	return func() (int, string, error) {
		if _, err := io.WriteString(conn, "\r\n"); err != nil {
			return 0, "", err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
}

// halfRequest2 is halfRequest1 over h2: the headers end in a frame of their own.
func (w *world) halfRequest2(host string) (finish func() (int, string, error)) {
	w.t.Helper()
	conn := w.dialTLS(host, "h2")
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", host}, {":path", mtasts.PolicyPath}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	half := block.Len() / 2
	fr := http2.NewFramer(conn, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err := io.WriteString(conn, http2.ClientPreface)
	err = errors.Join(err, fr.WriteSettings(), fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes()[:half], EndStream: true,
	}))
	if err != nil {
		w.t.Fatal(err)
	}
	return func() (status int, body string, err error) {
		if err := fr.WriteContinuation(1, true, block.Bytes()[half:]); err != nil {
			return 0, "", err
		}
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return 0, "", err
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				fmt.Sscan(f.PseudoValue("status"), &status)
			case *http2.DataFrame:
				body += string(f.Data())
			case *http2.GoAwayFrame:
				return 0, "", fmt.Errorf("the server says %s", f.ErrCode)
			}
			if f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream) {
				return status, body, nil
			}
		}
	}
}

func (w *world) dialTLS(host, proto string) *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.https, &tls.Config{RootCAs: w.lab.Roots(), ServerName: host, NextProtos: []string{proto}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// A config with faults is refused whole, with all of them, and what is right
// in it does not happen either.
func TestReloadRefusesFaultyConfig(t *testing.T) {
	w := newWorld(t, example, "second.test")
	second := w.domains[1]
	w.domains = w.domains[:1]
	w.start()
	before := w.confirmed(example)
	updates := len(w.lab.DNS.Updates())

	w.domains[0].mx = []string{"mx2.mail.test"}
	w.domains = append(w.domains, second, entry{name: "third.test", mx: []string{"192.0.2.25"}})
	w.domains[1].lines = "max_age = \"1 fortnight\"\nmod = \"enforce\""
	w.writeConfig()
	text, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{ // where, and what to write instead
		w.config() + lineOf(text, `max_age = "1 fortnight"`),
		w.config() + lineOf(text, `mod = "enforce"`),
		w.config() + lineOf(text, `mx = ["192.0.2.25"]`),
	}
	_, err = w.client().Reload(t.Context(), server.ReloadOrder{})
	var invalid *server.InvalidConfigError
	if !errors.As(err, &invalid) || len(invalid.Errors) != len(want) {
		t.Fatalf("reload: %v, want %d faults", err, len(want))
	}
	out, err := exec.Command("stshost", "reload", "--config", w.config()).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the command: %v", err)
	}
	for i, where := range want {
		if !strings.HasPrefix(invalid.Errors[i], where) || !strings.Contains(invalid.Errors[i], "; ") {
			t.Errorf("fault %d is %q, want it at %s with a remedy", i, invalid.Errors[i], where)
		}
		if !strings.Contains(string(out), invalid.Errors[i]) {
			t.Errorf("the command does not say %q:\n%s", invalid.Errors[i], out)
		}
	}

	all, err := w.client().Domains(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != before.ID || all[0].Body != before.Body {
		t.Errorf("after the refusal: %+v, %v", all, err)
	}
	w.sees(before)
	if n := len(w.lab.DNS.Updates()) - updates; n != 0 {
		t.Errorf("%d DNS updates", n)
	}
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// lineOf is where part stands in text, as messages say it.
func lineOf(text []byte, part string) string {
	for i, line := range strings.Split(string(text), "\n") {
		if line == part {
			return fmt.Sprintf(":%d: ", i+1)
		}
	}
	return ": nowhere"
}

// What is read at the start only is said to need a restart, and nothing is told
// of it as if it were in force.
func TestReloadNeedsRestart(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	before := w.confirmed(example)
	https, http, listen := w.https, w.http, w.listen
	w.https, w.http, w.listen = "", "", `proxied = "127.0.0.1:`+w.port()+`"`
	w.writeConfig()
	w.https, w.http, w.listen = https, http, listen
	res, err := w.client().Reload(t.Context(), server.ReloadOrder{})
	if err != nil || !slices.Contains(res.Restart, "listen") {
		t.Fatalf("%+v, %v", res, err)
	}
	w.says([]string{"records", example}, "leads senders and the CA to this server")
	if d, err := w.client().Domain(t.Context(), example); err != nil || d.CertificateExternal || !d.CertificateNotAfter.Equal(before.CertificateNotAfter) {
		t.Errorf("status %+v, %v", d, err)
	}
	w.sees(before)
}

// A reload that makes something doubtful says so where it is asked for, and not
// in the log alone.
func TestReloadWarns(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	w.confirmed(example)
	w.extra = "[dns.second]\nprovider = \"print\"\n"
	w.domains[0].lines = `max_age = "1h"` + "\nmode = \"enforce\"\n"
	w.writeConfig()
	out, err := w.cli("reload")
	if err != nil || !strings.Contains(out, "warning: "+w.config()+":") || !strings.Contains(out, "max_age of less than a day") || !strings.Contains(out, "changed: "+example) {
		t.Errorf("%v:\n%s", err, out)
	}
}
