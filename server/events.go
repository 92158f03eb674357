package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stshost/stshost/internal/state"
)

// MaxEventWait is the longest that a question for events waits for one.
const MaxEventWait = time.Minute

// Event is something that happened.
type Event struct {
	ID       int64             `json:"id" doc:"Rises with each event"`
	Time     time.Time         `json:"time" doc:"When it happened"`
	Kind     string            `json:"kind" doc:"What happened, e.g. domain.blocked"`
	Severity state.Severity    `json:"severity" enum:"info,warning,critical" doc:"How much it matters"`
	Domain   string            `json:"domain,omitempty" doc:"Policy domain in A-labels, if it is about one"`
	Host     string            `json:"host,omitempty" doc:"Host that it is about, if it is about one"`
	Text     string            `json:"text" doc:"What happened and why, in one sentence"`
	Remedy   string            `json:"remedy,omitempty" doc:"What can be done about it"`
	Evidence map[string]string `json:"evidence,omitempty" doc:"What the text rests on, by short keys"`
}

// NewEvent is e as the API shows it.
func NewEvent(e state.Event) Event {
	return Event{ID: e.ID, Time: e.Time.UTC(), Kind: e.Kind, Severity: e.Severity, Domain: e.Domain, Host: e.Host, Text: e.Text, Remedy: e.Remedy, Evidence: e.Evidence}
}

type eventList struct {
	Events []Event `json:"events" nullable:"false" doc:"The events, oldest first"`
}

// eventQuestion is the input of the operation on events.
type eventQuestion struct {
	Domain   string         `query:"domain" maxLength:"255" doc:"Only events of this policy domain; A-labels or U-labels, in any case" example:"example.com"`
	Host     string         `query:"host" maxLength:"255" doc:"Only events about this host"`
	Kind     string         `query:"kind" maxLength:"100" doc:"Only events of this kind" example:"domain.blocked"`
	Severity state.Severity `query:"severity" enum:"info,warning,critical" doc:"Only events of this severity or graver"`
	Since    time.Time      `query:"since" doc:"Only events of this time or later"`
	After    eventCursor    `query:"after" minimum:"0" doc:"Only events with a higher id, the first of them. Without it: the newest"`
	Limit    int            `query:"limit" minimum:"1" maximum:"10000" default:"100" doc:"At most so many"`
	Wait     string         `query:"wait" maxLength:"20" doc:"If there is none, wait for one for this long: a Go duration, at most 1m" example:"30s"`
}

// eventCursor is an id that may be left out.
type eventCursor struct {
	ID  int64
	Set bool
}

// Schema describes the parameter as the integer that it is.
func (eventCursor) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[int64]())
}

// Receiver is where the parameter goes.
func (c *eventCursor) Receiver() reflect.Value { return reflect.ValueOf(c).Elem().Field(0) }

// OnParamSet notes whether there was one.
func (c *eventCursor) OnParamSet(set bool, _ any) { c.Set = set }

// question turns the parameters into what the Backend understands.
func (in *eventQuestion) question() (q state.EventQuery, wait time.Duration, err error) {
	q = state.EventQuery{
		Host: in.Host, Kind: in.Kind, MinSeverity: in.Severity, Since: in.Since,
		After: in.After.ID, Newest: !in.After.Set, Limit: in.Limit,
	}
	if in.Domain != "" {
		if q.Domain, err = domainName(in.Domain); err != nil {
			return q, 0, err
		}
	}
	if in.Wait != "" {
		wait, err = time.ParseDuration(in.Wait)
		if err != nil || wait < 0 {
			return q, 0, &badInputError{fmt.Errorf("wait %q is no duration; write it as 30s", in.Wait)}
		}
	}
	return q, min(wait, MaxEventWait), nil
}

// eventValues is the way back, for the client.
func eventValues(q state.EventQuery, wait time.Duration) url.Values {
	v := url.Values{}
	set := func(key, value string, is bool) {
		if is {
			v.Set(key, value)
		}
	}
	set("domain", q.Domain, q.Domain != "")
	set("host", q.Host, q.Host != "")
	set("kind", q.Kind, q.Kind != "")
	set("severity", string(q.MinSeverity), q.MinSeverity != "")
	set("since", q.Since.UTC().Format(time.RFC3339Nano), !q.Since.IsZero())
	set("after", strconv.FormatInt(q.After, 10), !q.Newest)
	set("limit", strconv.Itoa(q.Limit), q.Limit != 0)
	set("wait", wait.String(), wait > 0)
	return v
}

// mountEvents adds the operation on events. A question that waits ends with
// stopping, for a stop waits for the requests in flight.
func (s *Server) mountEvents(api huma.API, stopping context.Context) {
	operation(s, api, "list-events", http.MethodGet, "/events", "List what happened, or wait for what comes next",
		func(ctx context.Context, in *eventQuestion) (eventList, error) {
			q, wait, err := in.question()
			if err != nil {
				return eventList{}, err
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if wait > 0 {
				defer context.AfterFunc(stopping, cancel)()
			}
			found, err := s.cfg.Backend.Events(ctx, q, wait)
			if err != nil && stopping.Err() == nil {
				return eventList{}, err
			}
			list := eventList{Events: make([]Event, 0, len(found))}
			for _, e := range found {
				list.Events = append(list.Events, NewEvent(e))
			}
			return list, nil
		})
}
