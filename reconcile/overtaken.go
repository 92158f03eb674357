package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// catchUp finds out, once in the life of this process for each domain, whether
// the journal is older than what was announced: a backup was restored, or the
// machine was set back to a snapshot. Our ids carry the time they were made, so
// a record with a later one than the journal's tells, or, if the body that is
// served has none yet, with one from after that body came (see [knownUntil]).
//
// The journal's id must not be announced again then. Since it was made, other
// bodies may have been served under it, and a sender that holds one of those
// would take it for current (A→B→A). It is dropped, so that [task.chooseID]
// takes up the later one or makes a new one. And a managed domain takes over the
// mode of the policy that was announced last: as a lost store must not lower
// enforce, nor must an old one.
//
// Without an answer from any name server it leaves the question open.
func (t *task) catchUp(ctx context.Context, views []state.ServerTXT) error {
	later, answered := laterID(views, t.d.asOf)
	if !answered {
		return nil
	}
	if later != "" {
		if err := t.takeOver(ctx, later); err != nil {
			return err
		}
	}
	t.d.compared = true
	return nil
}

// knownUntil is the time up to which row knows what was announced. The stamp of an id
// may be ahead of the clock, so that the one of the body before counts until this one
// has its own.
func knownUntil(row state.Domain) time.Time {
	if made, ours := mtasts.IDTime(row.ID); ours {
		return made
	}
	if made, ours := mtasts.IDTime(row.FormerID); ours && made.After(row.Since) {
		return made
	}
	return row.Since
}

// takeOver goes on from the announcement of later, which the journal knows
// nothing of.
func (t *task) takeOver(ctx context.Context, later string) error {
	_, body, err := t.policy(t.wanted, t.row)
	if err == nil && t.wanted.Mode == "" && !mtasts.Announces(later, body) {
		found, err := t.recognise(ctx, later)
		if err != nil {
			return err
		}
		switch {
		case found == nil && t.row.Mode != mtasts.ModeEnforce:
			return &blocked{
				err: fmt.Errorf("%s announces, as %s, a policy that this store knows nothing of, so the store is older than that, and it is not known whether the policy was enforce",
					mtasts.RecordName(t.wanted.Domain), later),
				remedy: `restore a newer backup, or say which mode it was with mode = "enforce" or mode = "testing" for this domain in the config; see first that mx there names every MX host` + t.abandonHint()}
		case found != nil && strictness(found.Mode) < strictness(t.row.Mode):
			return &blocked{
				err: fmt.Errorf("%s announces, as %s, a policy in mode %s that is later than this store, which has it in mode %s",
					mtasts.RecordName(t.wanted.Domain), later, found.Mode, t.row.Mode),
				remedy: fmt.Sprintf(`say which it is with mode = "%s" or mode = "%s" for this domain in the config`, found.Mode, t.row.Mode)}
		case found != nil:
			if err := t.comeFrom(ctx, *found); err != nil {
				return err
			}
		}
	}
	t.log.Warn("DNS announces a later id than the journal knows: an older store was restored, or another stshost looks after this domain",
		"domain", t.wanted.Domain, "id", later, "journalled", t.row.ID)
	next := t.row
	next.ID, next.FormerID = "", later
	return t.save(ctx, next)
}

// comeFrom takes over mode and max_age of a policy that was announced later than
// the journal knows, or, if that says the same, at least that senders may hold it.
func (t *task) comeFrom(ctx context.Context, found mtasts.Policy) error {
	body, err := found.Render()
	if err != nil {
		return err
	}
	further := t.wanted.Stage.Mode == found.Mode && found.MaxAge > t.wanted.Stage.MaxAge && t.wanted.Stage.MaxAge != 0
	if found.Mode != t.row.Mode || further {
		return t.adopt(ctx, found, body)
	}
	now := t.cfg.Now()
	return t.cfg.Journal.AddBody(ctx, state.Body{
		Domain: t.wanted.Domain, SHA256: mtasts.Digest(body), Body: body, Mode: found.Mode, MaxAge: found.MaxAge,
		FirstServed: now, LastServed: now,
	})
}

// strictness orders modes by how much mail they hold up.
func strictness(m mtasts.Mode) int {
	return slices.Index([]mtasts.Mode{mtasts.ModeNone, mtasts.ModeTesting, mtasts.ModeEnforce}, m)
}

// recognise finds the policy that id was made for among those that the domain
// can have had; nil if it is none of them.
func (t *task) recognise(ctx context.Context, id string) (*mtasts.Policy, error) {
	ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
	if err != nil {
		return nil, err
	}
	for _, b := range ledger {
		if p, err := mtasts.ParsePolicy(b.Body); err == nil && mtasts.Announces(id, b.Body) {
			return &p, nil
		}
	}
	mxs := [][]string{t.wanted.MX, nil} // without any: the policy to leave with
	for _, b := range ledger {
		if p, err := mtasts.ParsePolicy(b.Body); err == nil {
			mxs = append(mxs, p.MX)
		}
	}
	for _, mx := range mxs {
		if p := t.ofDigest(id, mx); p != nil {
			return p, nil
		}
	}
	return nil, nil
}

// NoneMaxAge is the max_age with which a domain leaves MTA-STS.
const NoneMaxAge = 24 * time.Hour

// ofDigest finds the policy with these MX names that id was made for, whatever
// its mode and, as far as we can have made it, its max_age; nil if there is none.
func (t *task) ofDigest(id string, mx []string) *mtasts.Policy {
	for _, mode := range []mtasts.Mode{mtasts.ModeEnforce, mtasts.ModeTesting, mtasts.ModeNone} {
		for _, age := range slices.Concat([]time.Duration{t.wanted.MaxAge, NoneMaxAge}, t.wanted.MaxAges) {
			p := mtasts.Policy{Mode: mode, MX: mx, MaxAge: age}
			if body, err := p.Render(); err == nil && mtasts.Announces(id, body) {
				return &p
			}
		}
	}
	return nil
}

// laterID is the latest of our ids that a server shows, if it was made after
// latest; answered says whether any server could be asked.
func laterID(views []state.ServerTXT, latest time.Time) (later string, answered bool) {
	for _, s := range views {
		if s.Err != nil {
			continue
		}
		answered = true
		for _, txt := range s.TXT {
			rec, err := mtasts.ParseRecord(txt)
			if err != nil {
				continue
			}
			if made, ours := mtasts.IDTime(rec.ID); ours && made.After(latest) {
				later, latest = rec.ID, made
			}
		}
	}
	return later, answered
}
