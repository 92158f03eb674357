package store

import (
	"encoding/json"
	"time"
)

// fromTime is how a time is stored: microseconds since 1970 in UTC, 0 for the
// zero time. Integers sort as times do in every database, and 0 sorts before
// all of them, which NULL does not do everywhere.
func fromTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func toTime(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// fromSeconds is how a duration is stored.
func fromSeconds(d time.Duration) int64 { return int64(d / time.Second) }

func toSeconds(v int64) time.Duration { return time.Duration(v) * time.Second }

// fromBool is how a truth value is stored; SQLite has no type for it.
func fromBool(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// toJSON is how a value is stored that has no columns of its own: "" for none.
func toJSON(v any, none bool) (string, error) {
	if none {
		return "", nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// readJSON reads into v what toJSON made; none leaves v as it is.
func readJSON(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}
