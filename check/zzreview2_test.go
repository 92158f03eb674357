package check

import (
	"github.com/miekg/dns"
	"github.com/stshost/stshost/internal/lab"
)

func labFault(n string, typ uint16) lab.DNSFault {
	return lab.DNSFault{Name: n, Type: typ, Rcode: dns.RcodeServerFailure}
}
