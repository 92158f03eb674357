package dispatch_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/dispatch"
)

type thing struct{ due, place int }

func (t *thing) Before(o *thing) bool { return t.due < o.due }
func (t *thing) Place() *int          { return &t.place }

// Whatever is put in, moved and taken out again: the first comes first, and each
// knows whether it is there.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q dispatch.Queue[*thing]
		things := make([]*thing, 8)
		for i := range things {
			things[i] = &thing{place: -1}
		}
		in := make(map[*thing]bool)
		for range rapid.IntRange(0, 50).Draw(t, "steps") {
			x := rapid.SampledFrom(things).Draw(t, "thing")
			switch rapid.SampledFrom([]string{"put", "put", "remove", "next"}).Draw(t, "step") {
			case "put":
				x.due = rapid.IntRange(0, 5).Draw(t, "due")
				q.Put(x)
				in[x] = true
			case "remove":
				q.Remove(x)
				delete(in, x)
			case "next":
				if len(q) == 0 {
					continue
				}
				first := q.Next()
				for o := range in {
					if o.due < first.due {
						t.Fatalf("%d came before %d", first.due, o.due)
					}
				}
				delete(in, first)
			}
			for _, x := range things {
				if in[x] != (x.place >= 0) || in[x] != slices.Contains(q, x) {
					t.Fatalf("%+v is queued: %t", x, in[x])
				}
			}
		}
	})
}
