package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func TestDemoTellsItsStoryAndEnds(t *testing.T) {
	t.Parallel() // it waits more than it works
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--exit"}, &out, &errs); code != 0 {
		t.Fatalf("status %d\n%s%s", code, &out, &errs)
	}
	for _, said := range []string{"exactly one order", "mode: testing", "TXT \"v=STSv1; id=", "go-mtasts", "id now", "repaired", "Every step was verified"} {
		if !strings.Contains(out.String(), said) {
			t.Errorf("the story does not say %q:\n%s", said, &out)
		}
	}
}

// With --ready-file any other program can work with the demo, as we do here.
func TestDemoStaysUpForOthers(t *testing.T) {
	t.Parallel() // it waits more than it works
	file := filepath.Join(t.TempDir(), "ready.json")
	cmd := exec.Command("stshost", "demo", "--ready-file", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() {
			<-gone
			t.Logf("the demo said:\n%s", &out)
		}
	})
	var ready struct {
		HTTPS, HTTP, DNS, Config, Admin string
		CAFile                          string `json:"ca_file"`
		Domains                         []string
	}
	eventually(t, func() error {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, &ready)
	})
	if len(ready.Domains) != 2 || ready.HTTP == "" || ready.HTTPS == "" {
		t.Fatalf("ready file: %+v", ready)
	}
	roots, err := readRoots(ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	reader := &lab.Reader{DNS: ready.DNS, HTTPSPort: portNumber(ready.HTTPS), Roots: roots}
	before := map[string]string{}
	for _, domain := range ready.Domains {
		id, policy, err := reader.Fetch(t.Context(), domain)
		if err != nil || !mtasts.Announces(id, []byte(policy)) {
			t.Errorf("%s: id %s, policy %q, %v", domain, id, policy, err)
		}
		before[domain] = id
	}

	// The first domain stands first in the config, with one line of mx.
	text, err := os.ReadFile(ready.Config)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), `mx = ["mx1.mail.test", "mx2.mail.test"]`, `mx = ["mx2.mail.test"]`, 1)
	if err := writeByRename(ready.Config, []byte(edited)); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("stshost", "reload", "--config", ready.Config).CombinedOutput()
	if err != nil || string(said) != "changed: "+ready.Domains[0]+"\n" {
		t.Fatalf("reload: %v\n%s", err, said)
	}
	eventually(t, func() error {
		id, policy, err := reader.Fetch(t.Context(), ready.Domains[0])
		if err != nil {
			return err
		}
		if id == before[ready.Domains[0]] || strings.Contains(policy, "mx1.mail.test") {
			return fmt.Errorf("id %s, policy %q", id, policy)
		}
		return nil
	})
	if d, err := server.NewClient(ready.Admin).Domain(t.Context(), ready.Domains[1]); err != nil || d.ID != before[ready.Domains[1]] {
		t.Errorf("the other domain: %+v, %v", d, err)
	}

	cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("TERM ended it with %v\n%s", err, &out)
	}
	if _, err := os.Stat(ready.Config); !os.IsNotExist(err) {
		t.Error("the demo left its files behind")
	}
}

func portNumber(addr string) (port int) {
	fmt.Sscan(addr[strings.LastIndexByte(addr, ':')+1:], &port)
	return port
}
