package dnsupdate

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

func desecSettings() []Setting {
	return []Setting{
		{Key: "api_token", Required: true, Secret: true, Doc: "token from desec.io (Token Management); it may be limited to the zones and to TXT records"},
	}
}

const (
	desecAPI = "https://desec.io/api/v1"
	// desecMinTTL is the least that deSEC accepts, unless they have agreed to
	// less for an account.
	desecMinTTL = time.Hour
	// deSEC allows 15 changes of a zone in a minute. All zones of the account
	// share what is allowed here.
	desecEach, desecBurst = 5 * time.Second, 3
)

// desec changes records over deSEC's API, which replaces a record set as a
// whole, in the notation of a zone file.
type desec struct {
	api    *jsonAPI
	writes *rate.Limiter
}

func openDeSEC(settings map[string]string, env environment) (client, error) {
	token := strings.TrimSpace(settings["api_token"])
	c := &desec{api: newJSONAPI(env, "deSEC", desecAPI, 1500*time.Millisecond, 10), writes: rate.NewLimiter(rate.Every(desecEach), desecBurst)}
	c.api.sign = func(req *http.Request, _ []byte) error {
		req.Header.Set("Authorization", "Token "+token)
		return nil
	}
	return c, nil
}

func (c *desec) pacing() *rate.Limiter { return c.writes }

// desecRRset is a record set in the API.
type desecRRset struct {
	Subname string   `json:"subname"`
	Type    string   `json:"type"`
	TTL     int      `json:"ttl"`
	Records []string `json:"records"`
}

func (c *desec) read(ctx context.Context, at site) ([]record, error) {
	var sets []desecRRset
	sub := relative(at, "")
	if err := c.call(ctx, http.MethodGet, at, "?"+url.Values{"subname": {sub}}.Encode(), nil, &sets); err != nil {
		return nil, err
	}
	var records []record
	for _, set := range sets {
		switch {
		case set.Subname != sub:
		case set.Type == "CNAME" && len(set.Records) > 0:
			return nil, &aliasError{name: at.name, target: set.Records[0]}
		case set.Type == "TXT":
			for _, raw := range set.Records {
				records = append(records, recordOf(raw, set.TTL))
			}
		}
	}
	return records, nil
}

func (c *desec) write(ctx context.Context, at site, e edit) error {
	if err := pace(ctx, c.writes); err != nil {
		return err
	}
	now, err := c.read(ctx, at)
	if err != nil {
		return err
	}
	e = e.onto(now)
	set := desecRRset{Subname: relative(at, ""), Type: "TXT", TTL: int(max(at.ttl, desecMinTTL) / time.Second), Records: e.after()}
	if set.Records == nil {
		set.Records = []string{} // deletes the set
	}
	return c.call(ctx, http.MethodPut, at, "", []desecRRset{set}, nil)
}

func (c *desec) call(ctx context.Context, method string, at site, query string, body, result any) error {
	err := c.api.call(ctx, method, "/domains/"+url.PathEscape(trimDot(at.zone))+"/rrsets/"+query, body, result)
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	switch p.status {
	case http.StatusUnauthorized:
		return errors.New("deSEC does not accept the token (401); copy api_token anew, or make a new one at desec.io")
	case http.StatusForbidden:
		return noZone("deSEC does not let the token do this (403): %s; look at its policies and allowed addresses at desec.io", excerpt(p.body))
	case http.StatusNotFound:
		return noZone("deSEC has no zone %s in this account; create it at desec.io, or name the right `zone` for %s", trimDot(at.zone), trimDot(at.name))
	}
	return err
}

// relative is the name inside its zone; apex stands for the zone's own.
func relative(at site, apex string) string {
	if at.name == at.zone {
		return apex
	}
	return strings.TrimSuffix(at.name, "."+at.zone)
}
