package spread

import (
	"fmt"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	const parts, each = 10, 1000
	var count [parts]int
	for i := range parts * each {
		key := fmt.Sprintf("mta-sts.example%d.test", i)
		at := Of(key, time.Hour)
		if at < 0 || at >= time.Hour || at != Of(key, time.Hour) {
			t.Fatalf("%s has %v, then %v", key, at, Of(key, time.Hour))
		}
		count[at*parts/time.Hour]++
	}
	for i, n := range count {
		if n < each*8/10 || n > each*12/10 {
			t.Errorf("part %d has %d of %d keys", i, n, parts*each)
		}
	}
	if Of("x", 0) != 0 {
		t.Error("a part of nothing")
	}
}
