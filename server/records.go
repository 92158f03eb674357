package server

import (
	"fmt"
	"strings"
)

// FormatZone writes records as lines of a zone file (RFC 1035 §5.1), each under
// a comment that says what it is for and who enters it. A record without data
// is a comment too, and so is one that must not be.
func FormatZone(records []DNSRecord) string {
	var b strings.Builder
	for _, r := range records {
		if r.Problem != "" {
			fmt.Fprintf(&b, "; no %s record for %s: %s\n", r.Type, r.Name, strings.ReplaceAll(r.Problem, "\n", " "))
			continue
		}
		by := "entered by hand"
		if r.Managed {
			by = "kept by stshost"
		}
		if r.Purpose != "" {
			fmt.Fprintf(&b, "; %s (%s)\n", strings.ReplaceAll(r.Purpose, "\n", " "), by)
		}
		if r.Data == "" {
			fmt.Fprintf(&b, "; %s. IN %s is not known yet\n", r.Name, r.Type)
			continue
		}
		fmt.Fprintf(&b, "%s. %d IN %s %s\n", r.Name, r.TTL, r.Type, zoneData(r))
	}
	return b.String()
}

func zoneData(r DNSRecord) string {
	switch r.Type {
	case "CNAME":
		return strings.TrimSuffix(r.Data, ".") + "."
	case "TXT":
		return zoneText(r.Data)
	}
	return r.Data
}

// zoneText writes a text as character strings of at most 255 bytes, quoted.
func zoneText(s string) string {
	var parts []string
	for {
		n := min(len(s), 255)
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s[:n])+`"`)
		if s = s[n:]; s == "" {
			return strings.Join(parts, " ")
		}
	}
}
