package stshost_test

// The dependencies of what is being built, pinned before their first use.
import (
	_ "github.com/libdns/desec"
	_ "github.com/libdns/hetzner/v2"
	_ "github.com/libdns/ionos"
	_ "github.com/libdns/netcup"
	_ "github.com/libdns/ovh"
	_ "github.com/libdns/route53"
	_ "github.com/mholt/acmez/v3/acme"
)
