package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stshost/stshost/internal/lab"
)

// The files in the bench's directory that every peer serves from.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
	bodyFile = "www/.well-known/mta-sts.txt"
)

// peer is another server that serves the same.
type peer struct {
	name    string
	program string // and Debian package
	version string // argument that makes it tell its version
	config  string // its configuration: for DIR, ADDR, HOST and PORT stands what is meant
	args    func(config, dir, addr string) []string
}

func peers() []peer {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []peer{
		{nameNginx, "nginx", "-v", nginxConfig, func(config, dir, _ string) []string {
			return []string{"-c", config, "-p", dir, "-e", "stderr"}
		}},
		{nameCaddy, "caddy", "version", caddyConfig, func(config, _, _ string) []string {
			return []string{"run", "--config", config, "--adapter", "caddyfile"}
		}},
		{nameBare, self, "", "", func(_, dir, addr string) []string {
			return []string{bareCommand, addr, filepath.Join(dir, certFile), filepath.Join(dir, keyFile), filepath.Join(dir, bodyFile)}
		}},
	}
}

// nginx as an operator who wants it fast would set it up: the file stays open,
// and nothing is logged.
const nginxConfig = `daemon off;
user root; # no meaning unless root starts it; then its workers can read our directory
worker_processes 1;
pid DIR/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	server_tokens off;
	etag off;
	max_ranges 0;
	keepalive_requests 1000000000;
	open_file_cache max=16;
	open_file_cache_valid 1h;
	client_body_temp_path DIR/nginx-body;
	proxy_temp_path DIR/nginx-proxy;
	fastcgi_temp_path DIR/nginx-fastcgi;
	uwsgi_temp_path DIR/nginx-uwsgi;
	scgi_temp_path DIR/nginx-scgi;
	types { }
	default_type "text/plain; charset=utf-8";
	server {
		listen ADDR ssl http2;
		server_name HOST;
		root DIR/www;
		ssl_certificate DIR/cert.pem;
		ssl_certificate_key DIR/key.pem;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
		ssl_ecdh_curve X25519;
		ssl_session_tickets off;
		ssl_session_cache off;
		add_header Cache-Control "no-cache, max-age=0";
		add_header X-Content-Type-Options nosniff;
		add_header Last-Modified "";
	}
}
`

const caddyConfig = `{
	admin off
	auto_https off
	servers {
		protocols h1 h2
	}
	storage file_system DIR/caddy
}
https://HOST:PORT {
	bind 127.0.0.1
	root * DIR/www
	file_server
	header {
		Content-Type "text/plain; charset=utf-8"
		Cache-Control "no-cache, max-age=0"
		X-Content-Type-Options nosniff
		-Server
		-Last-Modified
		-Etag
	}
	tls DIR/cert.pem DIR/key.pem {
		curves x25519
	}
}
`

// launch writes the peer's configuration and starts it.
func (p peer) launch(ctx context.Context, cpu int, dir, program string) (competitor, error) {
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return competitor{}, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config := filepath.Join(dir, p.program+".conf")
	if p.config != "" {
		text := strings.NewReplacer("DIR", dir, "ADDR", addr, "HOST", policyHost, "PORT", fmt.Sprint(port)).Replace(p.config)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return competitor{}, err
		}
	}
	started, err := launch(ctx, cpu, filepath.Join(dir, filepath.Base(p.program)+".log"), addr, program, p.args(config, dir, addr)...)
	return competitor{p.name, addr, started}, err
}
