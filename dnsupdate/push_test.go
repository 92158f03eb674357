package dnsupdate_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPush runs the life of a record at every provider: whatever stands at the
// name, after a push there is exactly the one record, and other people's
// records are the very same bytes as before.
func TestPush(t *testing.T) {
	long := `"` + strings.Repeat("k", 255) + `" "` + strings.Repeat("l", 60) + `"`
	cases := []struct {
		name    string
		before  []string // zone-file notation
		foreign []string // what of it is not ours
	}{
		{name: "empty"},
		{name: "stale", before: []string{`"` + stale + `"`}},
		{name: "doubled", before: []string{`"` + stale + `"`, `"` + stale2 + `"`}},
		{name: "doubled-with-right", before: []string{`"` + first + `"`, `"` + stale2 + `"`}},
		{name: "split", before: []string{`"v=STSv1;" " id=split1;"`}},
		{name: "foreign", before: []string{`"site-verification=1"`}, foreign: []string{`"site-verification=1"`}},
		{name: "foreign-and-stale", before: []string{`"site-verification=1"`, `"` + stale + `"`}, foreign: []string{`"site-verification=1"`}},
		{name: "foreign-and-doubled", before: []string{`"` + stale + `"`, `"x"`, `"` + stale2 + `"`, `"y"`}, foreign: []string{`"x"`, `"y"`}},
		{name: "foreign-and-split", before: []string{`"v=STSv1; " "id=split1;"`, `"x"`}, foreign: []string{`"x"`}},
		{name: "foreign-long", before: []string{long, `"` + stale + `"`}, foreign: []string{long}},
		{
			name:    "foreign-strange",
			before:  []string{`"a" "b"`, `"quote \" and \\ slash; semicolon"`, `"\195\164 \009 \000"`, `"` + stale + `"`},
			foreign: []string{`"a" "b"`, `"quote \" and \\ slash; semicolon"`, `"\195\164 \009 \000"`},
		},
	}
	backends(t, func(t *testing.T, b *backend) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				ctx, at := t.Context(), target(c.name)
				for _, rdata := range c.before {
					b.add(t, c.name, rdata)
				}
				holds := func(ours ...string) {
					t.Helper()
					want := slices.Clone(c.foreign)
					for _, txt := range ours {
						want = append(want, `"`+txt+`"`)
					}
					slices.Sort(want)
					if diff := cmp.Diff(want, b.show(t, c.name)); diff != "" {
						t.Fatalf("records at the name (-want +got):\n%s", diff)
					}
				}
				push := func(txt string) {
					t.Helper()
					if err := b.Push(ctx, at, txt); err != nil {
						t.Fatal(err)
					}
					holds(txt)
					b.confirmed(t, at, txt)
					v := b.version(t)
					if err := b.Push(ctx, at, txt); err != nil {
						t.Fatalf("second push: %v", err)
					}
					if b.version(t) != v {
						t.Error("a push of what stands there already was written")
					}
				}
				push(first)
				push(second)
				if err := b.Withdraw(ctx, at); err != nil {
					t.Fatal(err)
				}
				holds()
				b.confirmed(t, at, "")
				v := b.version(t)
				if err := b.Withdraw(ctx, at); err != nil || b.version(t) != v {
					t.Errorf("second removal: %v, version %d, was %d", err, b.version(t), v)
				}
			})
		}
		b.clean(t)
	})
}

// TestPushUnderWildcard shows that an alias which only a wildcard makes appear
// at the name is in nobody's way: the record overrides it.
func TestPushUnderWildcard(t *testing.T) {
	backends(t, func(t *testing.T, b *backend) {
		b.wildcard(t, "www.example.net")
		for _, txt := range []string{first, second} {
			if err := b.Push(t.Context(), target("wild"), txt); err != nil {
				t.Fatal(err)
			}
			b.confirmed(t, target("wild"), txt)
		}
	})
}

// TestPushConcurrently shows that pushes of one name from many goroutines leave
// one record.
func TestPushConcurrently(t *testing.T) {
	backends(t, func(t *testing.T, b *backend) {
		b.add(t, "many", `"x"`)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				if err := b.Push(t.Context(), target("many"), []string{first, second}[i%2]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := b.show(t, "many"); len(got) != 2 {
			t.Errorf("the name holds %q", got)
		}
	})
}
