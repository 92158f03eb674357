package dnsupdate

import (
	"fmt"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// openPrint is the provider for zones that the operator edits by hand: it has
// no client, see byHand.
func openPrint(map[string]string, environment) (client, error) { return nil, nil }

// ManualError says what the operator has to do in the DNS. It wraps
// state.ErrManual.
type ManualError struct {
	Name string // where the record stands, without trailing dot: the end of a CNAME, if there is one
	TXT  string // the record that is to stand there, alone of its kind; "" if none is to
	text string
}

func (e *ManualError) Error() string { return e.text }

// Unwrap makes it a state.ErrManual.
func (e *ManualError) Unwrap() error { return state.ErrManual }

// Remedy says what to enter, and where.
func (e *ManualError) Remedy() string {
	if e.TXT == "" {
		return fmt.Sprintf("remove every v=STSv1 TXT record at %s", e.Name)
	}
	return fmt.Sprintf("enter it, in place of any other v=STSv1 record there: %s. IN TXT %q", e.Name, e.TXT)
}

// byHand says what is left to do for the operator until the name servers show
// what a client would have made them show.
func (r *route) byHand(want string) error {
	name := trimDot(r.name)
	manual := func(format string, args ...any) error {
		text := state.ErrManual.Error()
		if r.aliased() {
			text = r.chain() + ", and " + text
		}
		return &ManualError{Name: name, TXT: want, text: text + fmt.Sprintf(format, args...)}
	}
	for _, s := range r.views {
		if s.Err != nil {
			return manual("; whether it stands is not known: %v", s.Err)
		}
		ours := mtasts.Records(s.TXT)
		switch {
		case want == "" && len(ours) > 0:
			return manual(": remove the TXT record %q at %s; %s still shows it", ours[0], name, s.Server)
		case want != "" && len(ours) == 0:
			return manual(": add the TXT record %q at %s; %s has none yet", want, name, s.Server)
		case want != "" && (len(ours) > 1 || ours[0] != want):
			return manual(": make %q the only v=STSv1 TXT record at %s; %s shows %s", want, name, s.Server, listed(ours))
		}
	}
	return nil
}
