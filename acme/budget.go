package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// Budget is what is left of the orders that may be sent to a CA.
type Budget struct {
	Directory string
	Limit     int // orders in any 3 hours
	Left      int
}

// Budgets returns the budget of each CA, in the order of the config. It asks
// the store, not the CA.
func (i *Issuer) Budgets(ctx context.Context) ([]Budget, error) {
	var all []Budget
	for _, c := range i.cas {
		b := Budget{Directory: c.Directory, Limit: c.OrdersPer3Hours, Left: c.OrdersPer3Hours}
		data, err := i.store.ACMEData(ctx, accountKey(c.Directory))
		var acct storedAccount
		if err == nil {
			err = json.Unmarshal(data, &acct)
		}
		switch {
		case errors.Is(err, state.ErrNotFound): // nothing was ever ordered there
		case err != nil:
			return nil, fmt.Errorf("acme: budget at %s: %w", c.Directory, err)
		default:
			spent, err := i.store.OrdersSince(ctx, acct.KID, i.now().Add(-orderWindow))
			if err != nil {
				return nil, fmt.Errorf("acme: budget at %s: %w", c.Directory, err)
			}
			b.Left = max(0, b.Limit-spent)
		}
		all = append(all, b)
	}
	return all, nil
}
