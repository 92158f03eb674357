// Package spread keeps things that came together from staying together: each has
// a part of a span of time of its own, the same each time.
package spread

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Of returns a part of d that depends on key alone, from 0 to d, and is spread
// evenly over keys.
func Of(key string, d time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(key))
	// 53 bits are what a float64 holds.
	return time.Duration(float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53) * float64(d))
}
