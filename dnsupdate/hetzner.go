package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/time/rate"
)

func hetznerSettings() []Setting {
	return []Setting{
		{Key: "api_token", Required: true, Secret: true, Doc: "API token with Read & Write of the Hetzner Console project that holds the zones (not one of the old DNS Console)"},
	}
}

const (
	// hetznerMinTTL is the least that Hetzner accepts.
	hetznerMinTTL = time.Minute
	// Hetzner allows 3,600 requests an hour for a project over everything.
	hetznerEach, hetznerBurst = 1500 * time.Millisecond, 100
	// hetznerPenalty is the pause if they are used up: one comes back a second,
	// and the project has other programs too.
	hetznerPenalty = 5 * time.Minute
)

// hetzner changes records over the API of Hetzner Console through Hetzner's own
// module: a record set is replaced as a whole, in place.
type hetzner struct {
	zones   *hcloud.ZoneClient
	actions *hcloud.ActionClient
	limiter *rate.Limiter
	pauser
}

func openHetzner(settings map[string]string, env environment) (client, error) {
	token := strings.TrimSpace(settings["api_token"])
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("api_token contains blanks or other characters that no token has; was more than the token copied?")
	}
	c := hcloud.NewClient(
		hcloud.WithToken(token),
		hcloud.WithApplication("stshost", ""),
		hcloud.WithHTTPClient(&http.Client{Transport: env.transport, Timeout: apiTimeout, CheckRedirect: noRedirect}),
		hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 2}),
	)
	return &hetzner{
		zones: &c.Zone, actions: &c.Action, limiter: rate.NewLimiter(rate.Every(hetznerEach), hetznerBurst),
		pauser: pauser{provider: "Hetzner", otherwise: hetznerPenalty, now: env.now},
	}, nil
}

func (c *hetzner) pacing() *rate.Limiter { return c.limiter }

// sets returns every record set at the name.
func (c *hetzner) sets(ctx context.Context, at site) (txt, cname *hcloud.ZoneRRSet, err error) {
	if err := c.paused(); err != nil {
		return nil, nil, err
	}
	if err := pace(ctx, c.limiter); err != nil {
		return nil, nil, err
	}
	name := relative(at, "@")
	found, err := c.zones.AllRRSetsWithOpts(ctx, hetznerZone(at), hcloud.ZoneRRSetListOpts{Name: name})
	if err != nil {
		return nil, nil, c.explain(at, err)
	}
	for _, set := range found {
		switch {
		case !strings.EqualFold(set.Name, name):
		case set.Type == hcloud.ZoneRRSetTypeTXT:
			txt = set
		case set.Type == hcloud.ZoneRRSetTypeCNAME && len(set.Records) > 0:
			cname = set
		}
	}
	return txt, cname, nil
}

func (c *hetzner) read(ctx context.Context, at site) ([]record, error) {
	txt, cname, err := c.sets(ctx, at)
	switch {
	case err != nil:
		return nil, err
	case cname != nil:
		return nil, &aliasError{name: at.name, target: cname.Records[0].Value}
	case txt == nil:
		return nil, nil
	}
	ttl := 0 // the zone's
	if txt.TTL != nil {
		ttl = *txt.TTL
	}
	var records []record
	for _, r := range txt.Records {
		records = append(records, recordOf(r.Value, ttl))
	}
	return records, nil
}

func (c *hetzner) write(ctx context.Context, at site, e edit) error {
	set, _, err := c.sets(ctx, at)
	if err != nil {
		return err
	}
	// What somebody else has added since it was read stays, and so do comments.
	var after []hcloud.ZoneRRSetRecord
	if set != nil {
		after = slices.DeleteFunc(slices.Clone(set.Records), func(r hcloud.ZoneRRSetRecord) bool {
			return slices.ContainsFunc(e.drop, func(d record) bool { return d.raw == r.Value })
		})
	}
	if e.add != "" {
		after = append(after, hcloud.ZoneRRSetRecord{Value: quoted(e.add)})
	}
	if err := pace(ctx, c.limiter); err != nil {
		return err
	}
	var action *hcloud.Action
	switch {
	case set == nil && len(after) == 0:
		return nil
	case set == nil:
		ttl := int(max(at.ttl, hetznerMinTTL) / time.Second)
		var made hcloud.ZoneRRSetCreateResult
		made, _, err = c.zones.CreateRRSet(ctx, hetznerZone(at), hcloud.ZoneRRSetCreateOpts{
			Name: relative(at, "@"), Type: hcloud.ZoneRRSetTypeTXT, TTL: &ttl, Records: after,
		})
		action = made.Action
	case len(after) == 0:
		set.Zone = hetznerZone(at)
		var gone hcloud.ZoneRRSetDeleteResult
		gone, _, err = c.zones.DeleteRRSet(ctx, set)
		action = gone.Action
	default:
		set.Zone = hetznerZone(at)
		action, _, err = c.zones.SetRRSetRecords(ctx, set, hcloud.ZoneRRSetSetRecordsOpts{Records: after})
	}
	if err == nil && action != nil {
		err = c.actions.WaitFor(ctx, action)
	}
	return c.explain(at, err)
}

func hetznerZone(at site) *hcloud.Zone { return &hcloud.Zone{Name: trimDot(at.zone)} }

// explain says what an error of the API means.
func (c *hetzner) explain(at site, err error) error {
	switch {
	case err == nil:
		return nil
	case hcloud.IsError(err, hcloud.ErrorCodeNotFound):
		return noZone("the project of this token at Hetzner has no zone %s; create it there, name the right `zone` for %s, or give the token of the right project", trimDot(at.zone), trimDot(at.name))
	case hcloud.IsError(err, hcloud.ErrorCodeUnauthorized):
		return errors.New("the Hetzner API does not accept the api_token; it must be of Hetzner Console (not of the old DNS Console), and not deleted")
	case hcloud.IsError(err, hcloud.ErrorCodeForbidden, hcloud.ErrorCodeTokenReadonly):
		return noZone("Hetzner does not let the token do this; make one with Read & Write (%v)", err)
	case hcloud.IsError(err, hcloud.ErrorCodeRateLimitExceeded):
		return c.pause("")
	case hcloud.IsError(err, hcloud.ErrorCodeProtected):
		return fmt.Errorf("the record set at %s is protected at Hetzner; lift the protection (%w)", trimDot(at.name), err)
	}
	return fmt.Errorf("the Hetzner API: %w", err)
}
