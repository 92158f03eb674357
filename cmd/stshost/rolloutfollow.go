package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// followEvery is the time between two questions to the server by those who watch
// what it does.
const followEvery = time.Second

// watched is something that the server does by itself, and that somebody watches.
type watched[T any] struct {
	ask   func(context.Context) (T, error)
	every time.Duration
	// text is all there is to see, for a terminal, and brief for one that is too low
	// for that; nil: there is nothing briefer. line is the same in a line, and value
	// for programs; key differs when there is something new to them.
	text  func(style, T) string
	brief func(style, T) string
	line  func(T) string
	value func(T) any
	key   func(T) string
	// over says that there is nothing more to see; the error, why it did not come
	// to a good end.
	over func(T) (bool, error)
	// goesOn tells whoever stops watching.
	goesOn string
}

// stalledError says why the server does not get on with something, and what can be
// done about that.
type stalledError struct{ text, remedy string }

func (e *stalledError) Error() string { return withRemedy(e.text, e.remedy) }

// screen is where somebody watches.
type screen struct {
	out, errOut io.Writer
	json        bool
	live        bool // out is a terminal, on which things are drawn anew
	now         func() time.Time
}

func screenOf(out, errOut io.Writer, json bool) screen {
	return screen{out: out, errOut: errOut, json: json, live: live(out) && !json, now: time.Now}
}

// follow shows what is watched until it is over, or ctx ends. A server that goes
// away is waited for.
func follow[T any](ctx context.Context, sc screen, w watched[T]) error {
	v := &watcher[T]{screen: sc, watched: w, view: liveView{w: sc.out}}
	for {
		if over, err := v.look(ctx); over || err != nil {
			return err
		}
		select {
		case <-time.After(w.every):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			if sc.live {
				fmt.Fprint(sc.out, "\r\x1b[K") // over the ^C that the terminal shows
			}
			fmt.Fprintln(sc.errOut, styleOf(sc.errOut).wrapped(escaped(w.goesOn)))
			return nil
		}
	}
}

// watcher is one who watches.
type watcher[T any] struct {
	screen
	watched[T]
	view  liveView
	shown string // what the view shows, or the key of the last line
	text  string // the last one, for the time without a server
	away  bool   // the server
}

// look asks once and shows what is new.
func (v *watcher[T]) look(ctx context.Context) (over bool, err error) {
	now, err := v.ask(ctx)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return true, err
	case err != nil && ctx.Err() != nil:
		return false, nil
	case err != nil:
		return false, v.lost(err)
	}
	if err := v.show(now); err != nil {
		return true, err
	}
	return v.over(now)
}

// show shows what there is now, if that is anything new.
func (v *watcher[T]) show(now T) error {
	if v.away && !v.live {
		fmt.Fprintln(v.errOut, "the server is back")
	}
	v.away = false
	if v.live {
		st, height := styleOf(v.out), heightOf(v.out)
		v.text = v.watched.text(st, now)
		if v.brief != nil && height > 0 && strings.Count(v.text, "\n") >= height {
			v.text = v.brief(st, now)
		}
		return v.draw(v.text)
	}
	key := v.key(now)
	if key == v.shown {
		return nil
	}
	v.shown = key
	if !v.json {
		_, err := fmt.Fprintf(v.out, "%s  %s\n", stamp(v.now()), v.line(now))
		return err
	}
	text, err := jsonText(v.value(now), "")
	if err != nil {
		return err
	}
	_, err = io.WriteString(v.out, text)
	return err
}

// lost says once that the server cannot be asked any more.
func (v *watcher[T]) lost(err error) error {
	if v.away {
		return nil
	}
	v.away = true
	const waiting = "the server does not answer any more; waiting for it to come back"
	if v.live {
		return v.draw(v.text + "\n" + waiting + ": " + escaped(err.Error()) + "\n")
	}
	fmt.Fprintln(v.errOut, waiting)
	return nil
}

func (v *watcher[T]) draw(text string) error {
	if text == v.shown {
		return nil
	}
	v.shown = text
	return v.view.draw(text, heightOf(v.out))
}
