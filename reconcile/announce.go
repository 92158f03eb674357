package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// settle is how long a pushed record may take to show on every authoritative
// server before it is pushed again.
const settle = time.Minute

// announce makes the record at _mta-sts.<domain> carry the id of the body that
// was just proven, and sees it on every authoritative server.
func (t *task) announce(ctx context.Context, body []byte) error {
	views, err := t.cfg.DNS.Observe(ctx, t.wanted.Target)
	if err != nil {
		return t.dnsBlocked(fmt.Errorf("cannot ask the name servers of %s: %w", t.wanted.Domain, err),
			"see that the zone exists and its name servers answer")
	}
	if err := t.chooseID(ctx, body, views); err != nil {
		return err
	}
	txt := mtasts.Record{ID: t.row.ID}.String()
	view := compare(views, txt)
	if view.wrong == nil {
		return t.confirm(ctx, view)
	}

	recent := t.row.Step == state.Announced && t.cfg.Now().Sub(t.row.Since) < settle
	if !recent {
		if t.row.Step == state.Confirmed {
			t.log.Warn("the record drifted and is repaired", "domain", t.wanted.Domain, "id", t.row.ID, "reason", view.wrong)
		}
		if err := t.push(ctx, txt); err != nil {
			return err
		}
		if views, err = t.cfg.DNS.Observe(ctx, t.wanted.Target); err != nil {
			return t.dnsBlocked(err, "it is asked again by itself")
		}
		if view = compare(views, txt); view.wrong == nil {
			return t.confirm(ctx, view)
		}
	}
	return &blocked{step: state.Announced, err: view.wrong,
		remedy: "the provider has taken the record; it is looked for again until every name server shows it"}
}

// push has the provider publish txt. The id in it is in the journal already.
func (t *task) push(ctx context.Context, txt string) error {
	err := t.cfg.DNS.Push(ctx, t.wanted.Target, txt)
	if errors.Is(err, state.ErrManual) {
		return &blocked{step: state.Proven, wait: true, retry: 15 * time.Second,
			err:    err,
			remedy: fmt.Sprintf("enter it, in place of any other v=STSv1 record there: %s. IN TXT %q", t.wanted.Target.Name, txt)}
	}
	if err != nil {
		// Whatever was announced before, this body's record is not.
		return &blocked{step: state.Proven, err: err,
			remedy: "mend what the message names; the policy is served and proven, and the record is pushed as soon as it can be"}
	}
	next := t.row
	next.Step, next.Since = state.Announced, t.cfg.Now()
	if err := t.save(ctx, next); err != nil {
		return err
	}
	t.log.Info("record pushed", "domain", t.wanted.Domain, "step", next.Step, "id", next.ID)
	return nil
}

func (t *task) dnsBlocked(err error, remedy string) *blocked {
	return &blocked{step: t.row.Step, err: err, remedy: remedy}
}

func (t *task) confirm(ctx context.Context, v view) error {
	if t.row.Step != state.Confirmed {
		if v.silent != nil {
			return &blocked{step: state.Announced, err: v.silent,
				remedy: "a name server that does not answer must be mended or taken out of the zone's NS records"}
		}
		if err := t.enter(ctx, state.Confirmed); err != nil {
			return err
		}
		t.log.Info("record confirmed on every authoritative server", "domain", t.wanted.Domain, "step", t.row.Step, "id", t.row.ID)
		return nil
	}
	if v.silent != nil {
		return &blocked{step: state.Confirmed, err: v.silent,
			remedy: "a name server that does not answer must be mended or taken out of the zone's NS records"}
	}
	return nil
}

// view sums up what the authoritative servers show.
type view struct {
	wrong  error // a server shows something else than exactly our record
	silent error // a server could not be asked
}

// compare holds what each server shows against the one record that senders
// must find: with two that begin v=STSv1 they act as if there were none
// (RFC 8461 §3.1).
func compare(views []state.ServerTXT, txt string) view {
	var v view
	if len(views) == 0 {
		v.wrong = errors.New("the zone has no name server to ask")
	}
	for _, s := range views {
		if s.Err != nil {
			v.silent = fmt.Errorf("name server %s: %w", s.Server, s.Err)
			continue
		}
		ours := records(s.TXT)
		switch {
		case len(ours) == 1 && ours[0] == txt:
		case len(ours) == 0:
			v.wrong = fmt.Errorf("name server %s has no MTA-STS record yet", s.Server)
		case len(ours) > 1:
			v.wrong = fmt.Errorf("name server %s has %d MTA-STS records, and senders ignore them all (RFC 8461 §3.1)", s.Server, len(ours))
		default:
			v.wrong = fmt.Errorf("name server %s still shows %q", s.Server, ours[0])
		}
	}
	answered := false
	for _, s := range views {
		answered = answered || s.Err == nil
	}
	if !answered && v.wrong == nil {
		v.wrong = v.silent
	}
	return v
}

// records filters the MTA-STS records among the TXT records at a name.
func records(txts []string) []string {
	var ours []string
	for _, txt := range txts {
		if mtasts.IsRecord(txt) {
			ours = append(ours, txt)
		}
	}
	return ours
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
	return t.save(ctx, next)
}

// stampAfter is now, or a second after the latest of our ids in DNS: a stamp
// has whole seconds, and bodies can change faster than that. An id that is
// more than an hour ahead of the clock says nothing.
func stampAfter(views []state.ServerTXT, now time.Time) time.Time {
	stamp := now
	for _, s := range views {
		for _, txt := range s.TXT {
			rec, err := mtasts.ParseRecord(txt)
			if err != nil {
				continue
			}
			made, ours := mtasts.IDTime(rec.ID)
			if ours && made.Before(now.Add(time.Hour)) && stamp.Before(made.Add(time.Second)) {
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
