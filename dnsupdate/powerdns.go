package dnsupdate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

func powerdnsSettings() []Setting {
	return []Setting{
		{Key: "url", Required: true, Doc: "address of the PowerDNS API, for example http://127.0.0.1:8081"},
		{Key: "api_key", Required: true, Secret: true, Doc: "value of api-key in pdns.conf"},
		{Key: "server_id", Doc: "id of the server in the API; localhost if left out"},
	}
}

// powerdns changes records over the PowerDNS API. A PATCH replaces the whole
// record set, foreign records included, in one transaction.
type powerdns struct {
	base    string // …/api/v1/servers/<id>
	id      string
	key     string
	http    *http.Client
	limiter *rate.Limiter
}

// powerdnsTimeout bounds one request.
const powerdnsTimeout = 20 * time.Second

func openPowerDNS(settings map[string]string, env environment) (client, error) {
	u, err := url.Parse(strings.TrimSpace(settings["url"]))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("url is not an address such as http://127.0.0.1:8081")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/api/v1"
	}
	id := strings.TrimSpace(settings["server_id"])
	if id == "" {
		id = "localhost"
	}
	return &powerdns{
		base:    strings.TrimRight(u.String(), "/") + "/servers/" + url.PathEscape(id),
		id:      id,
		key:     strings.TrimSpace(settings["api_key"]),
		http:    &http.Client{Transport: env.transport, Timeout: powerdnsTimeout, CheckRedirect: noRedirect},
		limiter: rate.NewLimiter(50, 50),
	}, nil
}

// noRedirect keeps API keys from following a redirect to somewhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// pdnsRRset is a record set in the API.
type pdnsRRset struct {
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	TTL        int          `json:"ttl,omitempty"`
	ChangeType string       `json:"changetype,omitempty"`
	Records    []pdnsRecord `json:"records"`
}

type pdnsRecord struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

// pdnsZone is the part of a zone that is read and patched.
type pdnsZone struct {
	RRsets []pdnsRRset `json:"rrsets"`
}

// read asks for the one name. Disabled records are not in such an answer.
func (c *powerdns) read(ctx context.Context, at site) ([]record, error) {
	return c.list(ctx, at, "?"+url.Values{"rrset_name": {at.name}}.Encode())
}

// list returns the TXT records at the name out of the zone, which a query may
// narrow down. Versions that do not know the query send the whole zone.
func (c *powerdns) list(ctx context.Context, at site, query string) ([]record, error) {
	var zone pdnsZone
	if err := c.call(ctx, http.MethodGet, at, query, nil, &zone); err != nil {
		return nil, err
	}
	var records []record
	for _, set := range zone.RRsets {
		if !strings.EqualFold(set.Name, at.name) {
			continue
		}
		for _, r := range set.Records {
			switch {
			case set.Type == "CNAME" && !r.Disabled:
				return nil, &aliasError{name: at.name, target: r.Content}
			case set.Type == "TXT":
				text, err := textOf(r.Content)
				if err != nil {
					return nil, err
				}
				records = append(records, record{text: text, raw: r.Content, ttl: time.Duration(set.TTL) * time.Second, disabled: r.Disabled})
			}
		}
	}
	return records, nil
}

// write replaces the record set by what is there now, less what is dropped:
// what somebody else has added since it was read stays. Disabled records
// belong to the set, and only the whole zone shows them.
func (c *powerdns) write(ctx context.Context, at site, e edit) error {
	all, err := c.list(ctx, at, "")
	if err != nil {
		return err
	}
	set := pdnsRRset{Name: at.name, Type: "TXT", TTL: int(at.ttl / time.Second), ChangeType: "REPLACE", Records: []pdnsRecord{}}
	for _, r := range all {
		dropped := slices.ContainsFunc(e.drop, func(d record) bool { return d.raw == r.raw })
		if r.disabled || !dropped {
			set.Records = append(set.Records, pdnsRecord{Content: r.raw, Disabled: r.disabled})
		}
	}
	if e.add != "" {
		set.Records = append(set.Records, pdnsRecord{Content: `"` + e.add + `"`})
	}
	if len(set.Records) == 0 {
		set.ChangeType = "DELETE"
	}
	return c.call(ctx, http.MethodPatch, at, "", pdnsZone{RRsets: []pdnsRRset{set}}, nil)
}

// call sends one request about the zone; the result, if wanted, is decoded.
func (c *powerdns) call(ctx context.Context, method string, at site, query string, body, result any) error {
	status, b, err := c.send(ctx, method, "/zones/"+url.PathEscape(at.zone)+query, body)
	if err != nil {
		return err
	}
	switch {
	case status/100 == 2:
		if result == nil {
			return nil
		}
		if err := json.Unmarshal(b, result); err != nil {
			return fmt.Errorf("%s does not answer as the PowerDNS API does; check url: %w", c.base, err)
		}
		return nil
	case status == http.StatusUnauthorized:
		return fmt.Errorf("PowerDNS at %s does not accept the api_key (401); copy api-key from its pdns.conf", c.base)
	case status == http.StatusForbidden:
		return fmt.Errorf("PowerDNS at %s does not let this machine in (403); add its address to webserver-allow-from", c.base)
	case status == http.StatusNotFound:
		return c.notFound(ctx, at)
	case status/100 == 3:
		return fmt.Errorf("%s redirects (%d); name the API's own address in url", c.base, status)
	}
	return fmt.Errorf("PowerDNS at %s answers %d: %s", c.base, status, pdnsProblem(b))
}

// notFound finds out what it is that does not exist.
func (c *powerdns) notFound(ctx context.Context, at site) error {
	status, _, err := c.send(ctx, http.MethodGet, "", nil)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		return noZone("PowerDNS at %s has no zone %s; create it there, or name the right `zone` for %s", c.base, at.zone, trimDot(at.name))
	}
	return fmt.Errorf("there is no PowerDNS server %q at %s (%d); check url and server_id", c.id, c.base, status)
}

func (c *powerdns) send(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	if err := pace(ctx, c.limiter); err != nil {
		return 0, nil, err
	}
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-API-Key", c.key)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		return 0, nil, fmt.Errorf("the PowerDNS API cannot be reached; check url and that api and webserver are on: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("PowerDNS at %s broke off its answer: %w", c.base, err)
	}
	return resp.StatusCode, b, nil
}

// maxAnswer bounds what is read of an API's answer.
const maxAnswer = 64 << 20

// pdnsProblem is what the API says is wrong.
func pdnsProblem(body []byte) string {
	var p struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &p) == nil && p.Error != "" {
		return strings.Join(append([]string{p.Error}, p.Errors...), "; ")
	}
	return excerpt(body)
}

// excerpt is the beginning of an answer that is not what was expected, on one line.
func excerpt(body []byte) string {
	s := strings.Join(strings.Fields(string(body)), " ")
	if s == "" {
		return "(nothing more)"
	}
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}
