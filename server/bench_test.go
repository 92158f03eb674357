package server_test

import (
	"bufio"
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
