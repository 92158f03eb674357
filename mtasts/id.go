package mtasts

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// The ids that we make are 32 characters: a time stamp and the beginning of
// the digest of the body that they announce. The digest tells, from the DNS
// alone, whether a record announces the body that is served. The time stamp
// tells two announcements of one body apart: after body A, B, and A again,
// senders that hold B must see a new id (RFC 8461 §3.1).
const (
	idTimeLayout = "20060102T150405Z"
	idDigestLen  = 16 // hex digits
	maxID        = 32 // RFC 8461 §3.1, sts-id
)

// NewID returns the id that announces body from now on. The year of now must
// have four digits.
func NewID(now time.Time, body []byte) string {
	return now.UTC().Format(idTimeLayout) + Digest(body)[:idDigestLen]
}

// Announces reports whether id was made by NewID for body, at any time. It is
// false for ids that others made.
func Announces(id string, body []byte) bool {
	_, ours := IDTime(id)
	return ours && id[len(idTimeLayout):] == Digest(body)[:idDigestLen]
}

// IDTime returns the time at which NewID made id, in whole seconds, and
// whether NewID made it at all.
func IDTime(id string) (time.Time, bool) {
	if len(id) != len(idTimeLayout)+idDigestLen {
		return time.Time{}, false
	}
	stamp, digest := id[:len(idTimeLayout)], id[len(idTimeLayout):]
	t, err := time.Parse(idTimeLayout, stamp)
	// time.Parse takes more forms than Format writes.
	if err != nil || t.Format(idTimeLayout) != stamp {
		return time.Time{}, false
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return time.Time{}, false
		}
	}
	return t, true
}

// ValidID reports whether id is 1 to 32 letters or digits of ASCII (RFC 8461
// §3.1, sts-id).
func ValidID(id string) bool {
	for i := range len(id) {
		if !isAlphanum(id[i]) {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}

// Digest returns the SHA-256 of body in lower-case hex.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
