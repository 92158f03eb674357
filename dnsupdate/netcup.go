package dnsupdate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

func netcupSettings() []Setting {
	return []Setting{
		{Key: "customer_number", Required: true, Doc: "netcup customer number, which is also the login of the customer control panel"},
		{Key: "api_key", Required: true, Secret: true, Doc: "API key, from the customer control panel under Master Data, API"},
		{Key: "api_password", Required: true, Secret: true, Doc: "API password, from the same page"},
	}
}

const netcupAPI = "https://ccp.netcup.net/run/webservice/servers/endpoint.php?JSON"

// netcup changes records over netcup's API: a session for each look and each
// change, and all changes of a name in one request. Records have no TTL of their
// own there.
type netcup struct {
	api                   *jsonAPI
	customer, key, secret string
}

func openNetcup(settings map[string]string, env environment) (client, error) {
	c := &netcup{
		api:      newJSONAPI(env, "netcup", netcupAPI, time.Second, 20),
		customer: strings.TrimSpace(settings["customer_number"]), key: strings.TrimSpace(settings["api_key"]), secret: strings.TrimSpace(settings["api_password"]),
	}
	if c.customer == "" || strings.Trim(c.customer, "0123456789") != "" {
		return nil, fmt.Errorf("customer_number %q is not a number", c.customer)
	}
	return c, nil
}

func (c *netcup) pacing() *rate.Limiter { return c.api.limiter }

// netcupRecord is a record in the API; one without an id is new.
type netcupRecord struct {
	ID          string `json:"id"`
	Hostname    string `json:"hostname"`
	Type        string `json:"type"`
	Priority    string `json:"priority"`
	Destination string `json:"destination"`
	Delete      bool   `json:"deleterecord"`
}

type netcupRecords struct {
	Records []netcupRecord `json:"dnsrecords"`
}

// netcupEmpty is the code of the error that netcup answers for a zone without
// records.
const netcupEmpty = 5029

// netcupError is an answer that says error.
type netcupError struct {
	code int
	text string
}

func (e *netcupError) Error() string { return e.text }

func (c *netcup) read(ctx context.Context, at site) ([]record, error) {
	var found netcupRecords
	err := c.session(ctx, func(session string) error {
		err := c.call(ctx, "infoDnsRecords", map[string]any{"apisessionid": session, "domainname": trimDot(at.zone)}, &found)
		if refused := (*netcupError)(nil); errors.As(err, &refused) && refused.code == netcupEmpty {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, netcupRefusal(at, err)
	}
	var records []record
	for _, r := range found.Records {
		switch {
		case !strings.EqualFold(r.Hostname, relative(at, "@")):
		case r.Type == "CNAME":
			return nil, &aliasError{name: at.name, target: r.Destination}
		case r.Type == "TXT":
			found := recordOf(r.Destination, 0)
			found.raw = r.ID
			records = append(records, found)
		}
	}
	return records, nil
}

func (c *netcup) write(ctx context.Context, at site, e edit) error {
	gone := make(map[string]string)
	for _, r := range e.drop {
		gone[r.raw] = r.text
	}
	var set netcupRecords
	for _, ch := range e.changes() {
		r := netcupRecord{ID: ch.id, Hostname: relative(at, "@"), Type: "TXT", Priority: "0", Destination: ch.text, Delete: ch.text == ""}
		if r.Delete {
			r.Destination = gone[ch.id]
		}
		set.Records = append(set.Records, r)
	}
	return netcupRefusal(at, c.session(ctx, func(session string) error {
		return c.call(ctx, "updateDnsRecords", map[string]any{"apisessionid": session, "domainname": trimDot(at.zone), "dnsrecordset": set}, nil)
	}))
}

// netcupRefusal says what an answer that says error means for a zone.
func netcupRefusal(at site, err error) error {
	if refused := (*netcupError)(nil); errors.As(err, &refused) {
		return noZone("%v; is the zone %s in this account? Another `zone` can be named in the config", err, trimDot(at.zone))
	}
	return err
}

// session logs in, calls f, and logs out.
func (c *netcup) session(ctx context.Context, f func(session string) error) error {
	var s struct {
		ID string `json:"apisessionid"`
	}
	if err := c.call(ctx, "login", map[string]any{"apipassword": c.secret}, &s); err != nil {
		if refused := (*netcupError)(nil); errors.As(err, &refused) {
			return fmt.Errorf("%v; compare customer_number, api_key and api_password with the customer control panel", err)
		}
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		c.call(ctx, "logout", map[string]any{"apisessionid": s.ID}, nil) // it ends by itself after some minutes
	}()
	return f(s.ID)
}

// call sends one request. The API answers 200 in any case, and says in the body
// whether it was a success.
func (c *netcup) call(ctx context.Context, action string, param map[string]any, result any) error {
	param["customernumber"], param["apikey"] = c.customer, c.key
	var answer struct {
		Status string          `json:"status"`
		Code   int             `json:"statuscode"`
		Short  string          `json:"shortmessage"`
		Long   string          `json:"longmessage"`
		Data   json.RawMessage `json:"responsedata"`
	}
	if err := c.api.call(ctx, http.MethodPost, "", map[string]any{"action": action, "param": param}, &answer); err != nil {
		return err
	}
	switch {
	case answer.Status != "success":
		return &netcupError{answer.Code, fmt.Sprintf("netcup refuses %s (%d): %s: %s", action, answer.Code, answer.Short, answer.Long)}
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(answer.Data, result); err != nil {
		return fmt.Errorf("the netcup API answers %s with data that cannot be read: %w", action, err)
	}
	return nil
}
