package store_test

import (
	"errors"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

func TestNotifyState(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	if _, err := s.NotifyState(t.Context(), "ops"); !errors.Is(err, state.ErrNotFound) {
		t.Fatalf("of nobody: %v", err)
	}
	noError(t, s.PutNotifyState(t.Context(), "ops", []byte("one")))
	noError(t, s.PutNotifyState(t.Context(), "ops", []byte("two")))
	noError(t, s.PutNotifyState(t.Context(), "boss", []byte("three")))
	again := open(t, path)
	for target, want := range map[string]string{"ops": "two", "boss": "three"} {
		got, err := again.NotifyState(t.Context(), target)
		noError(t, err)
		if string(got) != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
