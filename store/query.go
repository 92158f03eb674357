package store

import (
	"context"
	"database/sql"
)

// scanner is a row that a question returned.
type scanner interface{ Scan(dest ...any) error }

// list returns all rows of a question.
func list[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	var all []T
	err := s.view(ctx, what, func(c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// one returns the only row of a question, or state.ErrNotFound.
func one[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	var v T
	err := s.view(ctx, what, func(c *sql.Conn) error {
		var err error
		v, err = scan(c.QueryRowContext(ctx, query, args...))
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// exec makes one change.
func (s *Store) exec(ctx context.Context, what, query string, args ...any) error {
	return s.update(ctx, what, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}
