package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stshost/stshost/internal/state"
)

const (
	// rolloutTimeout bounds a request that looks at the gates: half a minute until
	// others have ended, and the minute of the look itself. It is less than the admin
	// listener has for an answer.
	rolloutTimeout = 90 * time.Second
	// maxOrder bounds an order: the evidence in it is a whole report.
	maxOrder = 4 << 20
)

type rolloutList struct {
	Rollouts []state.RolloutStatus `json:"rollouts" nullable:"false" doc:"All domains, sorted by name, without gates and steps"`
}

// rolloutInput is the input of an operation that takes an order; without a body
// nothing is ordered beyond it.
type rolloutInput struct {
	Domain string `path:"domain" maxLength:"255" doc:"Policy domain; A-labels or U-labels, in any case" example:"example.com"`
	Body   *state.RolloutOrder
}

type horizonInput struct {
	Domain string `path:"domain" maxLength:"255" doc:"Policy domain; A-labels or U-labels, in any case" example:"example.com"`
	MX     string `query:"mx" maxLength:"255" doc:"MX host to ask about; A-labels or U-labels, in any case. Without it: the domain as a whole" example:"mx1.example.com"`
}

// mxOrder says which MX hosts are meant; without any: all that the DNS has.
type mxOrder struct {
	Hosts []string `json:"hosts,omitempty" minItems:"1" maxItems:"100" uniqueItems:"true" doc:"These and no others; A-labels or U-labels, in any case"`
}

// mxInput is the input of an operation on MX hosts; without a body all are meant.
type mxInput struct {
	Domain string `path:"domain" maxLength:"255" doc:"Policy domain; A-labels or U-labels, in any case" example:"example.com"`
	Body   *mxOrder
}

// order returns the domain and the order in the form that Rollouts knows.
func (in *rolloutInput) order(now time.Time) (domain string, o state.RolloutOrder, err error) {
	if domain, err = domainName(in.Domain); err != nil || in.Body == nil {
		return domain, o, err
	}
	o = *in.Body
	o.Waive = slices.Clone(o.Waive)
	for i, w := range o.Waive {
		switch {
		case !slices.Contains(state.Gates(), w.Gate):
			return "", o, &badInputError{fmt.Errorf("there is no gate %q to waive; the gates are %s", w.Gate, strings.Join(state.Gates(), ", "))}
		case strings.TrimSpace(w.Reason) == "":
			return "", o, &badInputError{fmt.Errorf("the waiver of the gate %s has no reason; say why it may be passed unmet", w.Gate)}
		}
		o.Waive[i].Time = now.UTC()
	}
	if o.Evidence != nil {
		about, err := domainName(o.Evidence.Domain)
		if err != nil {
			return "", o, &badInputError{fmt.Errorf("the evidence is about no domain: %w", err)}
		}
		if about != domain {
			return "", o, &badInputError{fmt.Errorf("the evidence is about %s, and not about %s; give what `stshost check %s --json` found", about, domain, domain)}
		}
	}
	return domain, o, nil
}

// mountRollouts adds the operations on rollouts. What is under way of those that
// take long ends with stopping.
func (s *Server) mountRollouts(api huma.API, stopping context.Context) {
	if s.cfg.Rollouts == nil {
		return
	}
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: "/domains/{domain}" + path, Summary: summary,
			Errors: []int{http.StatusNotFound}, Responses: conflictResponse(api),
		}
	}
	post := func(id, path, summary string) huma.Operation {
		op := get(id, path, summary)
		op.Method, op.MaxBodyBytes, op.BodyReadTimeout = http.MethodPost, maxOrder, optionalBody
		return op
	}
	operation(s, api, "list-rollouts", http.MethodGet, "/rollouts", "List how far all domains are on their way", s.apiRollouts)
	register(s, api, get("get-rollout", "/rollout", "Show how far a domain is on its way, with the gates as they were last looked at"), s.onDomain(s.cfg.Rollouts.Rollout))
	register(s, api, post("start-rollout", "/rollout", "Look at the gates, and have a domain taken to enforce if they are open"), s.onOrder(stopping, s.cfg.Rollouts.StartRollout))
	register(s, api, post("plan-rollout", "/rollout/plan", "Say what starting a rollout would do, and when; nothing changes"), s.onOrder(stopping, s.cfg.Rollouts.PlanRollout))
	register(s, api, post("pause-rollout", "/rollout/pause", "Have no step made until the rollout is resumed"), s.onDomain(s.cfg.Rollouts.PauseRollout))
	register(s, api, post("resume-rollout", "/rollout/resume", "Go on with a rollout that was paused"), s.onDomain(s.cfg.Rollouts.ResumeRollout))
	register(s, api, post("rollback", "/rollback", "Take a domain back to testing"), s.onDomain(s.cfg.Rollouts.Rollback))
	register(s, api, post("retire", "/retire", "Take a domain out of MTA-STS, in the order of RFC 8461 §8.3"), s.onDomain(s.cfg.Rollouts.Retire))
	register(s, api, get("get-horizon", "/horizon", "Say when an MX host, or the domain as a whole, can go without loss of mail"), s.apiHorizon)
	register(s, api, post("accept-mx", "/mx/accept", "Have the policy name the MX hosts that the DNS has and it does not"),
		func(ctx context.Context, in *mxInput) (state.MXChange, error) {
			return s.apiAcceptMX(ctx, stopping, in)
		})
}

// onDomain makes an operation of a method that takes a domain.
func (s *Server) onDomain(do func(context.Context, string) (state.RolloutStatus, error)) func(context.Context, *byDomain) (state.RolloutStatus, error) {
	return func(ctx context.Context, in *byDomain) (state.RolloutStatus, error) {
		domain, err := domainName(in.Domain)
		if err != nil {
			return state.RolloutStatus{}, err
		}
		return do(ctx, domain)
	}
}

// onOrder makes an operation of a method that takes an order. It looks at the
// gates; Rollouts bounds how many of these looks are under way.
func (s *Server) onOrder(stopping context.Context, do func(context.Context, string, state.RolloutOrder) (state.RolloutStatus, error)) func(context.Context, *rolloutInput) (state.RolloutStatus, error) {
	return func(ctx context.Context, in *rolloutInput) (state.RolloutStatus, error) {
		domain, o, err := in.order(s.now())
		if err != nil {
			return state.RolloutStatus{}, err
		}
		ctx, end := bounded(ctx, stopping, rolloutTimeout)
		defer end()
		return do(ctx, domain, o)
	}
}

func (s *Server) apiRollouts(ctx context.Context, _ *struct{}) (rolloutList, error) {
	all, err := s.cfg.Rollouts.Rollouts(ctx)
	return rolloutList{Rollouts: append([]state.RolloutStatus{}, all...)}, err
}

func (s *Server) apiHorizon(ctx context.Context, in *horizonInput) (state.Horizon, error) {
	domain, err := domainName(in.Domain)
	if err != nil {
		return state.Horizon{}, err
	}
	mx := in.MX
	if mx != "" {
		if mx, err = domainName(mx); err != nil {
			return state.Horizon{}, fmt.Errorf("mx: %w", err)
		}
	}
	h, err := s.cfg.Rollouts.Horizon(ctx, domain, mx)
	h.Bodies = append([]state.HorizonBody{}, h.Bodies...)
	return h, err
}

func (s *Server) apiAcceptMX(ctx, stopping context.Context, in *mxInput) (state.MXChange, error) {
	domain, err := domainName(in.Domain)
	if err != nil {
		return state.MXChange{}, err
	}
	var hosts []string
	if in.Body != nil {
		for _, h := range in.Body.Hosts {
			host, err := domainName(h)
			if err != nil {
				return state.MXChange{}, fmt.Errorf("hosts: %w", err)
			}
			hosts = append(hosts, host)
		}
	}
	ctx, end := bounded(ctx, stopping, rolloutTimeout)
	defer end()
	c, err := s.cfg.Rollouts.AcceptMX(ctx, domain, hosts...)
	c.Accepted, c.MX = append([]string{}, c.Accepted...), append([]string{}, c.MX...)
	return c, err
}

// conflictProblem is a problem about a command that a domain does not take as it
// stands, with what a program needs to see why (RFC 9457 §3.2).
type conflictProblem struct {
	huma.ErrorModel
	Rollout *state.RolloutStatus `json:"rollout,omitempty" doc:"How the domain stands, with the gates, if one of them refuses"`
	Gate    *state.Gate          `json:"gate,omitempty" doc:"The gate that refuses"`
	Remedy  string               `json:"remedy,omitempty" doc:"What can be done about that"`
	Pinned  *pinnedMode          `json:"pinned,omitempty" doc:"What the configuration says, if it decides the mode"`
}

// pinnedMode is a state.PinnedError as a member of a problem.
type pinnedMode struct {
	Domain string `json:"domain" doc:"Policy domain in A-labels"`
	Mode   string `json:"mode" doc:"Mode that it has by the configuration"`
	Source string `json:"source" doc:"Where, as file:line"`
}

// conflict adds to a problem what err knows besides; nil if that is nothing.
func conflict(p *huma.ErrorModel, err error) error {
	var refused *state.RefusedError
	var pinned *state.PinnedError
	switch {
	case errors.As(err, &refused):
		return &conflictProblem{ErrorModel: *p, Rollout: &refused.Status, Gate: &refused.Gate, Remedy: refused.Remedy()}
	case errors.As(err, &pinned):
		return &conflictProblem{ErrorModel: *p, Pinned: &pinnedMode{Domain: pinned.Domain, Mode: string(pinned.Mode), Source: pinned.Source}}
	}
	return nil
}

// conflictResponse describes a conflictProblem.
func conflictResponse(api huma.API) map[string]*huma.Response {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[conflictProblem](), true, "")
	return map[string]*huma.Response{"409": {
		Description: http.StatusText(http.StatusConflict),
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}}
}
