package dnsupdate

import (
	"context"

	"github.com/stshost/stshost/internal/state"
)

// Observe asks every authoritative server for the TXT records where the
// target's record stands, each address apart, and returns their answers in the
// order of the NS records. A CNAME at the target's name is followed if every
// server that answers shows it; one that leads elsewhere, or could not be asked
// where the name leads, is among the answers with its error. An address that
// this machine has no route to (IPv6, as a rule) is left out if any other
// answered: it cannot be asked from here, and nothing is wrong with it. The
// error is about finding the place: a zone or its servers, a chain of CNAMEs,
// or a CNAME that leads to another domain's record.
func (u *Updater) Observe(ctx context.Context, target state.Target) ([]state.ServerTXT, error) {
	r, err := u.follow(ctx, target)
	if err != nil {
		return nil, err
	}
	if r.split != nil {
		return r.views, nil
	}
	err = u.mayUse(ctx, r, r.shown())
	u.noteRefusal(target, err, false)
	if err != nil {
		return nil, err
	}
	return r.views, nil
}

// shown are the records that any server shows.
func (r *route) shown() []string {
	var all []string
	for _, v := range r.views {
		if v.Err == nil {
			all = append(all, v.TXT...)
		}
	}
	return all
}
