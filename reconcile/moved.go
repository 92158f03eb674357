package reconcile

import (
	"fmt"
	"slices"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Placer is a DNS that follows CNAMEs (RFC 8461 §8.2). One that does not needs
// not be it.
type Placer interface {
	// RecordPlace returns the name at which the record of a target stands, as
	// was last seen; the error says why none is written there.
	RecordPlace(t state.Target) (string, error)
}

// notePlace notes where the record stands by what was seen just now, and tells
// if that is elsewhere than before. A record that is missing there is nobody's
// tampering.
func (t *task) notePlace(views []state.ServerTXT) {
	p, ok := t.cfg.DNS.(Placer)
	if !ok || !slices.ContainsFunc(views, func(v state.ServerTXT) bool { return v.Err == nil }) {
		return
	}
	place, _ := p.RecordPlace(t.wanted.Target) // why nothing may be written there, Push says
	before := t.d.place
	t.d.place = place
	if before == "" || before == place {
		return
	}
	t.d.moved = true
	t.tellMoved(before, place)
}

// tellMoved says that the CNAME at the record's name leads elsewhere.
func (t *task) tellMoved(before, place string) {
	name := mtasts.RecordName(t.wanted.Domain)
	e := state.Event{
		Kind: state.KindRecordMoved, Severity: state.SeverityWarning, Domain: t.wanted.Domain,
		Evidence: evidence(t.row, "from", before, "to", place),
	}
	left := fmt.Sprintf("if that was intended, remove the v=STSv1 TXT record at %s; if not, set the CNAME right", before)
	switch {
	case before == name:
		e.Text = fmt.Sprintf("%s is a CNAME to %s now; the record is kept there from now on", name, place)
		e.Severity = state.SeverityInfo
	case place == name:
		e.Text = fmt.Sprintf("%s is no CNAME to %s any more; the record is kept at the name itself from now on, and the one at %s stays until it is removed by hand", name, before, before)
		e.Remedy = left
	default:
		e.Text = fmt.Sprintf("the CNAME at %s leads to %s now, and no longer to %s; the record is kept there from now on, and the one at %s stays until it is removed by hand", name, place, before, before)
		e.Remedy = left
	}
	t.tell(e)
}
