package server

import (
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Explanation says what keeps a domain from being protected, if anything does.
type Explanation struct {
	Domain   string     `json:"domain" doc:"Policy domain in A-labels"`
	Step     state.Step `json:"step" doc:"How far the domain has come"`
	Summary  string     `json:"summary" doc:"One sentence on how the domain stands"`
	Blocking string     `json:"blocking,omitempty" doc:"The one thing that blocks the next step or is wrong now; empty if nothing does"`
	Remedy   string     `json:"remedy,omitempty" doc:"What to do about it"`
	NextRun  time.Time  `json:"next_run,omitzero" doc:"When stshost looks at the domain again by itself"`
}

// Explain says in plain words what blocks a domain and what to do about it.
func Explain(d DomainStatus) Explanation {
	return Explanation{Domain: d.Domain, Step: d.Step, NextRun: d.NextRun, Blocking: d.LastError, Remedy: d.Remedy}
}
