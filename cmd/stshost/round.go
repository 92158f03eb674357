package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// turnsAtOnce is how many domains the server is given an order for at a time.
const turnsAtOnce = 8

// turn is how it went with one of many domains.
type turn struct {
	Domain  string      `json:"domain"`
	Outcome turnOutcome `json:"outcome"`
	Gate    *state.Gate `json:"gate,omitempty"`   // that refused
	Error   string      `json:"error,omitempty"`  // why it was refused, or failed
	Remedy  string      `json:"remedy,omitempty"` // against that

	Rollout *state.RolloutStatus `json:"rollout,omitempty"`
}

type turnOutcome string

// The outcomes.
const (
	turnStarted     turnOutcome = "started"
	turnStartable   turnOutcome = "startable" // with --plan
	turnBack        turnOutcome = "back"      // to testing
	turnResumed     turnOutcome = "resumed"
	turnPaused      turnOutcome = "paused"
	turnOnItsWay    turnOutcome = "on-its-way"
	turnOrdered     turnOutcome = "ordered" // on its way, with more in the order
	turnNotOnItsWay turnOutcome = "not-on-its-way"
	turnDone        turnOutcome = "done" // before the order
	turnRefused     turnOutcome = "refused"
	turnPinned      turnOutcome = "pinned"
	turnLeaving     turnOutcome = "leaving"
	turnFailed      turnOutcome = "failed"
	turnLeft        turnOutcome = "left" // not asked for yet
)

// outcomeWords is an outcome as a sum says it.
type outcomeWords struct {
	outcome turnOutcome
	words   string
}

// round is an order that goes round many domains: what it is, and how it went.
type round struct {
	asked bool // for each of the domains by its name

	// without says of a domain how it stands if there is no need to ask for it.
	without func(state.RolloutStatus) (turnOutcome, bool)
	// sure is asked with the domains whose turn comes; an error ends it before
	// anything has changed. nil: nobody need be.
	sure func(context.Context, []state.RolloutStatus) error
	// give gives the order to one domain; before is how it stood.
	give func(ctx context.Context, before state.RolloutStatus) (turn, error)
	// first says of a domain that its turn comes before that of the others; nil: of
	// none. most is how many of the others may begin something; 0: all.
	first func(state.RolloutStatus) bool
	most  int
	// report says for people how it went.
	report func(style) string

	turns []turn
}

// run gives the order to those of the domains that need it, and says how it went.
// The error is that it did not come to an end.
func (r *round) run(ctx context.Context, sc screen, domains []state.RolloutStatus) error {
	r.turns = []turn{}
	var first, others []state.RolloutStatus
	for _, s := range domains {
		outcome, known := r.without(s)
		switch {
		case known:
			r.turns = append(r.turns, turn{Domain: s.Domain, Outcome: outcome, Rollout: &s})
		case r.first != nil && r.first(s):
			first = append(first, s)
		default:
			others = append(others, s)
		}
	}
	if r.sure != nil {
		if err := r.sure(ctx, slices.Concat(first, others)); err != nil {
			return err
		}
	}
	gone := r.all(ctx, sc, first, others)
	if err := sc.answer(r.result(), r.report); err != nil {
		return err
	}
	switch {
	case gone != nil:
		return errors.New("the server went away before every domain was asked for; start it, and run this again for those that are left")
	case ctx.Err() != nil && r.count(turnLeft) > 0:
		return errors.New("interrupted before every domain was asked for; run it again for those that are left")
	}
	return nil
}

// all asks for every domain. The error is that of a server that has gone.
func (r *round) all(ctx context.Context, sc screen, first, others []state.RolloutStatus) error {
	var bar *progress
	if terminal(sc.errOut) && !(sc.json && terminal(sc.out)) {
		bar = newProgress(sc.errOut, len(first)+len(others))
	}
	defer bar.end()
	gone := r.ask(ctx, first, 0, bar)
	if gone == nil {
		gone = r.ask(ctx, others, r.most, bar)
	} else {
		r.leave(others)
	}
	return gone
}

// ask asks for domains, turnsAtOnce of them at a time, until most have begun
// something; 0: for all.
func (r *round) ask(ctx context.Context, domains []state.RolloutStatus, most int, bar *progress) (gone error) {
	type answer struct {
		turn turn
		err  error
	}
	answers := make(chan answer)
	next, asked, begun := 0, 0, 0
	for {
		for next < len(domains) && asked < turnsAtOnce && (most == 0 || begun+asked < most) && ctx.Err() == nil && gone == nil {
			go func(s state.RolloutStatus) {
				t, err := r.give(ctx, s)
				answers <- answer{t, err}
			}(domains[next])
			next, asked = next+1, asked+1
		}
		if asked == 0 {
			break
		}
		a := <-answers
		asked--
		bar.step()
		switch {
		case errors.Is(a.err, server.ErrNotRunning):
			gone = a.err
			a.turn = turn{Domain: a.turn.Domain, Outcome: turnLeft}
		case a.err != nil && ctx.Err() != nil: // it may have been done all the same
			a.turn = turn{Domain: a.turn.Domain, Outcome: turnLeft}
		case a.turn.Outcome == turnStarted || a.turn.Outcome == turnStartable:
			begun++
		}
		r.turns = append(r.turns, a.turn)
	}
	r.leave(domains[next:])
	return gone
}

// leave notes domains that were not asked for.
func (r *round) leave(domains []state.RolloutStatus) {
	for _, s := range domains {
		r.turns = append(r.turns, turn{Domain: s.Domain, Outcome: turnLeft})
	}
}

// turnOf is the turn of a domain whose order was answered with s and err: outcome,
// if it was carried out.
func turnOf(before state.RolloutStatus, outcome turnOutcome, s state.RolloutStatus, err error) (turn, error) {
	t := turn{Domain: before.Domain, Outcome: outcome, Rollout: &s}
	var refused *state.RefusedError
	var pinned *state.PinnedError
	switch {
	case errors.As(err, &refused):
		t.Outcome, t.Gate, t.Error, t.Remedy, t.Rollout = turnRefused, &refused.Gate, refused.Error(), refused.Remedy(), &refused.Status
	case errors.As(err, &pinned):
		t.Outcome, t.Error, t.Rollout = turnPinned, pinned.Error(), &before
	case err != nil:
		t.Outcome, t.Error, t.Rollout = turnFailed, err.Error(), nil
		return t, err
	}
	return t, nil
}

// count is how many domains had one of these outcomes.
func (r *round) count(outcomes ...turnOutcome) (n int) {
	for _, t := range r.turns {
		if slices.Contains(outcomes, t.Outcome) {
			n++
		}
	}
	return n
}

// code is the exit code: 1 if a domain failed, had one of the bad outcomes, or was
// asked for by its name and is pinned.
func (r *round) code(bad ...turnOutcome) error {
	bad = append(bad, turnFailed)
	if r.asked {
		bad = append(bad, turnPinned)
	}
	if r.count(bad...) > 0 {
		return exitError(1)
	}
	return nil
}

// roundAnswer is the shape of an order for many domains in JSON.
type roundAnswer struct {
	Counts  map[turnOutcome]int `json:"counts"`
	Domains []turn              `json:"domains"`
}

func (r *round) result() roundAnswer {
	slices.SortFunc(r.turns, func(a, b turn) int { return strings.Compare(a.Domain, b.Domain) })
	a := roundAnswer{Counts: map[turnOutcome]int{}, Domains: r.turns}
	for _, t := range r.turns {
		a.Counts[t.Outcome]++
	}
	return a
}

// sum says in a line how many domains had which outcome.
func (r *round) sum(words []outcomeWords) string {
	var parts []string
	for _, w := range words {
		if n := r.count(w.outcome); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, w.words))
		}
	}
	return counted(len(r.turns), "domain") + ": " + strings.Join(parts, ", ")
}

// troubleTable lists the turns with an error, but those with one of the outcomes not,
// with the gates that refused or without, and an empty line below; "": there is none.
func (r *round) troubleTable(st style, gates bool, not ...turnOutcome) string {
	head := []string{"DOMAIN", "WHY NOT", "WHAT TO DO"}
	if gates {
		head = slices.Insert(head, 1, "GATE")
	}
	var rows [][]cell
	for _, t := range r.turns {
		gate, why := "-", t.Error
		switch {
		case t.Error == "" || slices.Contains(not, t.Outcome):
			continue
		case t.Gate != nil && st.width == 0:
			gate, why = t.Gate.Name, glance(t.Gate.Value)
		case t.Gate != nil:
			gate, why = t.Gate.Name, t.Gate.Value
		}
		row := cells(t.Domain, gate, why, dash(t.Remedy))
		if !gates {
			row = slices.Delete(row, 1, 2)
		}
		rows = append(rows, row)
	}
	if rows == nil {
		return ""
	}
	return st.grid(head, rows) + "\n"
}
