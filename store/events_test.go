package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

func event(n int, kind string, severity state.Severity, domain string) state.Event {
	return state.Event{Time: day(n), Kind: kind, Severity: severity, Domain: domain, Text: fmt.Sprintf("event of day %d", n)}
}

func TestEventsComeBackWhole(t *testing.T) {
	s := open(t, newPath(t))
	full := state.Event{
		Time: day(1), Kind: state.KindDomainBlocked, Severity: state.SeverityCritical,
		Domain: "example.com", Host: "mta-sts.example.com", Text: "a sender cannot fetch it", Remedy: "mend it",
		Evidence: map[string]string{"id": "20250101T000000Z", "odd": "\"\n\x00ü"},
	}
	ids := get[[]int64](t)(s.AddEvents(t.Context(), []state.Event{full, event(2, state.KindServerStarted, state.SeverityInfo, "")}))
	equal(t, ids, []int64{1, 2})
	full.ID = 1
	bare := event(2, state.KindServerStarted, state.SeverityInfo, "")
	bare.ID = 2
	equal(t, get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{})), []state.Event{full, bare})

	equal(t, get[[]int64](t)(s.AddEvents(t.Context(), nil)), []int64(nil))
	for _, bad := range []state.Event{{Kind: "a", Severity: state.SeverityInfo}, {Kind: "a", Time: day(1)}, {Severity: state.SeverityInfo, Time: day(1)}} {
		if _, err := s.AddEvents(t.Context(), []state.Event{event(3, "ok", state.SeverityInfo, ""), bad}); err == nil {
			t.Errorf("%+v was stored", bad)
		}
	}
	equal(t, len(get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{}))), 2) // all or none
}

func TestEventsAreChosen(t *testing.T) {
	s := open(t, newPath(t))
	const info, warning, critical = state.SeverityInfo, state.SeverityWarning, state.SeverityCritical
	all := []state.Event{
		event(1, "domain.step", info, "a.example"),
		event(2, "domain.blocked", warning, "a.example"),
		event(3, "domain.blocked", critical, "b.example"),
		event(4, "domain.step", info, "b.example"),
		event(3, "domain.recovered", info, "a.example"), // the clock was set back
		event(5, "server.started", info, ""),
	}
	all[3].Host = "mta-sts.b.example"
	get[[]int64](t)(s.AddEvents(t.Context(), all))
	for name, c := range map[string]struct {
		q    state.EventQuery
		want []int64
	}{
		"all":                  {state.EventQuery{}, []int64{1, 2, 3, 4, 5, 6}},
		"the oldest":           {state.EventQuery{Limit: 2}, []int64{1, 2}},
		"the newest":           {state.EventQuery{Limit: 2, Newest: true}, []int64{5, 6}},
		"after":                {state.EventQuery{After: 4}, []int64{5, 6}},
		"after the last":       {state.EventQuery{After: 6}, nil},
		"domain":               {state.EventQuery{Domain: "a.example"}, []int64{1, 2, 5}},
		"unknown domain":       {state.EventQuery{Domain: "x.example"}, nil},
		"newest of domain":     {state.EventQuery{Domain: "a.example", Limit: 1, Newest: true}, []int64{5}},
		"host":                 {state.EventQuery{Host: "mta-sts.b.example"}, []int64{4}},
		"kind":                 {state.EventQuery{Kind: "domain.blocked"}, []int64{2, 3}},
		"domain and kind":      {state.EventQuery{Domain: "b.example", Kind: "domain.blocked"}, []int64{3}},
		"info":                 {state.EventQuery{MinSeverity: info}, []int64{1, 2, 3, 4, 5, 6}},
		"warning":              {state.EventQuery{MinSeverity: warning}, []int64{2, 3}},
		"critical":             {state.EventQuery{MinSeverity: critical}, []int64{3}},
		"critical of domain":   {state.EventQuery{Domain: "a.example", MinSeverity: critical}, nil},
		"since":                {state.EventQuery{Since: day(4)}, []int64{4, 6}},
		"since, clock back":    {state.EventQuery{Since: day(3)}, []int64{3, 4, 5, 6}},
		"since, domain":        {state.EventQuery{Domain: "a.example", Since: day(2).Add(time.Second)}, []int64{5}},
		"since, after, newest": {state.EventQuery{Since: day(2), After: 2, Limit: 2, Newest: true}, []int64{5, 6}},
		"since tomorrow":       {state.EventQuery{Since: day(6)}, nil},
		"all at once":          {state.EventQuery{Domain: "b.example", Host: "mta-sts.b.example", Kind: "domain.step", Since: day(1), After: 1, MinSeverity: info}, []int64{4}},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []int64
			for _, e := range get[[]state.Event](t)(s.Events(t.Context(), c.q)) {
				ids = append(ids, e.ID)
			}
			equal(t, ids, c.want)
		})
	}
	if _, err := s.Events(t.Context(), state.EventQuery{MinSeverity: "loud"}); err == nil {
		t.Error("a severity that is none was taken")
	}
	var many []state.Event
	for range 300 {
		many = append(many, event(6, "domain.step", info, "c.example"))
	}
	get[[]int64](t)(s.AddEvents(t.Context(), many))
	equal(t, len(get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Domain: "c.example"}))), state.DefaultEvents)
}

// Whatever is asked, rows that are not in the answer are left unread as far as
// an index can tell, and nothing is sorted.
func TestEventsAreFoundWithoutAScan(t *testing.T) {
	path := newPath(t)
	open(t, path)
	db := raw(t, path)
	plan := func(query string, args ...any) string {
		rows := get[*sql.Rows](t)(db.Query("EXPLAIN QUERY PLAN "+query, args[:min(len(args), strings.Count(query, "?"))]...))
		defer rows.Close()
		var steps []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			noError(t, rows.Scan(&id, &parent, &unused, &detail))
			steps = append(steps, detail)
		}
		noError(t, rows.Err())
		return strings.Join(steps, "\n")
	}
	for _, newest := range []bool{false, true} {
		for want, q := range map[string]state.EventQuery{
			"INTEGER PRIMARY KEY (rowid>?)":   {Since: day(1)},
			"events_domain (domain=? AND row": {Domain: "a.example", Kind: "domain.step", MinSeverity: state.SeverityCritical, Since: day(1)},
			"events_host (host=? AND row":     {Host: "a.example"},
			"events_kind (kind=? AND row":     {Kind: "a", MinSeverity: state.SeverityWarning},
			"events_notable (id>?)":           {MinSeverity: state.SeverityCritical},
		} {
			q.Newest, q.After = newest, 5
			query, args := store.EventQuestion(q)
			if got := plan(query, args...); !strings.Contains(got, want) || strings.Contains(got, "SCAN") || strings.Contains(got, "TEMP B-TREE") {
				t.Errorf("%+v: %s", q, got)
			}
		}
	}
	for name, query := range store.EventStatements() {
		got := plan(query, 1, 1)
		if strings.Contains(got, "SCAN") || strings.Contains(got, "TEMP B-TREE") {
			// Without a condition SQLite says SCAN for max(id), too, of which it
			// reads one entry.
			if name != "newest" {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

func TestPruneEvents(t *testing.T) {
	s := open(t, newPath(t))
	var all []state.Event
	for i := range 5000 {
		all = append(all, event(1+i/1000, "domain.step", state.SeverityInfo, fmt.Sprintf("d%d.example", i%7)))
	}
	ids := get[[]int64](t)(s.AddEvents(t.Context(), all))
	left := func() int {
		return len(get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Limit: 10_000})))
	}
	equal(t, get[int64](t)(s.PruneEvents(t.Context(), time.Time{}, 0)), int64(0))
	equal(t, get[int64](t)(s.PruneEvents(t.Context(), day(1), 5000)), int64(0))
	equal(t, get[int64](t)(s.PruneEvents(t.Context(), day(4), 0)), int64(3000)) // more than go at a time
	equal(t, left(), 2000)
	equal(t, get[int64](t)(s.PruneEvents(t.Context(), time.Time{}, 1500)), int64(500))
	equal(t, left(), 1500)

	// An id never comes twice, even when no event is left.
	equal(t, get[int64](t)(s.PruneEvents(t.Context(), day(30), 0)), int64(1500))
	next := get[[]int64](t)(s.AddEvents(t.Context(), all[:1]))
	equal(t, next[0], ids[len(ids)-1]+1)
}

// eventWriterEnv makes TestMain a process that adds events to the store it names.
const eventWriterEnv = "STSHOST_TEST_EVENT_WRITER"

// addUntilKilled adds events in batches and reports the last id of each.
func addUntilKilled(path string) {
	s, err := store.Open(context.Background(), path)
	for err == nil {
		var ids []int64
		batch := []state.Event{event(1, "a", state.SeverityInfo, ""), event(1, "b", state.SeverityInfo, ""), event(1, "c", state.SeverityInfo, "")}
		if ids, err = s.AddEvents(context.Background(), batch); err == nil {
			fmt.Println(ids[len(ids)-1])
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWriterLosesNoEventItReported(t *testing.T) {
	path := newPath(t)
	for range 3 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), eventWriterEnv+"="+path)
		writer.Stderr = os.Stderr
		out, err := writer.StdoutPipe()
		noError(t, err)
		noError(t, writer.Start())
		last := 0
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			last = get[int](t)(strconv.Atoi(lines.Text()))
			if n == 30 {
				noError(t, writer.Process.Kill()) // SIGKILL; what it reported until then is still read
			}
		}
		_ = writer.Wait()

		s := open(t, path)
		all := get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Limit: 1_000_000}))
		if len(all) < last || len(all)%3 != 0 {
			t.Errorf("event %d was reported, %d are there; a batch has 3", last, len(all))
		}
		for i, e := range all {
			equal(t, e.ID, int64(i+1))
		}
		noError(t, s.Close())
	}
}
