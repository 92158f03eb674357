package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// published is what is found of a domain's MTA-STS before its first body here.
type published struct {
	ids    []string // of every record that begins with v=STSv1
	policy *mtasts.Policy
	body   []byte
	err    error // why no policy could be fetched
}

// decideFirst settles, before the first body, in which mode a managed domain
// starts. A policy that is out there already, from an earlier host or from us
// before a store was lost, is adopted with its mode and max_age, for senders
// hold it in their caches and a lost store must never lower a live enforce.
// Else the domain starts in testing.
//
// The look-up is repeated for as long as the policy host leads elsewhere, so
// that the last state of the earlier host counts.
func (t *task) decideFirst(ctx context.Context) error {
	found, err := t.lookUp(ctx)
	if err != nil {
		return &blocked{step: state.WaitingDNS,
			err:    fmt.Errorf("cannot look up %s: %w", mtasts.RecordName(t.wanted.Domain), err),
			remedy: "see that the resolver answers; until then it is unknown whether a policy is already announced"}
	}
	switch {
	case found.policy != nil && len(found.ids) > 0:
		return t.adopt(ctx, *found.policy, found.body)
	case t.wanted.Mode != "":
		return nil // pinned
	case t.row.Adopted:
		if last, err := t.lastSeen(ctx); err != nil || !announcedAfter(found.ids, last) {
			return err // adopted by an earlier look
		}
		// An older store was restored: what it adopted was not the last policy.
	}
	if len(found.ids) > 0 {
		return t.adoptByDigest(ctx, found)
	}
	// No record: senders see no MTA-STS here, and the domain starts in
	// testing. That is journalled with the body and not before, so that a
	// record that appears until then still counts.
	return nil
}

// lastSeen is when a policy of the domain was last seen out there, or served, as
// far as the ledger knows.
func (t *task) lastSeen(ctx context.Context) (time.Time, error) {
	ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, b := range ledger {
		if b.LastServed.After(last) {
			last = b.LastServed
		}
	}
	return last, nil
}

// announcedAfter reports whether one of ids is of our making and later than since.
func announcedAfter(ids []string, since time.Time) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		made, ours := mtasts.IDTime(id)
		return ours && made.After(since)
	})
}

// lookUp asks for record and policy as they stand. An error means that it
// cannot be known whether there is a record.
func (t *task) lookUp(ctx context.Context) (published, error) {
	txts, err := t.cfg.World.Record(ctx, t.wanted.Domain)
	if err != nil {
		return published{}, err
	}
	var found published
	for _, txt := range mtasts.Records(txts) {
		id := "" // a record that cannot be read still says that MTA-STS was meant
		if rec, err := mtasts.ParseRecord(txt); err == nil {
			id = rec.ID
		}
		found.ids = append(found.ids, id)
	}
	if len(found.ids) == 0 {
		return found, nil
	}
	fetches, err := t.cfg.World.FetchPolicy(ctx, t.wanted.Domain)
	if err != nil {
		found.err = err
		return found, nil
	}
	found.err = errors.New("no address of the policy host could be tried")
	for _, f := range fetches {
		if f.Skipped != "" {
			continue
		}
		if f.Err != nil {
			found.err = f.Err
			continue
		}
		p, err := mtasts.ParsePolicy(f.Body)
		if err != nil {
			found.err = err
			continue
		}
		found.policy, found.body = &p, f.Body
		break
	}
	return found, nil
}

// adopt takes over a policy that is published now, and enters it in the
// ledger: senders may hold it from now on for its max_age.
func (t *task) adopt(ctx context.Context, p mtasts.Policy, body []byte) error {
	digest := mtasts.Digest(body)
	now := t.cfg.Now()
	if err := t.cfg.Journal.AddBody(ctx, state.Body{
		Domain: t.wanted.Domain, SHA256: digest, Body: body, Mode: p.Mode, MaxAge: p.MaxAge,
		FirstServed: now, LastServed: now, Adopted: true,
	}); err != nil {
		return err
	}
	next := t.row
	next.Mode, next.MaxAge, next.ConfigMaxAge, next.Adopted = p.Mode, p.MaxAge, t.wanted.MaxAge, true
	news := next != t.row || t.row.BodySHA256 != "" || t.wanted.Stage.Mode != p.Mode
	if news && t.wanted.Stage.Mode != "" {
		if err := t.cfg.Adopted(ctx, t.wanted.Domain, p); err != nil {
			return err
		}
		if !t.wanted.Left { // else it leaves all the same
			t.wanted.Stage = Stage{Mode: p.Mode, MaxAge: p.MaxAge}
		}
	}
	if next != t.row {
		t.log.Info("found a published policy and adopted it", "domain", t.wanted.Domain,
			"mode", p.Mode, "max_age", p.MaxAge)
	}
	return t.save(ctx, next)
}

// adoptByDigest handles a record whose policy cannot be fetched. If its id is
// of our making it names the body it announced (the store was lost, and the
// host that should answer is this one): the mode and max_age are those whose
// body has that digest. Of another's making it tells nothing, and the domain
// starts in testing.
func (t *task) adoptByDigest(ctx context.Context, found published) error {
	var ours bool
	for _, id := range found.ids {
		if _, ok := mtasts.IDTime(id); !ok {
			continue
		}
		ours = true
		p, err := t.recognise(ctx, id)
		if err != nil {
			return err
		}
		if p != nil {
			body, err := p.Render()
			if err != nil {
				return err
			}
			return t.adopt(ctx, *p, body)
		}
	}
	if ours {
		return &blocked{
			err: fmt.Errorf("%s announces a policy that an earlier stshost served, and it is not known whether that was enforce (fetching it: %w)",
				mtasts.RecordName(t.wanted.Domain), found.err),
			remedy: `restore the store, or say which mode it was with mode = "enforce" or mode = "testing" for this domain in the config; see first that mx there names every MX host`}
	}
	t.unseen = found.err
	return nil
}
