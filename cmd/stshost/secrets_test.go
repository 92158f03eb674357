package main

import (
	"bytes"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Secrets of DNS accounts and private keys appear nowhere: not when all is
// well, not when the provider refuses them or sends them back, not in what is
// said of a config that has them in the wrong place.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// set makes the account that works, and returns its secrets and what
		// makes it fail.
		set func(t *testing.T, w *world) (secrets []string, fail func())
		// key is the setting that has the secret.
		key string
	}{
		{"rfc2136", func(t *testing.T, w *world) ([]string, func()) {
			return []string{w.lab.DNS.Key().Secret}, func() { w.lab.DNS.Fail(lab.DNSFault{Updates: true, Rcode: 9}) } // NOTAUTH
		}, "key"},
		{"cloudflare", func(t *testing.T, w *world) ([]string, func()) {
			cf := cloudflaretest.Start(t, example)
			cf.Add(t, "A", "mta-sts."+example, "127.0.0.1")
			w.dnsAddr, w.dnsPort, w.transport = cf.DNSAddr, cf.DNSPort, cf.Transport()
			w.account = "provider = \"cloudflare\"\napi_token = \"" + cf.Token + "\"\nzone_token = \"" + cf.ZoneToken + "\"\n"
			return []string{cf.Token, cf.ZoneToken}, func() {
				cf.Fail(func(r *http.Request) *cloudflaretest.Failure { // the worst of answers: it repeats the token
					return &cloudflaretest.Failure{Status: 403, Body: `{"success":false,"errors":[{"code":9109,"message":"Invalid access token ` +
						strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + `"}],"messages":[],"result":null}`}
				})
			}
		}, "api_token"},
		{"powerdns", func(t *testing.T, w *world) ([]string, func()) {
			pdns := dnstest.StartPowerDNS(t, example)
			w.useRFC2136(pdns)
			account := func(key string) string {
				return "provider = \"powerdns\"\nurl = \"" + pdns.APIURL + "\"\napi_key = \"" + key + "\"\n"
			}
			const wrong = "a-wrong-and-secret-api-key"
			w.account = account(pdns.APIKey)
			return []string{pdns.APIKey, wrong}, func() { w.account = account(wrong) }
		}, "api_key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, example)
			secrets, fail := c.set(t, w)
			quoted := make([]string, 0, 4) // old, new: each secret in a list
			for _, secret := range secrets {
				quoted = append(quoted, `"`+secret+`"`, `["`+secret+`"]`)
			}
			s := w.start()
			before := w.confirmed(example)
			secrets = append(secrets, w.storedSecrets(s)...)
			shown := w.everythingShown()

			fail()
			w.domains[0].mx = []string{"mx2.mail.test"}
			s.reload()
			d := w.await(example, "the provider's refusal", blockedBy("dns account main"))
			if d.Body == before.Body || d.Step != state.Proven {
				t.Errorf("blocked in step %s with %q", d.Step, d.Body)
			}
			shown = append(shown, w.everythingShown()...)

			// The secret under a key that does not exist, as a value of the
			// wrong type, beside another way to give it, for a provider that
			// does not exist, and misspelt.
			right := w.account
			faulty := []string{
				strings.Replace(right, c.key+" =", c.key+"s =", 1),
				strings.NewReplacer(quoted...).Replace(right),
				right + c.key + "_file = \"/nonexistent\"\n",
				strings.Replace(right, "provider = \""+c.name+"\"", "provider = \""+c.name+"s\"", 1),
			}
			if c.name == "rfc2136" { // whose key is base64
				faulty = append(faulty, strings.Replace(right, secrets[0], secrets[0]+"*", 1))
			}
			for _, account := range faulty {
				w.account = account
				w.writeConfig()
				_, err := w.client().Reload(t.Context(), server.ReloadOrder{})
				if err == nil {
					t.Errorf("a faulty config was taken:\n%s", account)
					continue
				}
				shown = append(shown, err.Error())
				for _, args := range [][]string{{"config", "check"}, {"config", "check", "--json"}, {"reload"}} {
					out, _ := exec.Command("stshost", append(args, "--config", w.config())...).CombinedOutput()
					shown = append(shown, string(out))
				}
			}

			// Read from the store, without a server.
			w.account = right
			w.writeConfig()
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			shown = append(shown, w.stshost("status", example, "--json"), w.stshost("explain", example), s.log.String())
			events := w.stshost("events", "--json", "-n", "10000")
			if err := saysAll(events, state.KindConfigRefused, state.KindDomainBlocked); err != nil {
				t.Error(err)
			}
			shown = append(shown, events)
			for _, text := range shown {
				for _, secret := range secrets {
					if strings.Contains(text, secret) {
						t.Errorf("%q is shown in:\n%s", secret, text)
					}
				}
			}
		})
	}
}

// everythingShown is all that the running server and the commands say.
func (w *world) everythingShown() []string {
	w.t.Helper()
	var all []string
	for _, path := range []string{"/", "/domains/" + example, "/metrics", "/readyz", "/api/v1/openapi.json", "/api/v1/domains",
		"/api/v1/domains/" + example, "/api/v1/domains/" + example + "/explain", "/api/v1/domains/" + example + "/records",
		"/api/v1/domains/" + example + "/fetches", "/api/v1/version", "/api/v1/events?limit=10000"} {
		all = append(all, w.adminGet(path))
	}
	for _, args := range [][]string{{"status"}, {"status", example}, {"explain", example}, {"explain", example, "--json"},
		{"records", example}, {"config", "check"}, {"config", "check", "--json"}} {
		all = append(all, w.stshost(args...))
	}
	return all
}

// storedSecrets are the secrets in the store, in every form that text might
// have them in: the account's key at the CA, the certificate's key, and what
// the token for the probe is made of.
func (w *world) storedSecrets(s *running) []string {
	w.t.Helper()
	var raw [][]byte
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "stshost.db")+"?mode=ro")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	var data []byte
	if err := db.QueryRowContext(w.t.Context(), "SELECT data FROM acme_data WHERE name LIKE 'account/%'").Scan(&data); err != nil {
		w.t.Fatal(err)
	}
	var account struct{ Key []byte }
	if err := json.Unmarshal(data, &account); err != nil {
		w.t.Fatal(err)
	}
	cert, err := s.store.Certificate(w.t.Context(), "mta-sts."+example)
	if err != nil {
		w.t.Fatal(err)
	}
	block, _ := pem.Decode(cert.PEM)
	for _, der := range [][]byte{account.Key, block.Bytes} {
		key, err := x509.ParseECPrivateKey(der)
		if err != nil {
			w.t.Fatal(err)
		}
		d, err := key.Bytes()
		if err != nil {
			w.t.Fatal(err)
		}
		raw = append(raw, der, d)
	}
	probe, err := s.store.Secret(w.t.Context(), "probe")
	if err != nil {
		w.t.Fatal(err)
	}
	raw = append(raw, probe)

	var all []string
	for _, b := range raw {
		all = append(all, string(b), hex.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b),
			base64.RawURLEncoding.EncodeToString(b), url.QueryEscape(string(b)))
	}
	// The first line is the same for every key of the curve: a later one.
	if lines := bytes.Split(cert.PEM, []byte("\n")); len(lines) > 3 {
		all = append(all, string(lines[2]))
	}
	return all
}
