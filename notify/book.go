package notify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// book is what a target knows: how far it has read, what it has told and is
// not over, and what waits to be told. It does no I/O. Any stored copy of it,
// given the events above its Cursor again, comes to the same: so it has to be
// stored when something was told, and only then.
type book struct {
	Since  time.Time // what happened before is history: the target did not exist
	Cursor int64     // ID of the last event taken in

	// Open are the troubles that are not over, by subject and key.
	Open map[string]map[string]*trouble `json:",omitempty"`
	// Pending are the items to be told next, in the order of their coming.
	Pending []*item `json:",omitempty"`

	Sent []time.Time `json:",omitempty"` // messages delivered within the last hour

	// Not stored: whoever restarts may have mended what made them fail.
	Failures int       `json:"-"` // deliveries that failed in a row
	Retry    time.Time `json:"-"` // when the next is tried

	pending map[string]*item // those of Pending that have a key
	alike   map[uint64]int   // how many of Pending have a gist
	infos   int              // how many of Pending have no key
	last    *item            // the last of these
}

// trouble is something wrong that was told, or waits to be.
type trouble struct {
	Item    item
	Told    time.Time `json:",omitzero"`  // when it was last told; zero: not yet
	Other   bool      `json:",omitempty"` // another trouble of its kind has taken its place
	Waiting bool      `json:",omitempty"` // an item about it is in Pending
}

// item is one thing to tell.
type item struct {
	What     what
	Kind     string
	Severity state.Severity
	Subject  string
	Text     string    `json:",omitempty"`
	Remedy   string    `json:",omitempty"`
	Time     time.Time // of the event
	Seen     time.Time // when it was taken in
	Key      string    `json:",omitempty"` // "": it is told whatever was told before
	Gist     uint64    // the same for texts that say the same
	Times    int       `json:",omitempty"` // how often it came back while it waited
	Over     time.Time `json:",omitzero"`  // it ended before it was told
	Relief   bool      `json:",omitempty"` // the end of what was critical
	More     int       `json:",omitempty"` // how many came after it and were not kept
	held     string    // what held it up; what does is found again after a restart
}

// breaksQuiet reports whether quiet hours do not hold the item back: who was
// woken by something critical is told of its end as well.
func (it *item) breaksQuiet() bool { return it.Severity == state.SeverityCritical || it.Relief }

type what string

const (
	isNew   what = "new"
	isAgain what = "again" // told before, still so
	isOver  what = "over"  // told before, well again
)

// keptTexts is how many waiting items that say the same keep their text: with
// so many, a message shows no single one.
const keptTexts = 20

// keptInfos is how many items of severity info wait at most, for a target that
// is down for long would have them without end. Of more only the number is
// kept. What is graver is limited by what can be wrong.
const keptInfos = 10_000

func openBook(data []byte, now time.Time) (*book, error) {
	b := &book{Since: now}
	if len(data) > 0 {
		if err := json.Unmarshal(data, b); err != nil {
			return nil, fmt.Errorf("what was told before cannot be read: %w", err)
		}
	}
	if b.Open == nil {
		b.Open = make(map[string]map[string]*trouble)
	}
	b.pending, b.alike = make(map[string]*item), make(map[uint64]int)
	for _, it := range b.Pending {
		b.alike[it.Gist]++
		if it.Key != "" {
			b.pending[it.Key] = it
		} else {
			b.infos, b.last = b.infos+1, it
		}
	}
	return b, nil
}

func (b *book) bytes() ([]byte, error) { return json.Marshal(b) }

// take enters an event that came at now.
func (b *book) take(e state.Event, now time.Time, min state.Severity, repeat time.Duration) {
	if e.ID <= b.Cursor {
		return
	}
	b.Cursor = e.ID
	b.heedClock(now)
	if e.Time.Before(b.Since) {
		return
	}
	if e.Kind == state.KindServerStarted {
		b.doubt()
	}
	subject := subjectOf(e)
	cured := b.cure(e, subject, now)
	if cured || e.Severity.Rank() < min.Rank() {
		return
	}
	it := item{
		What: isNew, Kind: e.Kind, Severity: e.Severity, Subject: subject,
		Text: e.Text, Remedy: e.Remedy, Time: e.Time, Seen: now, Gist: gist(e, subject),
	}
	if b.alike[it.Gist] >= keptTexts {
		it.Text, it.Remedy = "", ""
	}
	if e.Severity.Rank() <= state.SeverityInfo.Rank() {
		b.add(it)
		return
	}
	it.Key = subject + " " + strconv.FormatUint(it.Gist, 36)
	if b.Open[subject] == nil {
		b.Open[subject] = make(map[string]*trouble)
	}
	for key, t := range b.Open[subject] {
		t.Other = t.Other || key != it.Key && t.Item.Kind == it.Kind
	}
	t := b.Open[subject][it.Key]
	switch {
	case t == nil:
		t = &trouble{Item: it}
		b.Open[subject][it.Key] = t
	case t.Waiting || repeat <= 0 || e.Time.Sub(t.Told) < repeat:
		t.Other = false
		return
	default:
		t.Other = false
		it.What = isAgain
	}
	t.Waiting = true
	b.add(it)
}

// heedClock has a target that began while the clock was ahead miss nothing
// until that time has come. Both are what the clock on the wall showed, as the
// times of events are.
func (b *book) heedClock(now time.Time) {
	if now = now.Round(0); b.Since.Round(0).After(now) {
		b.Since = now.Add(-time.Minute) // what was on its way here
	}
}

// doubt is for the start of a server, which begins with the first CA whatever
// the one before had to do: another is said again only if it is used again.
func (b *book) doubt() {
	for _, open := range b.Open {
		for _, t := range open {
			t.Other = t.Other || t.Item.Kind == state.KindCertificateFallback
		}
	}
}

// add puts an item in line. One that came before and was over is open anew.
func (b *book) add(it item) {
	if old := b.pending[it.Key]; it.Key != "" && old != nil {
		old.Times++
		old.Over = time.Time{}
		old.Relief = old.Relief || it.Relief
		return
	}
	if it.Key == "" && b.infos >= keptInfos {
		b.last.More++
		return
	}
	b.alike[it.Gist]++
	b.Pending = append(b.Pending, &it)
	if it.Key != "" {
		b.pending[it.Key] = &it
	} else {
		b.infos, b.last = b.infos+1, &it
	}
}

// cure ends the troubles that e says are over, and reports whether that is all
// that e has to say.
func (b *book) cure(e state.Event, subject string, now time.Time) bool {
	found, told, relief := false, false, false
	for key, t := range b.Open[subject] {
		if !cures(e, t.Item.Kind) {
			continue
		}
		found = true
		delete(b.Open[subject], key)
		if it := b.pending[key]; t.Waiting && it != nil {
			it.Over = e.Time
		}
		if !t.Told.IsZero() && !t.Waiting {
			told = true
			relief = relief || t.Item.Severity == state.SeverityCritical
		}
	}
	if len(b.Open[subject]) == 0 {
		delete(b.Open, subject)
	}
	if told && e.Kind != state.KindDomainLeft {
		b.add(item{What: isOver, Kind: e.Kind, Severity: state.SeverityInfo, Subject: subject, Text: e.Text,
			Time: e.Time, Seen: now, Key: "over " + subject, Gist: gist(e, subject), Relief: relief})
	}
	return found && e.Kind != state.KindDomainLeft
}

// foldRepeats is after how long what nothing ends is news again where nothing
// is to be said again.
const foldRepeats = 24 * time.Hour

// remind puts in line what was told so long ago that it is said again, and
// forgets what nothing can end and what does not stand any more. It returns when
// to ask again; zero: never.
func (b *book) remind(now time.Time, repeat time.Duration, stands func(kind, subject string) bool) (next time.Time) {
	after := repeat
	if repeat <= 0 {
		after = foldRepeats
	}
	for subject, open := range b.Open {
		for key, t := range open {
			if t.Told.After(now) {
				t.Told = now // by a clock that was set back since
			}
			due := t.Told.Add(after)
			switch {
			case t.Told.IsZero() || t.Waiting:
			case now.Before(due):
				if next.IsZero() || due.Before(next) {
					next = due
				}
			case !curable(t.Item.Kind) || !stands(t.Item.Kind, subject) || t.Other && repeat > 0:
				delete(open, key)
			case repeat > 0:
				it := t.Item
				it.What, it.Seen = isAgain, now
				t.Waiting = true
				b.add(it)
			}
		}
		if len(open) == 0 {
			delete(b.Open, subject)
		}
	}
	return next
}

// batch returns what may be told now, and otherwise when that can change:
// zero if only an event can change it. It notes what holds items up.
func (b *book) batch(now time.Time, r rules) (items []*item, next time.Time) {
	quiet, until := r.quiet.at(now)
	var first time.Time
	for _, it := range b.Pending {
		if quiet && !it.breaksQuiet() {
			it.held = "quiet hours"
			continue
		}
		items = append(items, it)
		if first.IsZero() || it.Seen.Before(first) {
			first = it.Seen
		}
	}
	if len(items) == 0 {
		if quiet && len(b.Pending) > 0 {
			return nil, until
		}
		return nil, time.Time{}
	}
	// Times that lie ahead are those of a clock that was set back since.
	if first.After(now) {
		first = now
	}
	ready, held := first.Add(r.window), ""
	if b.Retry.After(ready) && !b.Retry.After(now.Add(24*time.Hour)) {
		ready, held = b.Retry, "deliveries that failed"
	}
	b.Sent = slices.DeleteFunc(b.Sent, func(t time.Time) bool { return t.After(now) || !now.Before(t.Add(time.Hour)) })
	if n := len(b.Sent) - r.perHour; n >= 0 {
		if free := b.Sent[n].Add(time.Hour); free.After(ready) {
			ready, held = free, fmt.Sprintf("the limit of %d messages an hour", r.perHour)
		}
	}
	if now.Before(ready) {
		for _, it := range items {
			it.held = cmp.Or(held, it.held)
		}
		if quiet && until.Before(ready) {
			ready = until
		}
		return nil, ready
	}
	return items, time.Time{}
}

// delivered notes that items were told.
func (b *book) delivered(items []*item, now time.Time) {
	told := make(map[*item]bool, len(items))
	for _, it := range items {
		told[it] = true
		if b.alike[it.Gist]--; b.alike[it.Gist] == 0 {
			delete(b.alike, it.Gist)
		}
		if it.Key == "" {
			b.infos--
			continue
		}
		delete(b.pending, it.Key)
		if t := b.Open[it.Subject][it.Key]; t != nil {
			t.Told, t.Waiting = now, false
		}
	}
	b.Pending = slices.DeleteFunc(b.Pending, func(it *item) bool { return told[it] })
	b.Sent = append(b.Sent, now)
	b.Failures, b.Retry = 0, time.Time{}
}

// failed notes that a delivery failed, and returns when it is tried again.
func (b *book) failed(now time.Time) time.Time {
	steps := [...]time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour}
	b.Retry = now.Add(steps[min(b.Failures, len(steps)-1)])
	b.Failures++
	return b.Retry
}
