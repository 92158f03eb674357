package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// followManyEvery is the time between two looks at many domains, which the server
// lists whole.
const followManyEvery = 5 * time.Second

// follow shows how far the domains that are on their way have come, until all have
// arrived or are held up.
func (m *manyRollouts) follow(ctx context.Context) error {
	onTheirWay := map[string]bool{}
	for _, t := range m.turns {
		switch t.Outcome {
		case turnStarted, turnOnItsWay, turnOrdered:
			onTheirWay[t.Domain] = true
		}
	}
	if len(onTheirWay) == 0 {
		return m.code()
	}
	var last crowd
	err := follow(ctx, m.screen, watched[crowd]{
		ask: func(ctx context.Context) (crowd, error) {
			all, err := m.client.Rollouts(ctx)
			return crowdOf(all, onTheirWay), err
		},
		every:  followManyEvery,
		text:   func(st style, c crowd) string { return c.text(st) },
		over:   func(c crowd) (bool, error) { last = c; return c.going == 0, nil },
		goesOn: "The server goes on by itself; `stshost status` shows how far each domain is, and running this again follows them.",
	})
	if err != nil {
		return err
	}
	if len(last.held) > 0 {
		if err := m.answer(nil, last.heldTable); err != nil {
			return err
		}
		return exitError(1)
	}
	return m.code()
}

// crowd is how far many domains are.
type crowd struct {
	stages map[place]int // how many of those that get on are where
	done   int
	going  int
	gone   int // no longer on their way
	held   []state.RolloutStatus
	next   time.Time // when something is to be done next
}

// place is a stage, with its max_age in seconds.
type place struct {
	stage  state.Stage
	maxAge int64
}

// crowdOf counts those of all that are on their way.
func crowdOf(all []state.RolloutStatus, onTheirWay map[string]bool) crowd {
	c := crowd{stages: map[place]int{}, gone: len(onTheirWay)}
	for _, s := range all {
		over, err := rolloutOver(s)
		switch {
		case !onTheirWay[s.Domain]:
			continue
		case !over:
			c.going++
			c.stages[place{s.Stage, s.MaxAge}]++
			if !s.Next.IsZero() && (c.next.IsZero() || s.Next.Before(c.next)) {
				c.next = s.Next
			}
		case err == nil:
			c.done++
		case s.Goal == state.GoalEnforce && s.Pinned == "":
			c.held = append(c.held, s)
		default:
			continue
		}
		c.gone--
	}
	return c
}

// along orders places as a rollout passes them.
func along(a, b place) int {
	rank := func(p place) int {
		return slices.Index([]state.Stage{"", state.StageTesting, state.StageEnforce}, p.stage)
	}
	return cmp.Or(rank(a)-rank(b), cmp.Compare(a.maxAge, b.maxAge))
}

// text is a table of how many are where.
func (c crowd) text(st style) string {
	var rows [][]cell
	row := func(what string, n int) {
		if n > 0 {
			rows = append(rows, cells(what, fmt.Sprint(n)))
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(c.stages), along) {
		row(placeText(p.stage, p.maxAge), c.stages[p])
	}
	row("done", c.done)
	row("held up, or paused", len(c.held))
	row("no longer on their way", c.gone)
	var b strings.Builder
	b.WriteString("\n" + st.grid([]string{"STAGE", "DOMAINS"}, rows))
	if !c.next.IsZero() {
		b.WriteString("\n" + st.pairs([2]string{"next look or step", stamp(c.next)}))
	}
	if c.going > 0 {
		b.WriteString(st.footer())
	}
	return b.String()
}

// heldTable lists those that somebody has to do something about.
func (c crowd) heldTable(st style) string {
	var rows [][]cell
	for _, s := range c.held {
		rows = append(rows, cells(s.Domain, s.Awaits, dash(s.Remedy)))
	}
	return "\n" + st.grid([]string{"DOMAIN", "HELD UP BY", "WHAT TO DO"}, rows)
}
