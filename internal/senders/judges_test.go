package senders

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	gomtasts "github.com/foxcpp/go-mtasts"
)

// judgement is what a real reader made of a record set and a body.
type judgement struct {
	recordOK, ok bool
	id           string
	policy       PolicyReading
}

// judgeByGoMTASTS has go-mtasts read records and body by all of its own code:
// its Cache looks up the record, downloads the policy, and stores both. It
// has no other opening for a download than the default transport of net/http.
func judgeByGoMTASTS(t *testing.T) func(txts []string, body []byte) judgement {
	t.Helper()
	host := &policyHost{}
	standard := http.DefaultTransport
	http.DefaultTransport = host
	t.Cleanup(func() { http.DefaultTransport = standard })
	return func(txts []string, body []byte) judgement {
		host.body, host.asked = body, false
		stored := &idStore{}
		cache := gomtasts.Cache{Store: stored, Resolver: txtResolver(txts)}
		policy, err := cache.Get(context.Background(), "example.com")
		// A download begins only after a record was taken.
		got := judgement{recordOK: host.asked, ok: err == nil, id: stored.id}
		if err == nil {
			got.policy = PolicyReading{OK: true, Mode: string(policy.Mode), MX: policy.MX, MaxAge: int64(policy.MaxAge)}
		}
		return got
	}
}

type txtResolver []string

func (r txtResolver) LookupTXT(context.Context, string) ([]string, error) { return r, nil }

// policyHost is the web as go-mtasts sees it.
type policyHost struct {
	body  []byte
	asked bool
}

func (h *policyHost) RoundTrip(req *http.Request) (*http.Response, error) {
	h.asked = true
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		Body:       io.NopCloser(bytes.NewReader(h.body)),
		Request:    req,
	}, nil
}

// idStore holds no policy, and keeps the id that one was to be stored under.
type idStore struct{ id string }

func (s *idStore) List() ([]string, error) { return nil, nil }

func (s *idStore) Load(string) (string, time.Time, *gomtasts.Policy, error) {
	return "", time.Time{}, nil, gomtasts.ErrNoPolicy
}

func (s *idStore) Store(_, id string, _ time.Time, _ *gomtasts.Policy) error {
	s.id = id
	return nil
}

// debianPython is the Python that Debian's packages are for; another one that
// comes first on the PATH does not know them.
const debianPython = "/usr/bin/python3"

// requireResolver skips the test if postfix-mta-sts-resolver is not
// installed, and fails it where STSHOST_REQUIRE_SERVERS=1 asks for servers.
func requireResolver(t *testing.T) {
	t.Helper()
	const query = "/usr/bin/mta-sts-query"
	if _, err := os.Stat(query); err == nil {
		return
	}
	if os.Getenv("STSHOST_REQUIRE_SERVERS") == "1" {
		t.Fatalf("%s is not installed (Debian package postfix-mta-sts-resolver) and STSHOST_REQUIRE_SERVERS=1 asks for it", query)
	}
	t.Skipf("%s is not installed (Debian package postfix-mta-sts-resolver)", query)
}

// judgeByResolver has postfix-mta-sts-resolver read, by testdata/judge.py.
func judgeByResolver(t *testing.T) func(txts []string, body []byte, contentType string) judgement {
	t.Helper()
	requireResolver(t)
	cmd := exec.Command(debianPython, "testdata/judge.py")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("judge.py: %v\n%s", err, problems.String())
		}
	})
	answers := json.NewDecoder(bufio.NewReader(out))
	var hello struct{ Version string }
	if err := answers.Decode(&hello); err != nil {
		t.Fatalf("judge.py: %v", err)
	}
	t.Logf("postfix-mta-sts-resolver %s", hello.Version)
	questions := json.NewEncoder(in)
	return func(txts []string, body []byte, contentType string) judgement {
		raw := make([][]byte, len(txts))
		for i, txt := range txts {
			raw[i] = []byte(txt)
		}
		if err := questions.Encode(map[string]any{"txts": raw, "body": body, "type": contentType}); err != nil {
			t.Fatal(err)
		}
		var a struct {
			Result string
			ID     string
			Mode   string
			MaxAge int64 `json:"max_age"`
			MX     []string
		}
		if err := answers.Decode(&a); err != nil {
			t.Fatalf("judge.py: %v", err)
		}
		// NONE is said of records, FETCH_ERROR of policies.
		got := judgement{recordOK: a.Result != "NONE", ok: a.Result == "VALID", id: a.ID}
		if got.ok {
			got.policy = PolicyReading{OK: true, Mode: a.Mode, MX: a.MX, MaxAge: a.MaxAge}
		}
		return got
	}
}
