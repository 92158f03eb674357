package acme

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// cryEvery is how often it is said that a certificate runs out.
const cryEvery = 24 * time.Hour

// Set makes pairs the ones that are used, all at once, and looks at their files
// now. What was loaded of a pair stays, if its files cannot be used. It is for
// the start and for a reload, which takes a certificate that expires sooner
// than the one in use: the operator asked for it.
func (o *Own) Set(pairs []OwnPair) {
	o.mu.Lock()
	old := make(map[OwnPair]*ownPair, len(o.pairs))
	for _, p := range o.pairs {
		old[p.files] = p
	}
	o.pairs = nil
	for _, files := range pairs {
		p := old[files]
		if p == nil {
			p = &ownPair{files: files}
		}
		o.pairs = append(o.pairs, p)
	}
	o.look(true)
}

// Run looks at the files now and then until ctx ends. It always returns nil.
func (o *Own) Run(ctx context.Context) error {
	ticker := time.NewTicker(o.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.mu.Lock()
			o.look(false)
		case <-ctx.Done():
			return nil
		}
	}
}

// look takes over what has changed and says so. The caller holds o.mu, which
// look gives back before it tells anybody.
func (o *Own) look(deliberate bool) {
	var news []state.Event
	for _, p := range o.pairs {
		news = append(news, p.refresh(o.cfg.Now(), deliberate)...)
	}
	before := o.index.Load()
	after := newOwnIndex(o.pairs)
	o.index.Store(after)
	news = append(news, o.runningOut(after)...)
	o.mu.Unlock()

	for _, e := range news {
		o.say(e)
	}
	if !before.same(after) {
		now := o.cfg.Now()
		o.cfg.OnChange(func(host string) bool { return before.find(host, now) != after.find(host, now) })
	}
}

// refresh loads the pair if its files have changed since.
func (p *ownPair) refresh(now time.Time, deliberate bool) (news []state.Event) {
	data, err := p.files.read()
	sum := data.digest()
	if err == nil && p.cert != nil && p.fault == nil && sum == p.sum {
		return nil
	}
	var next *ownCert
	if err == nil {
		next, err = loadOwn(p.files, data)
	}
	if err == nil {
		err = p.cert.worse(next, now, deliberate)
	}
	if err != nil {
		said := p.fault != nil && p.fault.Error() == err.Error()
		p.fault = err
		if said {
			return nil
		}
		return []state.Event{p.refused()}
	}
	// The files were put back as they were, or written anew with the same.
	same := p.cert != nil && slices.EqualFunc(p.cert.cert.Certificate, next.cert.Certificate, bytes.Equal)
	mended := p.fault != nil
	first := p.cert == nil
	p.sum, p.fault = sum, nil
	if same && !mended {
		return nil
	}
	if !same {
		p.cert, p.cried = next, time.Time{}
	}
	e := state.Event{Kind: state.KindCertificateOwn, Severity: state.SeverityInfo, Evidence: p.cert.evidence()}
	switch {
	case first:
		e.Text = "the own certificate " + p.files.CertFile + " was loaded"
	case same:
		e.Text = "the files of the own certificate " + p.files.CertFile + " are in order again"
	default:
		e.Text = "the own certificate " + p.files.CertFile + " was replaced by another from its files"
	}
	return []state.Event{e}
}

// refused is the event that the files of p as they are cannot be used.
func (p *ownPair) refused() state.Event {
	what, remedy, _ := strings.Cut(p.fault.Error(), "; ")
	e := state.Event{
		Kind: state.KindCertificateOwn, Severity: state.SeverityWarning, Remedy: remedy,
		Text:     "the own certificate " + p.files.CertFile + " cannot be used: " + what,
		Evidence: map[string]string{"cert_file": p.files.CertFile},
	}
	if p.cert != nil {
		e.Text = "the own certificate " + p.files.CertFile + " has changed and cannot be used, so that the one from before stays: " + what
		e.Evidence = p.cert.evidence()
	}
	return e
}

// runningOut tells once a day of certificates that are in use and have expired
// or soon will. The caller holds o.mu.
func (o *Own) runningOut(x *ownIndex) (news []state.Event) {
	now := o.cfg.Now()
	for _, p := range o.pairs {
		c := p.cert
		if c == nil || now.Before(c.runsOut()) || !p.cried.IsZero() && now.Sub(p.cried) < cryEvery || !x.uses(c, now) {
			continue
		}
		p.cried = now
		verb := " expires at "
		if !now.Before(c.notAfter) {
			verb = " expired at "
		}
		news = append(news, state.Event{
			Kind: state.KindCertificateOwn, Severity: state.SeverityCritical,
			Text: c.String() + verb + stamp(c.notAfter), Remedy: state.OwnRemedy, Evidence: c.evidence(),
		})
	}
	return news
}

// uses reports whether c is what is served for one of its names at least.
func (x *ownIndex) uses(c *ownCert, now time.Time) bool {
	for _, name := range c.names {
		if x.find(name, now) == c { // a wildcard finds itself
			return true
		}
	}
	return false
}

// say logs an event and passes it on.
func (o *Own) say(e state.Event) {
	log := o.cfg.Logger.Info
	switch e.Severity {
	case state.SeverityWarning:
		log = o.cfg.Logger.Warn
	case state.SeverityCritical:
		log = o.cfg.Logger.Error
	}
	args := []any{"step", "certificate"}
	for _, key := range []string{"names", "not_after"} {
		if v := e.Evidence[key]; v != "" {
			args = append(args, key, v)
		}
	}
	if e.Remedy != "" {
		args = append(args, "remedy", e.Remedy)
	}
	log(e.Text, args...)
	o.cfg.Event(e)
}
