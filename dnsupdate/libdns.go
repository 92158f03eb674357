package dnsupdate

import (
	"context"
	"fmt"

	"github.com/libdns/libdns"
)

// libdnsProvider is what a libdns module must offer to be driven here.
type libdnsProvider interface {
	libdns.RecordAppender
	libdns.RecordSetter
	libdns.RecordDeleter
}

// writeLibdns carries out an edit through a libdns module whose SetRecords
// cannot be trusted with more than one record at a name: cloudflare v0.2.2
// overwrites a foreign record and reports success. A record that stays is never
// handed to the module.
//
// Deleting and then appending leaves the name without our record for a moment.
// That is the better gap: senders go on with the policy they have cached
// (RFC 8461 §3.3), while two records would end MTA-STS.
func writeLibdns(ctx context.Context, p libdnsProvider, at site, e edit) error {
	name := libdns.RelativeName(at.name, at.zone)
	fresh := []libdns.Record{libdns.TXT{Name: name, TTL: at.ttl, Text: e.add}}
	if len(e.keep) == 0 && len(e.drop) == 1 && e.add != "" {
		_, err := p.SetRecords(ctx, at.zone, fresh) // alone at the name: replaced in place, without a gap
		return err
	}
	for _, r := range e.drop {
		gone, err := p.DeleteRecords(ctx, at.zone, []libdns.Record{libdns.TXT{Name: name, TTL: r.ttl, Text: r.raw}})
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			return fmt.Errorf("the record %q at %s was listed and then not found when it was to be deleted; it is looked at again", r.text, trimDot(at.name))
		}
	}
	if e.add == "" {
		return nil
	}
	_, err := p.AppendRecords(ctx, at.zone, fresh)
	return err
}
