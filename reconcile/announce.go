package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// announce makes the record at _mta-sts.<domain> carry the id of the body that
// was just proven, and sees it on every authoritative server.
func (t *task) announce(ctx context.Context, body []byte) error {
	views, err := t.cfg.DNS.Observe(ctx, t.wanted.Target)
	if err != nil {
		return &blocked{err: fmt.Errorf("cannot see the record of %s in the DNS: %w", t.wanted.Domain, err),
			remedy: remedyOf(err, "see that the zone exists and its name servers answer")}
	}
	t.notePlace(views)
	if !t.d.compared {
		was := t.row
		if err := t.catchUp(ctx, views); err != nil {
			return err
		}
		if t.row != was {
			return &blocked{wait: true, retry: time.Second, remedy: byItself,
				err: errors.New("DNS announces a later policy than the journal knows; the domain begins anew from there")}
		}
		if !t.d.compared && t.row.ID == "" {
			// An id is made only when it is known what there was before.
			return t.confirm(ctx, compare(views, ""))
		}
	}
	if err := t.chooseID(ctx, body, views); err != nil {
		return err
	}
	txt := mtasts.Record{ID: t.row.ID}.String()
	seen := compare(views, txt)
	t.d.moved = t.d.moved && seen.wrong != nil
	// No answer is no drift, nor does it tell whether the journal is up to date.
	drifted := seen.wrong != nil && !(seen.nothing && (t.row.Step == state.Confirmed || !t.d.compared))
	if drifted {
		if err := t.push(ctx, txt, seen); err != nil {
			return err
		}
		if views, err = t.cfg.DNS.Observe(ctx, t.wanted.Target); err != nil {
			return &blocked{err: err, remedy: remedyOf(err, "it is asked again by itself")}
		}
		seen = compare(views, txt)
	}
	return t.confirm(ctx, seen)
}

// push has the provider publish txt, the id of which is in the journal
// already. A provider that has it changes nothing, so a record that is slow to
// reach all name servers may be pushed again and again.
func (t *task) push(ctx context.Context, txt string, seen view) error {
	err := t.cfg.DNS.Push(ctx, t.wanted.Target, txt)
	if errors.Is(err, state.ErrManual) {
		return &blocked{wait: before(t.row.Step, state.Announced), retry: t.handPause(), err: err,
			remedy: remedyOf(err, fmt.Sprintf("enter it, in place of any other v=STSv1 record there: %s. IN TXT %q", t.wanted.Target.Name, txt))}
	}
	if err != nil {
		if !before(t.row.Step, state.Announced) {
			err = fmt.Errorf("%w, and the push that would mend it fails: %w", seen.wrong, err)
		}
		return &blocked{err: err, remedy: remedyOf(err, fmt.Sprintf(
			"correct what it names, at the provider or in [dns.%s] of the config; the record is pushed as soon as it can be", t.wanted.Target.Account))}
	}
	switch t.row.Step {
	case state.Confirmed:
		if t.d.moved {
			t.log.Info("the record was pushed to where its name leads now", "domain", t.wanted.Domain, "id", t.row.ID)
			break
		}
		t.repairs.Add(1)
		t.tellRepaired(seen.wrong)
		t.log.Warn("the record had drifted and was pushed again", "domain", t.wanted.Domain, "id", t.row.ID, "reason", seen.wrong)
	case state.Proven:
		if err := t.enter(ctx, state.Announced); err != nil {
			return err
		}
		t.log.Info("record pushed", "domain", t.wanted.Domain, "step", t.row.Step, "id", t.row.ID)
	}
	t.d.moved = false
	return nil
}

// handPause is how long to leave a person alone who has a record to enter: at
// first they may be at it, later the domain is one of many that wait.
func (t *task) handPause() time.Duration {
	return min(max(t.cfg.Now().Sub(t.row.Since)/10, 15*time.Second), 10*time.Minute)
}

// confirm ends the announcement if every server shows it.
func (t *task) confirm(ctx context.Context, seen view) error {
	switch {
	case seen.wrong != nil && !seen.nothing:
		return &blocked{err: seen.wrong,
			remedy: "the provider has taken the record; it is looked for again until every name server shows it"}
	case seen.silent != nil:
		return &blocked{err: seen.silent, remedy: remedyOf(seen.silent,
			"a name server that does not answer must be mended or taken out of the zone's NS records; see, too, that this machine may send to port 53")}
	case t.row.Step == state.Confirmed:
		return nil
	}
	if err := t.enter(ctx, state.Confirmed); err != nil {
		return err
	}
	t.log.Info("record confirmed on every authoritative server", "domain", t.wanted.Domain, "step", t.row.Step, "id", t.row.ID)
	return nil
}

// view sums up what the authoritative servers show.
type view struct {
	wrong   error // a server shows something else than exactly our record, or nothing is known
	silent  error // a server could not be asked
	nothing bool  // none could
}

// compare holds what each server shows against the one record that senders
// must find: with two that begin v=STSv1 they act as if there were none
// (RFC 8461 §3.1).
func compare(views []state.ServerTXT, txt string) view {
	v := view{nothing: true}
	if len(views) == 0 {
		v.silent = errors.New("the zone has no name server to ask")
	}
	for _, s := range views {
		if s.Err != nil {
			v.silent = cmp.Or(v.silent, s.Err)
			continue
		}
		v.nothing = false
		ours := mtasts.Records(s.TXT)
		switch {
		case len(ours) == 1 && ours[0] == txt:
		case len(ours) == 0:
			v.wrong = cmp.Or(v.wrong, fmt.Errorf("%s has no MTA-STS record", s.Server))
		case len(ours) > 1:
			v.wrong = cmp.Or(v.wrong, fmt.Errorf("%s has %d MTA-STS records, and senders ignore them all (RFC 8461 §3.1)", s.Server, len(ours)))
		default:
			v.wrong = cmp.Or(v.wrong, fmt.Errorf("%s shows %q", s.Server, ours[0]))
		}
	}
	if v.nothing {
		v.wrong = v.silent
	}
	return v
}

// chooseID settles the id for body and journals it before anyone can see it.
//
// The journalled id stands: it was made for this body. Failing that, an id in
// DNS that names this very body is kept, so that a lost store forces nobody to
// fetch again, unless the ledger knows of another body: a sender may hold that
// one under this id (A→B→A), and only a new id dislodges it.
func (t *task) chooseID(ctx context.Context, body []byte, views []state.ServerTXT) error {
	if t.row.ID != "" && mtasts.Announces(t.row.ID, body) {
		return nil
	}
	ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
	if err != nil {
		return err
	}
	next := t.row
	if live := liveID(views); mtasts.Announces(live, body) && !otherServed(ledger, mtasts.Digest(body)) {
		next.ID = live
	} else {
		next.ID = mtasts.NewID(stampAfter(views, t.cfg.Now()), body)
	}
	next.FormerID = ""
	if err := t.save(ctx, next); err != nil {
		return err
	}
	t.d.compared = true
	return nil
}

// stampAfter is now, or a second after the latest of our ids in DNS: a stamp
// has whole seconds, and bodies can change faster than that; and the clock may
// have been set back since, by however much. Only ids of the last year that a
// stamp can name are passed over, as nothing comes after them.
func stampAfter(views []state.ServerTXT, now time.Time) time.Time {
	stamp := now
	for _, s := range views {
		for _, txt := range s.TXT {
			rec, err := mtasts.ParseRecord(txt)
			if err != nil {
				continue
			}
			made, ours := mtasts.IDTime(rec.ID)
			if ours && made.Year() < 9999 && stamp.Before(made.Add(time.Second)) {
				stamp = made.Add(time.Second)
			}
		}
	}
	return stamp
}

// liveID is the id that every server which answers shows alone; "" if they
// differ.
func liveID(views []state.ServerTXT) string {
	id := ""
	for _, s := range views {
		if s.Err != nil {
			continue
		}
		rec, err := mtasts.FindRecord(s.TXT)
		if err != nil || id != "" && rec.ID != id {
			return ""
		}
		id = rec.ID
	}
	return id
}

// otherServed reports whether a body other than digest was ever served.
func otherServed(ledger []state.Body, digest string) bool {
	return slices.ContainsFunc(ledger, func(b state.Body) bool { return !strings.EqualFold(b.SHA256, digest) })
}
