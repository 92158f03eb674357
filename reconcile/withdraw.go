package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// withdraw takes the announcement out of the DNS, once no sender can hold a
// policy any more (RFC 8461 §8.3). It needs neither certificate nor proof: the
// domain may lead elsewhere by now. A record that somebody else has made is
// theirs.
func (t *task) withdraw(ctx context.Context) error {
	if t.row.Step == state.Withdrawn {
		return nil
	}
	views, err := t.cfg.DNS.Observe(ctx, t.wanted.Target)
	if err != nil {
		return &blocked{err: fmt.Errorf("cannot see the record of %s in the DNS: %w", t.wanted.Domain, err),
			remedy: remedyOf(err, "see that the zone exists and its name servers answer") + t.abandonHint()}
	}
	t.notePlace(views)
	if err := t.mayWithdraw(ctx, views); err != nil {
		return err
	}
	seen, err := t.compareGone(ctx, views)
	if err != nil {
		return err
	}
	if len(seen.ours) > 0 && len(seen.others) > 0 {
		return &blocked{err: fmt.Errorf("%s has, beside the record %q, one that stshost has not made: %q", mtasts.RecordName(t.wanted.Domain), seen.ours[0], seen.others[0]),
			remedy: "remove the first of the two by hand; while there are two, senders see none (RFC 8461 §3.1)"}
	}
	if len(seen.ours) > 0 {
		if err := t.cfg.DNS.Withdraw(ctx, t.wanted.Target); err != nil {
			return &blocked{wait: errors.Is(err, state.ErrManual), retry: t.removalPause(err), err: err,
				remedy: remedyOf(err, fmt.Sprintf("remove it: %s. IN TXT %q", t.wanted.Target.Name, seen.ours[0]))}
		}
		if views, err = t.cfg.DNS.Observe(ctx, t.wanted.Target); err != nil {
			return &blocked{err: err, remedy: remedyOf(err, "it is asked again by itself")}
		}
		if seen, err = t.compareGone(ctx, views); err != nil {
			return err
		}
	}
	switch {
	case len(seen.ours) > 0:
		return &blocked{err: fmt.Errorf("a name server still shows %q", seen.ours[0]),
			remedy: "the provider has removed the record; it is looked for again until no name server shows it"}
	case seen.silent != nil:
		return &blocked{err: seen.silent, remedy: remedyOf(seen.silent,
			"a name server that does not answer must be mended or taken out of the zone's NS records; see, too, that this machine may send to port 53") + t.abandonHint()}
	}
	if err := t.enter(ctx, state.Withdrawn); err != nil {
		return err
	}
	t.log.Info("record removed from every authoritative server", "domain", t.wanted.Domain, "step", t.row.Step)
	return nil
}

// abandonHint helps with a domain that left the config and cannot retire: its zone
// is gone for good, as that of a customer, or nobody knows what was announced.
func (t *task) abandonHint() string {
	if !t.wanted.Left {
		return ""
	}
	return "; if nobody needs the domain any more, `stshost reload --abandon " + t.wanted.Domain + "` ends it"
}

// removalPause is when to look again for a record that was not removed: where a
// person has to, as for one that a person has to enter.
func (t *task) removalPause(err error) time.Duration {
	if errors.Is(err, state.ErrManual) {
		return t.handPause()
	}
	return 0
}

// mayWithdraw finds out, once in the life of this process, whether the journal is
// older than what was announced, as catchUp does: a policy that came after the one
// that says none is not to be taken away by a backup.
func (t *task) mayWithdraw(ctx context.Context, views []state.ServerTXT) error {
	if t.d.compared {
		return nil
	}
	later, answered := laterID(views, knownUntil(t.row))
	if later != "" {
		ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(ledger, func(b state.Body) bool { return b.Mode == mtasts.ModeNone && mtasts.Announces(later, b.Body) }) {
			return &blocked{
				err:    fmt.Errorf("%s announces, as %s, a policy that is later than this store, in which the domain leaves MTA-STS", mtasts.RecordName(t.wanted.Domain), later),
				remedy: "restore a newer backup; or take the domain back to testing with `stshost rollback`; or remove the record by hand, if it is to leave" + t.abandonHint()}
		}
	}
	t.d.compared = answered
	return nil
}

// madeSince reports whether an id was made by us for a body of the ledger: for one
// that was found published before we served it, only if it was made after that.
func madeSince(id string, b state.Body) bool {
	made, ours := mtasts.IDTime(id)
	return !b.Adopted || ours && made.After(b.FirstServed)
}

// remains is what the authoritative servers show of a record that is to go.
type remains struct {
	ours, others []string // MTA-STS records, by who made them
	silent       error    // a server could not be asked
}

// compareGone tells records that announce a body of the ledger from others.
func (t *task) compareGone(ctx context.Context, views []state.ServerTXT) (r remains, err error) {
	ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
	if err != nil {
		return r, err
	}
	if len(views) == 0 {
		r.silent = errors.New("the zone has no name server to ask")
	}
	for _, s := range views {
		if s.Err != nil {
			r.silent = cmp.Or(r.silent, s.Err)
			continue
		}
		for _, txt := range mtasts.Records(s.TXT) {
			rec, err := mtasts.ParseRecord(txt)
			made := err == nil && (rec.ID == t.row.ID || slices.ContainsFunc(ledger, func(b state.Body) bool {
				return mtasts.Announces(rec.ID, b.Body) && madeSince(rec.ID, b)
			}))
			switch {
			case made && !slices.Contains(r.ours, txt):
				r.ours = append(r.ours, txt)
			case !made && !slices.Contains(r.others, txt):
				r.others = append(r.others, txt)
			}
		}
	}
	return r, nil
}
