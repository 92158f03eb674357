package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// DebitOrder takes one order from the budget of a CA account: limit orders in
// any span of window. If the budget is spent, ok is false and retryAt says when
// there is room again. The caller debits before it sends the order, so that a
// kill in between costs budget and never exceeds it.
func (s *Store) DebitOrder(ctx context.Context, account string, at time.Time, limit int, window time.Duration) (retryAt time.Time, ok bool, err error) {
	what := "debit an order of " + account
	if at.IsZero() || window <= 0 {
		return time.Time{}, false, fmt.Errorf("%s: no time or no window was given", what)
	}
	if limit <= 0 {
		return at.Add(window), false, nil
	}
	sq := s.dialect.statements
	now := fromTime(at)
	err = s.update(ctx, what, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sq.pruneOrders, account, fromTime(at.Add(-window))); err != nil {
			return err
		}
		// Orders dated in the future come from a clock that has been set back
		// since. Counted from now on, they hold up the account for one window
		// at most, and not until that future has come.
		if _, err := tx.ExecContext(ctx, sq.clampOrders, now, account, now); err != nil {
			return err
		}
		var spent int
		if err := tx.QueryRowContext(ctx, sq.countOrders, account).Scan(&spent); err != nil {
			return err
		}
		if spent < limit {
			_, err := tx.ExecContext(ctx, sq.addOrder, account, now)
			retryAt, ok = time.Time{}, err == nil
			return err
		}
		// There is room when so many of the oldest have left the window that
		// limit-1 remain; with a limit that was lowered these are several.
		var oldest int64
		if err := tx.QueryRowContext(ctx, sq.nthOrder, account, spent-limit).Scan(&oldest); err != nil {
			return err
		}
		retryAt, ok = toTime(oldest).Add(window), false
		return nil
	})
	if err != nil {
		return time.Time{}, false, err
	}
	return retryAt, ok, nil
}

// OrdersSince counts the orders of an account that were debited after since.
func (s *Store) OrdersSince(ctx context.Context, account string, since time.Time) (int, error) {
	scan := func(row scanner) (n int, err error) {
		err = row.Scan(&n)
		return n, err
	}
	return one(ctx, s, "count the orders of "+account, scan, s.dialect.statements.ordersSince, account, fromTime(since))
}
