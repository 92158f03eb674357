package dnsupdate

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
)

// parseTXT reads the RDATA of a TXT record in zone-file notation.
func parseTXT(rdata string) (*dns.TXT, error) {
	rr, err := dns.NewRR(". 0 IN TXT " + rdata)
	if err != nil {
		return nil, fmt.Errorf("TXT data %q cannot be read: %w", rdata, err)
	}
	txt, ok := rr.(*dns.TXT)
	if !ok {
		return nil, fmt.Errorf("TXT data %q cannot be read", rdata)
	}
	return txt, nil
}

// textOf returns the bytes that a provider's notation of a TXT record stands
// for. Without a quote in front it is the text itself.
func textOf(content string) (string, error) {
	if !strings.HasPrefix(content, `"`) {
		return content, nil
	}
	rr, err := parseTXT(content)
	if err != nil {
		return "", err
	}
	return resolver.JoinTXT(rr), nil
}
