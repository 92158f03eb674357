package dnstest

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // PowerDNS keeps its zones in an SQLite file that is prepared here
)

// pdnsSchema is where Debian's pdns-backend-sqlite3 has the tables.
const pdnsSchema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"

// StartPowerDNS starts PowerDNS (Debian packages pdns-server and
// pdns-backend-sqlite3) with these zones, its API and RFC 2136 updates.
func StartPowerDNS(t testing.TB, zones ...string) *Server {
	t.Helper()
	binary := RequireServer(t, "pdns_server", "pdns-server")
	schema, err := os.ReadFile(pdnsSchema)
	if err != nil {
		missing(t, pdnsSchema, "pdns-backend-sqlite3")
	}
	s := newServer(t, "powerdns", zones)
	s.APIKey = randomSecret()
	apiPort := freePort(t)
	s.APIURL = fmt.Sprintf("http://127.0.0.1:%d", apiPort)
	dir := t.TempDir()

	file := filepath.Join(dir, "pdns.db")
	s.preparePowerDNS(t, file, string(schema))
	conf := fmt.Sprintf(`launch=gsqlite3
gsqlite3-database=%s
local-address=127.0.0.1
local-port=%d
socket-dir=%s
api=yes
api-key=%s
webserver=yes
webserver-address=127.0.0.1
webserver-port=%d
webserver-allow-from=127.0.0.0/8
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
cache-ttl=0
negquery-cache-ttl=0
query-cache-ttl=0
zone-cache-refresh-interval=0
default-ksk-algorithm=
receiver-threads=1
distributor-threads=1
guardian=no
daemon=no
loglevel=4
`, file, s.Port, dir, s.APIKey, apiPort)
	writeFile(t, filepath.Join(dir, "pdns.conf"), conf)
	s.start(t, dir, binary, "--config-dir="+dir)
	return s
}

// preparePowerDNS fills the database: zones, keys, and who may update.
func (s *Server) preparePowerDNS(t testing.TB, file, schema string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatalf("prepare PowerDNS: %v", err)
		}
	}
	exec(schema)
	for _, key := range [][2]string{{s.TSIGName, s.TSIGSecret}, {s.adminName, s.adminSecret}, {s.IdleName, s.IdleSecret}} {
		exec(`INSERT INTO tsigkeys (name, algorithm, secret) VALUES (?, ?, ?)`, noDot(key[0]), tsigAlgorithm, key[1])
	}
	for i, z := range s.zones {
		id := i + 1
		exec(`INSERT INTO domains (id, name, type) VALUES (?, ?, 'MASTER')`, id, noDot(z))
		for _, r := range [][3]string{
			{noDot(z), "SOA", "ns1." + noDot(z) + " hostmaster." + noDot(z) + " 1 3600 600 86400 1"},
			{noDot(z), "NS", "ns1." + noDot(z)},
			{"ns1." + noDot(z), "A", "127.0.0.1"},
		} {
			exec(`INSERT INTO records (domain_id, name, type, content, ttl, disabled, auth) VALUES (?, ?, ?, ?, 60, 0, 1)`, id, r[0], r[1], r[2])
		}
		for _, m := range [][2]string{
			{"TSIG-ALLOW-DNSUPDATE", noDot(s.TSIGName)},
			{"TSIG-ALLOW-DNSUPDATE", noDot(s.adminName)},
			{"SOA-EDIT-API", "DEFAULT"},
			{"SOA-EDIT-DNSUPDATE", "DEFAULT"},
		} {
			exec(`INSERT INTO domainmetadata (domain_id, kind, content) VALUES (?, ?, ?)`, id, m[0], m[1])
		}
	}
}

func noDot(name string) string { return name[:len(name)-1] }

// API calls the PowerDNS API and fails the test on any status but 2xx.
func (s *Server) API(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, s.APIURL+"/api/v1/servers/localhost"+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", s.APIKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, _ := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("PowerDNS %s %s: %s: %s", method, path, resp.Status, out)
	}
	return out
}
