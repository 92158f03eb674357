// Package server holds the three listeners of stshost:
//
//   - HTTPS, where mail senders fetch policies (RFC 8461 §3.3) and where the CA
//     validates tls-alpn-01 challenges;
//   - HTTP on port 80, for http-01 challenges, the token that proves that a host
//     leads here, and redirects of people's browsers — never for a policy;
//   - admin, on a unix socket or on loopback: the JSON API that the command line
//     uses, status pages, health checks and metrics.
//
// It decides nothing about domains: what is served comes from Policies, what is
// shown comes from the Backend.
package server
