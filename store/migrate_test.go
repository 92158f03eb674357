package store_test

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

func migrations(t *testing.T, db *sql.DB) *goose.Provider {
	t.Helper()
	return get[*goose.Provider](t)(goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations/sqlite"),
		goose.WithDisableGlobalRegistry(true)))
}

// makeVersion makes a database as the stshost that knew versions up to this
// one left it.
func makeVersion(t *testing.T, path string, version int64) {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	db := raw(t, path)
	mustExec(t, db, `PRAGMA journal_mode = wal`)
	mustExec(t, db, `PRAGMA application_id = 1398035272`) // "STSH"
	if version > 0 {
		_, err := migrations(t, db).UpTo(t.Context(), version)
		noError(t, err)
	}
	if version >= 2 {
		mustExec(t, db, `INSERT INTO certificates VALUES ('mta-sts.example.com', 1735734615000000, 1743510615000000, x'42')`)
		mustExec(t, db, `INSERT INTO cert_jobs (host, due, not_after, attempts, challenge, problem, last_attempt, running)
			VALUES ('mta-sts.example.com', 1740918615000000, 1743510615000000, 2, 'http-01', 'no', 1735734615000000, 0)`)
		mustExec(t, db, `INSERT INTO acme_data VALUES ('key', x'43')`)
		mustExec(t, db, `INSERT INTO orders (account, at) VALUES ('ca', 1735734615000000)`)
	}
	if version >= 3 {
		mustExec(t, db, `INSERT INTO secrets VALUES ('probe', x'44')`)
	}
	if version >= 4 {
		mustExec(t, db, `INSERT INTO events (at, kind, severity, domain, host, text, remedy, evidence) VALUES (1, 'domain.step', 1, '', '', '', '', '')`)
	}
	if version >= 9 {
		mustExec(t, db, `INSERT INTO rollouts VALUES ('example.com', 'enforce', 86400, 1735734615123456, 0, 'enforce', 0, 1, 0,
			'[{"gate":"time","reason":"r","time":"2025-01-01T12:30:15.123456Z"}]', '{"time":"2025-01-01T12:30:15.123456Z","mx":["a.example"],"findings":[]}',
			'["b.example"]', 1, 'main', '', '_mta-sts.example.com', 300, '{"stage":"testing","max_age":604800,"goal":""}', 'why')`)
	}
	if version >= 1 {
		mustExec(t, db, `INSERT INTO domains (name, step, since, mode, max_age, config_max_age, adopted, body_sha256, record_id, proof, last_error, remedy, attempts, last_run, next_run) VALUES ('example.com', 'serving', 1735734615123456, 'testing', 86400, 0, 0, 'aa', '', '', '', '', 0, 0, 0)`)
		mustExec(t, db, `INSERT INTO bodies VALUES ('example.com', 'aa', 'testing', 86400, 1735734615123456, 0, 0, x'41')`)
	}
	noError(t, db.Close())
	noError(t, os.Chmod(path, 0o600))
}

func schema(t *testing.T, path string) []string {
	t.Helper()
	rows := get[*sql.Rows](t)(raw(t, path).Query(`SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name`))
	defer rows.Close()
	var all []string
	for rows.Next() {
		var kind, name, text string
		noError(t, rows.Scan(&kind, &name, &text))
		all = append(all, kind+" "+name+" "+text)
	}
	noError(t, rows.Err())
	return all
}

func TestEveryOlderVersionIsUpgraded(t *testing.T) {
	fresh := newPath(t)
	open(t, fresh)
	sources := migrations(t, raw(t, fresh)).ListSources()
	newest := sources[len(sources)-1].Version
	if newest < 3 {
		t.Fatalf("the newest version is %d", newest)
	}
	versions := []int64{0}
	for _, source := range sources {
		versions = append(versions, source.Version)
	}
	for _, version := range versions {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := newPath(t)
			makeVersion(t, path, version)
			if version < newest {
				_, err := store.OpenReadOnly(t.Context(), path)
				errorSays(t, err, "older stshost", fmt.Sprintf("version %d", version), "stshost serve")
			}
			s := open(t, path)
			equal(t, schema(t, path), schema(t, fresh))
			if version >= 1 {
				d := get[state.Domain](t)(s.Domain(t.Context(), "example.com"))
				equal(t, d.Since, day(1))
				bodies := get[[]state.Body](t)(s.CurrentBodies(t.Context()))
				equal(t, string(bodies[0].Body), "A")
			}
			if version >= 2 {
				const host = "mta-sts.example.com"
				equal(t, string(get[state.Certificate](t)(s.Certificate(t.Context(), host)).PEM), "B")
				job := get[state.CertJob](t)(s.CertJob(t.Context(), host))
				equal(t, job.Due.Unix(), int64(1740918615))
				equal(t, job, state.CertJob{Host: host, Due: job.Due, NotAfter: job.NotAfter, Attempts: 2, Challenge: "http-01",
					Problem: "no", LastAttempt: job.LastAttempt})
				equal(t, len(get[[]state.CertJob](t)(s.AskCertJobs(t.Context(), day(1), 9))), 1)
				equal(t, get[[]string](t)(s.TroubledHosts(t.Context())), []string{host})
				equal(t, get[int](t)(s.OrdersSince(t.Context(), "ca", time.Unix(0, 0))), 1)
			}
			if version >= 3 {
				equal(t, string(get[[]byte](t)(s.Secret(t.Context(), "probe"))), "D")
			}
			var taken []state.Rollout
			if version >= 9 {
				taken = []state.Rollout{{
					Domain: "example.com", Stage: state.StageEnforce, MaxAge: 24 * time.Hour, Entered: day(1), Goal: state.GoalEnforce, Hasty: true,
					Waivers:  []state.Waiver{{Gate: state.GateTime, Reason: "r", Time: day(1)}},
					Evidence: &state.Evidence{Time: day(1), MX: []string{"a.example"}, Findings: []state.Finding{}},
					MX:       []string{"b.example"}, Left: true,
					Target: state.Target{Account: "main", Name: "_mta-sts.example.com", TTL: 5 * time.Minute},
					Back:   &state.Back{Stage: state.StageTesting, MaxAge: 7 * 24 * time.Hour}, Held: "why",
				}}
			}
			equal(t, rollouts(t, s), taken)
			// Ids of events begin with the first, and go on.
			want := int64(1)
			if version >= 4 {
				want = 2
			}
			equal(t, get[[]int64](t)(s.AddEvents(t.Context(), []state.Event{{Time: day(1), Kind: "k", Severity: "info"}})), []int64{want})
			save(t, s, rollout("example.net"))
			noError(t, s.FinishCertJob(t.Context(), certificate("a", day(1)), state.CertJob{Host: "a"}))
			_, err := s.Secret(t.Context(), "probe")
			noError(t, err)
		})
	}
}

// A store that has run a migration never runs it again: one that is edited
// leaves it with another schema than a new store has, and the next migration may
// then fail on it. What has to change goes into a new migration.
func TestMigrationsStayAsTheyWere(t *testing.T) {
	want := map[string]string{
		"00001_journal.sql":      "b5e3d9315b79854e40f8da4442f1e29fbc0c3cc843dcc423073d7285096e8488",
		"00002_certificates.sql": "653e87b5948d65f3bfd11edc643f0a13ed8ae8049c192acad002ab1424c2c025",
		"00003_secrets.sql":      "4a95fdcc87faf8532f6f779fba15a669bfc66e63bffd6c90dab296cc9022007b",
		"00004_events.sql":       "dbaf8e1a7be8820b0a6bf4f2a7d051b616eede7bfab2837b70de1946b9392d65",
		"00005_renewalinfo.sql":  "b42373ab379204ef4654e99d8ffee872c27299ccdcaa1d26e7375166c6e82631",
		"00006_notify.sql":       "0f9a657f23b739058c4f7cf74e99cce4c870f321e2810b8b31c391fa24d9dfa6",
		"00007_summary.sql":      "4455d35accc371b4bc3431f2b423df119d0d3dd7a01e84d63f9c9db95002d7cc",
		"00008_mx_checks.sql":    "0dc656a912a1b136927bd462b21fdb63251152a888790a78d4fcdc3d600e11e5",
		"00009_rollouts.sql":     "742159918e56a6251c0411a452d3c67b016daed7e6cd5c086f8e299badd98656",
		"00010_mx_hosts.sql":     "92fd9e7c37794c31c1176d2110b6a8cd45945bc24669a3be71b9d139854cbff9",
		"00011_former_id.sql":    "7b103b2ba68b56737c98262a0efe8b7a2d68dca9b2418a7a8b6e3cb09b91e0e8",
	}
	files := get[[]os.DirEntry](t)(os.ReadDir("migrations/sqlite"))
	equal(t, len(files), len(want))
	for _, file := range files {
		text := get[[]byte](t)(os.ReadFile(filepath.Join("migrations/sqlite", file.Name())))
		equal(t, file.Name()+" "+fmt.Sprintf("%x", sha256.Sum256(text)), file.Name()+" "+want[file.Name()])
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "example.com"}))
	noError(t, s.Close())
	db := raw(t, path)
	mustExec(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	before := schema(t, path)

	_, err := store.Open(t.Context(), path)
	errorSays(t, err, path, "newer stshost", "version 99", "backup")
	_, err = store.OpenReadOnly(t.Context(), path)
	errorSays(t, err, path, "newer stshost", "version 99", "backup")
	equal(t, schema(t, path), before)
}

func TestOpenWithNothingToDoChangesNothing(t *testing.T) {
	path := newPath(t)
	noError(t, open(t, path).Close())
	before := get[[]byte](t)(os.ReadFile(path))
	noError(t, open(t, path).Close())
	equal(t, string(get[[]byte](t)(os.ReadFile(path))) == string(before), true)
}
