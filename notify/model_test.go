package notify

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
)

// Whatever happens in whatever order, with a service that fails and a process
// that crashes: what is owed is told once, nothing else is, quiet hours are
// quiet, and the limit holds.
func TestBookModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBookModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"event":   m.event,
			"wait":    func(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second) },
			"long":    func(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(1, 30).Draw(t, "hours")) * time.Hour) },
			"service": func(*rapid.T) { m.up = !m.up },
			"crash":   func(*rapid.T) { m.crash() },
			"":        func(*rapid.T) {},
		})
		m.settle()
	})
}

// bookModel is a book in the hands of a worker, and beside it what an observer
// makes of the same events.
type bookModel struct {
	t     *rapid.T
	now   time.Time
	rules rules
	min   state.Severity
	up    bool // the service takes messages

	book   *book
	stored []byte
	saveAt time.Time
	events []state.Event

	open     map[string]*observed // by key: troubles that are not over
	late     map[string]bool      // keys of troubles that ended before they were told
	aged     map[string]bool      // keys of troubles that were told, and came again a day later
	overs    map[string]bool      // subjects whose recovery may be told; true: is owed
	messages []time.Time
}

type observed struct {
	kind, subject string
	told          time.Time // zero: not yet
}

const modelRepeat = 24 * time.Hour

func newBookModel(t *rapid.T) *bookModel {
	m := &bookModel{
		t: t, now: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), up: true,
		min:  rapid.SampledFrom([]state.Severity{state.SeverityWarning, state.SeverityCritical}).Draw(t, "min"),
		open: make(map[string]*observed), late: make(map[string]bool), aged: make(map[string]bool), overs: make(map[string]bool),
	}
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	m.rules = rules{window: 30 * time.Second, perHour: rapid.IntRange(1, 5).Draw(t, "per hour")}
	if rapid.Bool().Draw(t, "quiet hours") {
		m.rules.quiet = quietHours{from: 22 * time.Hour, to: 7 * time.Hour, loc: loc}
	}
	if m.book, err = openBook(nil, m.now); err != nil {
		t.Fatal(err)
	}
	m.save()
	return m
}

func (m *bookModel) save() {
	var err error
	if m.stored, err = m.book.bytes(); err != nil {
		m.t.Fatal(err)
	}
	m.saveAt = m.now.Add(saveEvery)
}

// crash has the next process go on from what is stored.
func (m *bookModel) crash() {
	var err error
	if m.book, err = openBook(m.stored, m.now); err != nil {
		m.t.Fatal(err)
	}
	for _, e := range m.events {
		m.book.take(e, m.now, m.min, modelRepeat)
	}
	m.work()
}

func (m *bookModel) event(t *rapid.T) {
	e := rapid.SampledFrom([]state.Event{
		{Kind: state.KindDomainBlocked, Severity: state.SeverityWarning, Text: "one reason"},
		{Kind: state.KindDomainBlocked, Severity: state.SeverityCritical, Text: "one reason"},
		{Kind: state.KindDomainBlocked, Severity: state.SeverityCritical, Text: "another reason"},
		{Kind: state.KindCertificateFailed, Severity: state.SeverityWarning, Text: "no"},
		{Kind: state.KindRecordRepaired, Severity: state.SeverityWarning, Text: "it was gone"},
		{Kind: state.KindDomainRecovered, Severity: state.SeverityInfo, Text: "well"},
		{Kind: state.KindCertificateIssued, Severity: state.SeverityInfo, Text: "issued"},
		{Kind: state.KindDomainLeft, Severity: state.SeverityInfo, Text: "left"},
	}).Draw(t, "event")
	e.Domain = rapid.SampledFrom([]string{"a.test", "b.test", "c.test"}).Draw(t, "domain")
	e.ID, e.Time = int64(len(m.events)+1), m.now
	m.events = append(m.events, e)
	m.observe(e)
	m.book.take(e, m.now, m.min, modelRepeat)
	m.work()
}

// observe is what an observer expects of an event.
func (m *bookModel) observe(e state.Event) {
	for key, o := range m.open {
		over := o.subject == e.Domain && (e.Kind == state.KindDomainLeft ||
			e.Kind == state.KindDomainRecovered && o.kind == state.KindDomainBlocked ||
			e.Kind == state.KindCertificateIssued && o.kind == state.KindCertificateFailed)
		switch {
		case !over:
		case o.told.IsZero():
			m.late[key] = true
			delete(m.open, key)
		default:
			if e.Kind != state.KindDomainLeft {
				m.overs[e.Domain] = m.overs[e.Domain] || !m.waits(e.Domain, o.kind)
			}
			delete(m.open, key)
		}
	}
	if e.Severity.Rank() < m.min.Rank() {
		return
	}
	key := fmt.Sprint(e.Kind, e.Severity, e.Domain, e.Text)
	if o := m.open[key]; o != nil && !o.told.IsZero() && e.Time.Sub(o.told) >= modelRepeat {
		m.aged[key] = true
	}
	if m.open[key] == nil {
		delete(m.late, key) // told together with this
		m.open[key] = &observed{kind: e.Kind, subject: e.Domain}
	}
}

// waits reports whether such a trouble waits to be told, or told again: that may
// tell the end then.
func (m *bookModel) waits(subject, kind string) bool {
	return slices.ContainsFunc(m.book.Pending, func(it *item) bool {
		return it.What != isOver && it.Subject == subject && it.Kind == kind
	})
}

func modelKey(it *item) string { return fmt.Sprint(it.Kind, it.Severity, it.Subject, it.Text) }

// work does what a worker does at this moment.
func (m *bookModel) work() {
	m.book.remind(m.now, modelRepeat, func(string, string) bool { return true })
	for {
		items, _ := m.book.batch(m.now, m.rules)
		if len(items) == 0 {
			break
		}
		if !m.up {
			m.book.failed(m.now)
			break
		}
		m.told(items)
		m.book.delivered(items, m.now)
		m.save()
	}
	if !m.now.Before(m.saveAt) {
		m.save()
	}
}

// told checks a message.
func (m *bookModel) told(items []*item) {
	m.messages = append(m.messages, m.now)
	if n := len(m.messages) - 1 - m.rules.perHour; n >= 0 && m.now.Sub(m.messages[n]) < time.Hour {
		m.t.Fatalf("more than %d messages within an hour", m.rules.perHour)
	}
	quiet, _ := m.rules.quiet.at(m.now)
	for _, it := range items {
		if quiet && it.Severity != state.SeverityCritical && !(it.What == isOver && it.Relief) {
			m.t.Fatalf("%s was told in quiet hours", modelKey(it))
		}
		key := modelKey(it)
		o := m.open[key]
		switch {
		case it.What == isOver:
			if _, ok := m.overs[it.Subject]; !ok {
				m.t.Fatalf("the recovery of %s was told and not owed", it.Subject)
			}
			delete(m.overs, it.Subject)
		case !it.Over.IsZero() && it.What == isAgain:
			delete(m.late, key) // what came back and ended meanwhile is told with it
		case !it.Over.IsZero():
			if !m.late[key] && !m.aged[key] {
				m.t.Fatalf("%s was told as over and is not, or was told before", key)
			}
			delete(m.late, key)
		case o == nil:
			m.t.Fatalf("%s was told and is over", key)
		case o.told.IsZero() || m.now.Sub(o.told) >= modelRepeat:
			o.told = m.now
		default:
			m.t.Fatalf("%s was told %s after it was told", key, m.now.Sub(o.told))
		}
	}
}

// pass lets time pass, in steps.
func (m *bookModel) pass(d time.Duration) {
	step := max(10*time.Second, d/100)
	for end := m.now.Add(d); m.now.Before(end); {
		m.now = m.now.Add(min(step, end.Sub(m.now)))
		m.work()
	}
}

// settle has the service work for long enough, and wants nothing to be owed.
func (m *bookModel) settle() {
	m.up = true
	m.pass(25 * time.Hour) // the longest pause after a failure
	m.pass(12 * time.Hour) // and the quiet hours
	for key, o := range m.open {
		if o.told.IsZero() {
			m.t.Fatalf("%s was never told", key)
		}
	}
	for subject, owed := range m.overs {
		if owed {
			m.t.Fatalf("the recovery of %s was never told", subject)
		}
	}
	if len(m.late) > 0 {
		m.t.Fatalf("never told: %v", m.late)
	}
	for _, it := range m.book.Pending {
		if it.What == isNew {
			m.t.Fatalf("%s still waits", modelKey(it))
		}
	}
}
