package main

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/store"
)

// journalOf is a journal of one domain.
type journalOf struct {
	row    state.Domain
	bodies []state.Body
	err    error // of Bodies
}

func (j journalOf) Domain(_ context.Context, name string) (state.Domain, error) {
	if name != j.row.Name {
		return state.Domain{}, state.ErrNotFound
	}
	return j.row, nil
}

func (j journalOf) Bodies(context.Context, string) ([]state.Body, error) { return j.bodies, j.err }

func TestRemembered(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	row := state.Domain{Name: "a.test", ID: "1", BodySHA256: "ab", Mode: mtasts.ModeTesting}
	bodies := []state.Body{{Mode: mtasts.ModeEnforce, MaxAge: time.Hour, LastServed: now.Add(-time.Minute)}}
	failure := errors.New("disk on fire")
	for name, tt := range map[string]struct {
		journal journal
		domain  string
		want    *state.Served
		err     error
	}{
		"hosted":        {journalOf{row, bodies, nil}, "a.test", &state.Served{ID: "1", SHA256: "ab", Mode: mtasts.ModeTesting, Horizon: now.Add(59 * time.Minute)}, nil},
		"not hosted":    {journalOf{row, bodies, nil}, "b.test", nil, nil},
		"never served":  {journalOf{state.Domain{Name: "a.test"}, nil, nil}, "a.test", nil, nil},
		"ledger broken": {journalOf{row, nil, failure}, "a.test", nil, failure},
	} {
		got, err := remembered(t.Context(), tt.journal, tt.domain, now)
		if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, tt.want, tt.err)
		}
	}
}

// A command finds any domain that the store has; what the config lists does not
// count.
func TestMemoryOfACommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	for _, none := range []string{"", path} {
		remember, shut := openMemory(t.Context(), none)
		if remember != nil {
			t.Errorf("%q: there is a memory before anything has run", none)
		}
		shut()
	}
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveDomain(t.Context(), state.Domain{Name: "a.test", Step: state.Serving, ID: "1", BodySHA256: "ab", Mode: mtasts.ModeTesting}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remember, shut := openMemory(t.Context(), path)
	for range 2 {
		if got, err := remember(t.Context(), "a.test"); err != nil || got == nil || got.ID != "1" || got.SHA256 != "ab" {
			t.Errorf("a.test: %+v, %v", got, err)
		}
		if got, err := remember(t.Context(), "b.test"); err != nil || got != nil {
			t.Errorf("b.test: %+v, %v", got, err)
		}
	}
	shut()
	if _, err := remember(t.Context(), "a.test"); err == nil {
		t.Error("the store is open after the end")
	}
	writeFile(t, path, strings.Repeat("no database ", 100))
	remember, shut = openMemory(t.Context(), path)
	defer shut()
	if _, err := remember(t.Context(), "a.test"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a store that cannot be read: %v", err)
	}
}

// What strangers ask for shows nothing of the store.
func TestOnlyThePrivateExaminerHasTheStore(t *testing.T) {
	public, anywhere, err := new(service).examining(config.Net{})
	if err != nil {
		t.Fatal(err)
	}
	if !public.PublicOnly || public.Remember != nil {
		t.Error("the public examiner goes anywhere, or has the store")
	}
	if anywhere.PublicOnly || anywhere.Remember == nil {
		t.Error("the private examiner goes to the public Internet only, or has no store")
	}
}
