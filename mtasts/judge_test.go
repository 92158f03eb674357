package mtasts_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	judge "github.com/foxcpp/go-mtasts"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/stshost/stshost/mtasts"
)

// An independent reader, go-mtasts, accepts every policy and record that this
// package writes, and takes them to mean the same.
func TestJudgeAcceptsAllThatIsRendered(t *testing.T) {
	host := &policyHost{}
	standInForTheWeb(t, host)

	rapid.Check(t, func(t *rapid.T) {
		policy := policies().Draw(t, "policy")
		body, err := policy.Render()
		if err != nil {
			t.Fatalf("Render(%+v): %v", policy, err)
		}
		now := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "now"), 0)
		record := mtasts.Record{ID: mtasts.NewID(now, body)}

		host.body = body
		cache := judge.NewNopCache()
		cache.Resolver = txtResolver{"_mta-sts.example.com": {record.String()}}
		got, err := cache.Get(context.Background(), "example.com")
		if err != nil {
			t.Fatalf("the judge refuses %q, announced by %q: %v", body, record, err)
		}
		want := &judge.Policy{
			Mode:   judge.Mode(policy.Mode),
			MX:     policy.MX,
			MaxAge: int(policy.MaxAge / time.Second),
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the judge reads %q otherwise (-want +got):\n%s", body, diff)
		}
		for _, mx := range hostsNear(policy) {
			if policy.Covers(mx) != got.Match(mx) {
				t.Errorf("%q with mx %q: Covers %v, the judge says %v", mx, policy.MX, policy.Covers(mx), got.Match(mx))
			}
		}
	})
}

// The judge is no rubber stamp: it refuses a record that is not there and a
// policy that is none.
func TestJudgeRefuses(t *testing.T) {
	host := &policyHost{body: []byte(policyWith())}
	standInForTheWeb(t, host)

	cache := judge.NewNopCache()
	cache.Resolver = txtResolver{}
	if _, err := cache.Get(context.Background(), "example.com"); err == nil {
		t.Error("the judge found a policy without a record")
	}
	cache.Resolver = txtResolver{"_mta-sts.example.com": {"v=STSv1; id=a;"}}
	if _, err := cache.Get(context.Background(), "example.com"); err != nil {
		t.Errorf("the judge refuses a good policy: %v", err)
	}
	host.body = []byte("mode: enforce\r\n")
	if _, err := cache.Get(context.Background(), "example.com"); err == nil {
		t.Error("the judge took a policy without version")
	}
}

// policies generates valid policies.
func policies() *rapid.Generator[mtasts.Policy] {
	return rapid.Custom(func(t *rapid.T) mtasts.Policy {
		policy := mtasts.Policy{
			Mode:   rapid.SampledFrom([]mtasts.Mode{mtasts.ModeEnforce, mtasts.ModeTesting, mtasts.ModeNone}).Draw(t, "mode"),
			MaxAge: time.Duration(rapid.Int64Range(0, int64(mtasts.MaxMaxAge/time.Second)).Draw(t, "max_age")) * time.Second,
		}
		atLeast := 1
		if policy.Mode == mtasts.ModeNone {
			atLeast = 0
		}
		policy.MX = rapid.SliceOfN(patterns(), atLeast, 12).Draw(t, "mx")
		return policy
	})
}

// patterns generates canonical MX patterns from what an operator may write.
func patterns() *rapid.Generator[string] {
	label := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`),
		rapid.SampledFrom([]string{"mx", "1", "bücher", "ΒΌΛΟΣ", "例え", "пример", "xn--bcher-kva"}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		written := strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") + ".example"
		if rapid.Bool().Draw(t, "wildcard") {
			written = "*." + written
		}
		pattern, err := mtasts.ParsePattern(written)
		if err != nil {
			t.Skip(err) // names that IDNA refuses, such as xn--a
		}
		return pattern
	})
}

// hostsNear returns names of hosts that p covers, and of their neighbours.
func hostsNear(p mtasts.Policy) []string {
	hosts := []string{"mx.example.com", "example"}
	for _, pattern := range p.MX {
		host := strings.TrimPrefix(pattern, "*.")
		hosts = append(hosts, host, "mx."+host, "a.b."+host)
	}
	// The judge measures the first label of an A-label name and then cuts the
	// U-label name there, so that no wildcard matches where the two differ.
	return slices.DeleteFunc(hosts, func(host string) bool { return strings.HasPrefix(host, "xn--") })
}

// txtResolver answers TXT queries from a table.
type txtResolver map[string][]string

func (r txtResolver) LookupTXT(_ context.Context, name string) ([]string, error) {
	return r[name], nil
}

// policyHost is the web as the judge sees it: one policy at its only URL.
type policyHost struct{ body []byte }

func (h *policyHost) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		Body:       io.NopCloser(bytes.NewReader(h.body)),
		Request:    req,
	}
	if req.URL.String() != mtasts.PolicyURL("example.com") {
		resp.StatusCode = http.StatusNotFound
	}
	return resp, nil
}

// standInForTheWeb sends the judge's requests to host: it has no other
// opening for that than the default transport of net/http.
func standInForTheWeb(t *testing.T, host *policyHost) {
	standard := http.DefaultTransport
	http.DefaultTransport = host
	t.Cleanup(func() { http.DefaultTransport = standard })
}
