package dnsupdate

import (
	"context"
	"fmt"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// openPrint is the provider for zones that the operator edits by hand: it has
// no client, see byHand.
func openPrint(map[string]string, environment) (client, error) { return nil, nil }

// byHand looks whether the operator has done what a client would have done,
// and says what is left to do.
func (u *Updater) byHand(ctx context.Context, target state.Target, want string) error {
	seen, err := u.Observe(ctx, target)
	if err != nil {
		return err
	}
	for _, s := range seen {
		if s.Err != nil {
			return fmt.Errorf("%w; whether it stands is not known: %v", state.ErrManual, s.Err)
		}
		ours := mtasts.Records(s.TXT)
		switch {
		case want == "" && len(ours) > 0:
			return fmt.Errorf("%w: remove the TXT record %q at %s; %s still shows it", state.ErrManual, ours[0], target.Name, s.Server)
		case want != "" && len(ours) == 0:
			return fmt.Errorf("%w: add the TXT record %q at %s; %s has none yet", state.ErrManual, want, target.Name, s.Server)
		case want != "" && (len(ours) > 1 || ours[0] != want):
			return fmt.Errorf("%w: make %q the only v=STSv1 TXT record at %s; %s shows %q", state.ErrManual, want, target.Name, s.Server, ours)
		}
	}
	return nil
}
