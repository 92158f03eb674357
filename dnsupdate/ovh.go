package dnsupdate

import (
	"context"
	"crypto/sha1" // what OVH signs with
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

func ovhSettings() []Setting {
	return []Setting{
		{Key: "endpoint", Doc: "which OVH: " + strings.Join(slices.Sorted(maps.Keys(ovhEndpoints())), ", ") + "; ovh-eu if left out"},
		{Key: "application_key", Required: true, Secret: true, Doc: "application key, from the createToken page of that OVH"},
		{Key: "application_secret", Required: true, Secret: true, Doc: "application secret that came with the key"},
		{Key: "consumer_key", Required: true, Secret: true, Doc: "consumer key with the rights GET, POST, PUT and DELETE on /domain/zone/<zone>/*"},
	}
}

func ovhEndpoints() map[string]string {
	return map[string]string{
		"ovh-eu": "https://eu.api.ovh.com/1.0",
		"ovh-ca": "https://ca.api.ovh.com/1.0",
		"ovh-us": "https://api.us.ovhcloud.com/1.0",
	}
}

// ovhMinTTL is the least that OVH accepts.
const ovhMinTTL = time.Minute

// ovh changes records over OVH's API, one by one by their ids, and a changed one
// in place. Changes wait until the zone is refreshed, so they show all at once.
type ovh struct {
	api                   *jsonAPI
	key, secret, consumer string

	mu        sync.Mutex
	asked     bool           // whether ahead is known
	ahead     time.Duration  // how far our clock is ahead of OVH's
	changed   map[string]int // changes sent, by zone
	published map[string]int // how many of them had ended before the zone's last refresh began
}

func openOVH(settings map[string]string, env environment) (client, error) {
	endpoint := strings.TrimSpace(settings["endpoint"])
	if endpoint == "" {
		endpoint = "ovh-eu"
	}
	base, ok := ovhEndpoints()[endpoint]
	if !ok {
		return nil, fmt.Errorf("endpoint %q is not known; use one of %s", endpoint, strings.Join(slices.Sorted(maps.Keys(ovhEndpoints())), ", "))
	}
	c := &ovh{
		api: newJSONAPI(env, "OVH", base, 250*time.Millisecond, 20),
		key: strings.TrimSpace(settings["application_key"]), secret: strings.TrimSpace(settings["application_secret"]),
		consumer: strings.TrimSpace(settings["consumer_key"]),
		changed:  make(map[string]int), published: make(map[string]int),
	}
	c.api.sign = c.sign
	return c, nil
}

func (c *ovh) pacing() *rate.Limiter { return c.api.limiter }

// sign adds OVH's signature over the request and the time.
func (c *ovh) sign(req *http.Request, body []byte) error {
	if strings.HasSuffix(req.URL.Path, "/auth/time") {
		return nil
	}
	c.mu.Lock()
	at := strconv.FormatInt(c.api.now().Add(-c.ahead).Unix(), 10)
	c.mu.Unlock()
	sum := sha1.Sum([]byte(strings.Join([]string{c.secret, c.consumer, req.Method, req.URL.String(), string(body), at}, "+")))
	req.Header.Set("X-Ovh-Application", c.key)
	req.Header.Set("X-Ovh-Consumer", c.consumer)
	req.Header.Set("X-Ovh-Timestamp", at)
	req.Header.Set("X-Ovh-Signature", fmt.Sprintf("$1$%x", sum))
	return nil
}

// ovhRecord is a record in the API.
type ovhRecord struct {
	ID        int64  `json:"id,omitempty"`
	FieldType string `json:"fieldType,omitempty"`
	SubDomain string `json:"subDomain"`
	Target    string `json:"target"`
	TTL       int    `json:"ttl"`
}

func (c *ovh) read(ctx context.Context, at site) ([]record, error) {
	c.mu.Lock()
	n, known := c.published[at.zone]
	waiting := !known || n != c.changed[at.zone]
	c.mu.Unlock()
	if waiting {
		// A change of an earlier time may wait, of this process or of one that
		// was killed: the records would seem right, and nobody see them.
		if err := c.refresh(ctx, at); err != nil {
			return nil, err
		}
	}
	var ids []int64
	if err := c.call(ctx, http.MethodGet, at, "/record?"+url.Values{"subDomain": {relative(at, "")}}.Encode(), nil, &ids); err != nil {
		return nil, err
	}
	var records []record
	for _, id := range ids {
		var r ovhRecord
		if err := c.call(ctx, http.MethodGet, at, "/record/"+strconv.FormatInt(id, 10), nil, &r); err != nil {
			return nil, err
		}
		switch {
		case r.SubDomain != relative(at, ""): // a filter that is left out is no filter: the apex is ""
		case r.FieldType == "CNAME":
			return nil, &aliasError{name: at.name, target: r.Target}
		case r.FieldType == "TXT":
			found := recordOf(r.Target, 0) // the TTL is each record's own
			found.raw = strconv.FormatInt(r.ID, 10)
			records = append(records, found)
		}
	}
	return records, nil
}

func (c *ovh) write(ctx context.Context, at site, e edit) error {
	for _, ch := range e.changes() {
		r := ovhRecord{SubDomain: relative(at, ""), Target: quoted(ch.text), TTL: int(max(at.ttl, ovhMinTTL) / time.Second)}
		var err error
		switch {
		case ch.text == "":
			err = c.call(ctx, http.MethodDelete, at, "/record/"+ch.id, nil, nil)
		case ch.id != "":
			err = c.call(ctx, http.MethodPut, at, "/record/"+ch.id, r, nil)
		default:
			r.FieldType = "TXT"
			err = c.call(ctx, http.MethodPost, at, "/record", r, nil)
		}
		c.mu.Lock()
		c.changed[at.zone]++ // after an error, too: what became of it is not known
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return c.refresh(ctx, at)
}

// refresh has OVH publish the zone's changes.
func (c *ovh) refresh(ctx context.Context, at site) error {
	c.mu.Lock()
	n := c.changed[at.zone] // another name's may come while this is under way, and not be in it
	c.mu.Unlock()
	if err := c.call(ctx, http.MethodPost, at, "/refresh", nil, nil); err != nil {
		return fmt.Errorf("publish the zone: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published[at.zone] = max(n, c.published[at.zone])
	return nil
}

// synchronize asks what time it is at OVH, unless that is known.
func (c *ovh) synchronize(ctx context.Context) error {
	c.mu.Lock()
	known := c.asked
	c.mu.Unlock()
	if known {
		return nil
	}
	var seconds int64
	if err := c.api.call(ctx, http.MethodGet, "/auth/time", nil, &seconds); err != nil {
		return err
	}
	ahead := c.api.now().Sub(time.Unix(seconds, 0))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.ahead = true, ahead
	return nil
}

func (c *ovh) call(ctx context.Context, method string, at site, path string, body, result any) error {
	if err := c.synchronize(ctx); err != nil {
		return err
	}
	err := c.api.call(ctx, method, "/domain/zone/"+url.PathEscape(trimDot(at.zone))+path, body, result)
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	if p.status/100 == 4 && p.status != http.StatusNotFound {
		c.mu.Lock()
		c.asked = false // our clock may have been set since
		c.mu.Unlock()
	}
	switch p.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return noZone("OVH does not let these keys do this (%d): %s; the consumer key needs GET, POST, PUT and DELETE on /domain/zone/%s/*, and must be validated and not expired", p.status, excerpt(p.body), trimDot(at.zone))
	case http.StatusNotFound:
		if path == "/refresh" || strings.HasPrefix(path, "/record?") {
			return noZone("OVH has no zone %s in this account; name the right `zone` for %s, or another account", trimDot(at.zone), trimDot(at.name))
		}
	}
	return err
}
