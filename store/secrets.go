package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/stshost/stshost/internal/state"
)

const secretSize = 32 // bytes

// Secret returns 32 random bytes that only this installation knows. They are
// made when the name is first asked for and never change.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	sq := s.dialect.statements
	// Nearly always it is there, and then a store that cannot be written will do.
	value, err := one(ctx, s, "read the secret "+name, scanBytes, sq.secret, name)
	if err == nil || !errors.Is(err, state.ErrNotFound) {
		return value, err
	}
	fresh := make([]byte, secretSize)
	rand.Read(fresh) // never fails (crypto/rand)
	err = s.update(ctx, "make the secret "+name, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sq.addSecret, name, fresh); err != nil {
			return err
		}
		// Another process may have been first; then its value stands.
		value, err = scanBytes(tx.QueryRowContext(ctx, sq.secret, name))
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}
