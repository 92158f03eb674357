package dnsupdate

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

func ionosSettings() []Setting {
	return []Setting{
		{Key: "api_key", Required: true, Secret: true, Doc: "API key from developer.hosting.ionos.com: public prefix, a dot, and the secret"},
	}
}

const (
	ionosAPI = "https://api.hosting.ionos.com/dns/v1"
	// ionosMinTTL is the least that other clients of the API use.
	ionosMinTTL = 5 * time.Minute
)

// ionos changes records over the API of IONOS (hosting), one by one by their
// ids, and a changed one in place.
type ionos struct {
	api *jsonAPI

	mu    sync.Mutex
	zones map[string]string // apex with dot → zone id
}

func openIONOS(settings map[string]string, env environment) (client, error) {
	key := strings.TrimSpace(settings["api_key"])
	if prefix, secret, ok := strings.Cut(key, "."); !ok || prefix == "" || secret == "" {
		return nil, errors.New("api_key is not the public prefix, a dot, and the secret")
	}
	c := &ionos{api: newJSONAPI(env, "IONOS", ionosAPI, time.Second, 10), zones: make(map[string]string)}
	c.api.sign = func(req *http.Request, _ []byte) error {
		req.Header.Set("X-API-Key", key)
		return nil
	}
	return c, nil
}

func (c *ionos) pacing() *rate.Limiter { return c.api.limiter }

// ionosRecord is the part of a record in the API that is used here.
type ionosRecord struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name,omitempty"` // absolute, no trailing dot
	Type     string `json:"type,omitempty"`
	Content  string `json:"content"`
	TTL      int    `json:"ttl"`
	Prio     int    `json:"prio"`
	Disabled bool   `json:"disabled"`
}

func (c *ionos) read(ctx context.Context, at site) ([]record, error) {
	id, err := c.zoneID(ctx, at)
	if err != nil {
		return nil, err
	}
	var zone struct {
		Records []ionosRecord `json:"records"`
	}
	query := url.Values{"recordName": {trimDot(at.name)}}
	if err := c.call(ctx, http.MethodGet, "/zones/"+url.PathEscape(id)+"?"+query.Encode(), nil, &zone); err != nil {
		return nil, err
	}
	var records []record
	for _, r := range zone.Records {
		switch {
		case !strings.EqualFold(strings.TrimSuffix(r.Name, "."), trimDot(at.name)):
		case r.Type == "CNAME" && !r.Disabled:
			return nil, &aliasError{name: at.name, target: r.Content}
		case r.Type == "TXT":
			found := recordOf(r.Content, 0) // the TTL is each record's own
			found.raw, found.disabled = r.ID, r.Disabled
			records = append(records, found)
		}
	}
	return records, nil
}

func (c *ionos) write(ctx context.Context, at site, e edit) error {
	id, err := c.zoneID(ctx, at)
	if err != nil {
		return err
	}
	path := "/zones/" + url.PathEscape(id) + "/records"
	for _, ch := range e.changes() {
		// IONOS puts the text into quotes itself.
		r := ionosRecord{Content: ch.text, TTL: int(max(at.ttl, ionosMinTTL) / time.Second)}
		switch {
		case ch.text == "":
			err = c.call(ctx, http.MethodDelete, path+"/"+url.PathEscape(ch.id), nil, nil)
		case ch.id != "":
			err = c.call(ctx, http.MethodPut, path+"/"+url.PathEscape(ch.id), r, nil)
		default:
			r.Name, r.Type = trimDot(at.name), "TXT"
			err = c.call(ctx, http.MethodPost, path, []ionosRecord{r}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zoneID looks the zone up once and keeps its id.
func (c *ionos) zoneID(ctx context.Context, at site) (string, error) {
	c.mu.Lock()
	id, ok := c.zones[at.zone]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	var zones []struct{ ID, Name string }
	if err := c.call(ctx, http.MethodGet, "/zones", nil, &zones); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, z := range zones {
		if strings.EqualFold(z.Name, trimDot(at.zone)) {
			c.zones[at.zone] = z.ID
			return z.ID, nil
		}
	}
	return "", noZone("IONOS shows this key no zone %s; is the domain in this contract, and its DNS at IONOS? Another `zone` can be named in the config", trimDot(at.zone))
}

func (c *ionos) call(ctx context.Context, method, path string, body, result any) error {
	err := c.api.call(ctx, method, path, body, result)
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	switch p.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return errors.New("IONOS does not accept the api_key; copy it anew: public prefix, a dot, and the secret")
	case http.StatusNotFound: // the zone may have been deleted and made again under another id
		c.mu.Lock()
		clear(c.zones)
		c.mu.Unlock()
	}
	return err
}
