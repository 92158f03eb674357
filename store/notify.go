package store

import "context"

// NotifyState returns what a target of notifications has been told, as
// PutNotifyState stored it, or state.ErrNotFound.
func (s *Store) NotifyState(ctx context.Context, target string) ([]byte, error) {
	return one(ctx, s, "read what was told to "+target, scanBytes, s.dialect.statements.notifyState, target)
}

// PutNotifyState replaces what a target of notifications has been told.
func (s *Store) PutNotifyState(ctx context.Context, target string, data []byte) error {
	return s.exec(ctx, "store what was told to "+target, s.dialect.statements.putNotifyState, target, data)
}
