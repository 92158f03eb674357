package store_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDebitOrder(t *testing.T) {
	const window = 3 * time.Hour
	s := open(t, newPath(t))
	start := day(1)
	debit := func(account string, after time.Duration, limit int) (time.Duration, bool) {
		t.Helper()
		retryAt, ok, err := s.DebitOrder(t.Context(), account, start.Add(after), limit, window)
		noError(t, err)
		if retryAt.IsZero() {
			return 0, ok
		}
		return retryAt.Sub(start), ok
	}
	for i, c := range []struct {
		account string
		after   time.Duration
		limit   int
		retry   time.Duration
		ok      bool
	}{
		{"a", 0, 2, 0, true},
		{"a", time.Hour, 2, 0, true},
		{"a", 2 * time.Hour, 2, window, false},
		{"b", 2 * time.Hour, 2, 0, true},                                // another account has its own budget
		{"a", 2 * time.Hour, 1, time.Hour + window, false},              // the limit was lowered
		{"a", window - time.Microsecond, 2, window, false},              // not yet
		{"a", window, 2, 0, true},                                       // now
		{"a", window, 2, time.Hour + window, false},                     // spent again
		{"a", window, 0, 2 * window, false},                             // no orders at all
		{"a", 100 * time.Hour, 1, 0, true},                              // long idle
		{"a", 10 * time.Hour, 1, 10*time.Hour + window, false},          // the clock was set back
		{"a", 10*time.Hour + window, 1, 0, true},                        // and the wait is one window
		{"c", 10 * time.Hour, -1, 10*time.Hour + window, false},         // nonsense allows nothing
		{"a", 10*time.Hour + window, 3, 0, true},                        // the limit was raised
		{"a", 10*time.Hour + window, 2, 10*time.Hour + 2*window, false}, // and is spent
	} {
		retry, ok := debit(c.account, c.after, c.limit)
		if retry != c.retry || ok != c.ok {
			t.Errorf("%d: got %v, %v; want %v, %v", i, retry, ok, c.retry, c.ok)
		}
	}
	if _, _, err := s.DebitOrder(t.Context(), "a", time.Time{}, 1, window); err == nil {
		t.Error("an order without a time was debited")
	}
}

// However orders are asked for, no window ever holds more than the limit, and
// retryAt is the first moment at which the next one is granted.
func TestDebitOrderNeverExceedsTheBudget(t *testing.T) {
	s := open(t, newPath(t))
	account := 0
	rapid.Check(t, func(r *rapid.T) {
		account++
		name := string(rune('a'+account%26)) + time.Duration(account).String()
		limit := rapid.IntRange(1, 4).Draw(r, "limit")
		window := time.Duration(rapid.IntRange(1, 20).Draw(r, "window")) * time.Second
		now := day(1)
		var granted []time.Time
		for range rapid.IntRange(1, 15).Draw(r, "orders") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8).Draw(r, "pause")) * time.Second)
			inWindow := 0
			var room time.Time
			for i := len(granted) - 1; i >= 0 && granted[i].After(now.Add(-window)); i-- {
				if inWindow++; inWindow == limit {
					room = granted[i].Add(window)
				}
			}
			retryAt, ok, err := s.DebitOrder(t.Context(), name, now, limit, window)
			if err != nil {
				r.Fatal(err)
			}
			if ok != (inWindow < limit) || !retryAt.Equal(room) {
				r.Fatalf("with %d of %d in the window: got %v, %v; want room at %v", inWindow, limit, retryAt, ok, room)
			}
			if ok {
				granted = append(granted, now)
			}
		}
	})
}

func TestOrdersSince(t *testing.T) {
	s := open(t, newPath(t))
	for _, at := range []time.Time{day(1), day(2), day(3)} {
		_, ok, err := s.DebitOrder(t.Context(), "a", at, 10, 100*24*time.Hour)
		noError(t, err)
		equal(t, ok, true)
	}
	for since, want := range map[time.Time]int{{}: 3, day(1): 2, day(3).Add(-1000): 1, day(3): 0} {
		equal(t, get[int](t)(s.OrdersSince(t.Context(), "a", since)), want)
	}
	equal(t, get[int](t)(s.OrdersSince(t.Context(), "b", time.Time{})), 0)
}
