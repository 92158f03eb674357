package server_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// BenchmarkPolicy fetches a policy over one open connection, as HTTP/1.
func BenchmarkPolicy(b *testing.B) {
	conn := benchmarkConn(b)
	request := []byte("GET " + mtasts.PolicyPath + " HTTP/1.1\r\nHost: mta-sts.a.example\r\nUser-Agent: bench\r\n\r\n")
	conn.Write(request)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 200 {
		b.Fatal(resp, err)
	}
	length := 0
	for key, values := range resp.Header {
		length += len(key) + len(": \r\n") + len(values[0])
	}
	answer := make([]byte, len("HTTP/1.1 200 OK\r\n\r\n")+length+len(policyA))
	if _, err := io.CopyN(io.Discard, r, int64(len(policyA))); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		conn.Write(request)
		if _, err := io.ReadFull(r, answer); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkConn(b *testing.B) *tls.Conn {
	b.Helper()
	authority := newCA(b)
	cert := authority.issue(b, "mta-sts.a.example")
	policies := server.NewPolicies()
	policies.Set("a.example", []byte(policyA))
	s := newServer(b, server.Config{Policies: policies, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }})
	conn, err := tls.Dial("tcp", serve(b, s.ServeHTTPS), &tls.Config{ServerName: "mta-sts.a.example", RootCAs: authority.roots})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// BenchmarkConnection makes a new TLS 1.3 connection for each policy, as
// senders do. The client's work is in it too.
func BenchmarkConnection(b *testing.B) {
	conn := benchmarkConn(b)
	addr, config := conn.RemoteAddr().String(), &tls.Config{
		ServerName: "mta-sts.a.example", InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
	}
	request := []byte("GET " + mtasts.PolicyPath + " HTTP/1.1\r\nHost: mta-sts.a.example\r\nConnection: close\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		conn, err := tls.Dial("tcp", addr, config)
		if err != nil {
			b.Fatal(err)
		}
		conn.Write(request)
		if answer, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(answer, []byte(policyA)) {
			b.Fatal(err, string(answer))
		}
		conn.Close()
	}
}
