package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	libcloudflare "github.com/libdns/cloudflare"
)

func cloudflareSettings() []Setting {
	return []Setting{
		{Key: "api_token", Required: true, Secret: true, Doc: "API token with Zone:Read and DNS:Edit on the zones (not the global API key)"},
		{Key: "zone_token", Secret: true, Doc: "second token with Zone:Read on all zones, if api_token is limited to one zone's DNS"},
	}
}

// cloudflareAPI is the address that the libdns module has built in.
const cloudflareAPI = "https://api.cloudflare.com/client/v4"

// cloudflareMinTTL is the least that plans below Enterprise accept.
const cloudflareMinTTL = time.Minute

// cloudflare changes records over Cloudflare's API. It reads the one name by
// itself, because the module can only read whole zones, and writes through the
// module. Both go through one transport, see cloudflareHTTP.
type cloudflare struct {
	http      *cloudflareHTTP
	zoneToken string // "" uses the API token
	apiToken  string

	mu     sync.Mutex
	module *libcloudflare.Provider // remembers zone ids of its own
	zones  map[string]string       // apex with dot → zone id
}

func openCloudflare(settings map[string]string, env environment) (client, error) {
	c := &cloudflare{
		http:      newCloudflareHTTP(env),
		apiToken:  strings.TrimSpace(settings["api_token"]),
		zoneToken: strings.TrimSpace(settings["zone_token"]),
		zones:     make(map[string]string),
	}
	for key, token := range map[string]string{"api_token": c.apiToken, "zone_token": c.zoneToken} {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%s contains blanks or other characters that no token has; was more than the token copied?", key)
		}
	}
	c.module = c.newModule()
	return c, nil
}

// cloudflareRecord is the part of a DNS record in the API that is used here.
type cloudflareRecord struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Content string `json:"content"`
	TTL     int    `json:"ttl"` // seconds; 1 is "automatic"
}

func (c *cloudflare) read(ctx context.Context, at site) ([]record, error) {
	id, err := c.zoneID(ctx, at)
	if err != nil {
		return nil, err
	}
	var found []cloudflareRecord
	query := url.Values{"name": {trimDot(at.name)}, "per_page": {"100"}}
	if err := c.get(ctx, c.apiToken, "/zones/"+url.PathEscape(id)+"/dns_records?"+query.Encode(), &found); err != nil {
		if refused := (*cloudflareRefusal)(nil); errors.As(err, &refused) {
			c.forget() // the zone may have been deleted and made again under another id
		}
		return nil, fmt.Errorf("read the records of %s: %w", trimDot(at.name), err)
	}
	var records []record
	for _, r := range found {
		if !strings.EqualFold(strings.TrimSuffix(r.Name, "."), trimDot(at.name)) {
			continue
		}
		switch r.Type {
		case "CNAME":
			return nil, &aliasError{name: at.name, target: r.Content}
		case "TXT":
			text, err := textOf(r.Content)
			if err != nil {
				return nil, err
			}
			// The TTL is each record's own at Cloudflare, so none is passed on.
			records = append(records, record{text: text, raw: r.Content})
		}
	}
	return records, nil
}

func (c *cloudflare) write(ctx context.Context, at site, e edit) error {
	at.ttl = max(at.ttl, cloudflareMinTTL)
	c.mu.Lock()
	module := c.module
	c.mu.Unlock()
	return writeLibdns(ctx, module, at, e)
}

// zoneID looks the zone up once and keeps its id.
func (c *cloudflare) zoneID(ctx context.Context, at site) (string, error) {
	c.mu.Lock()
	id, ok := c.zones[at.zone]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	token := c.apiToken
	if c.zoneToken != "" {
		token = c.zoneToken
	}
	var zones []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	if err := c.get(ctx, token, "/zones?"+url.Values{"name": {trimDot(at.zone)}}.Encode(), &zones); err != nil {
		return "", fmt.Errorf("look up zone %s: %w", trimDot(at.zone), err)
	}
	if len(zones) != 1 {
		return "", noZone("the Cloudflare API shows this token %d zones named %s; "+
			"is the zone in this account, and does the token have Zone:Read for it? Another `zone` can be named in the config", len(zones), trimDot(at.zone))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zones[at.zone] = zones[0].ID
	return zones[0].ID, nil
}

func (c *cloudflare) newModule() *libcloudflare.Provider {
	return &libcloudflare.Provider{APIToken: c.apiToken, ZoneToken: c.zoneToken, HTTPClient: c.http}
}

// forget drops every zone id that was learnt, the module's too.
func (c *cloudflare) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.zones)
	c.module = c.newModule()
}

// get reads one result of the API.
func (c *cloudflare) get(ctx context.Context, token, path string, result any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cloudflareAPI+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return c.http.result(req, result)
}
