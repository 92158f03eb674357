package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// TestMain makes this test binary the bare server when bench starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		main()
	}
	os.Exit(m.Run())
}

// The quick run goes all the way, with the peers that are installed, and puts
// its table where it belongs. It says nothing about time.
func TestQuickRun(t *testing.T) {
	if os.Getenv("STSHOST_REQUIRE_SERVERS") == "1" {
		dnstest.RequireServer(t, "nginx", "nginx")
	}
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("above\n"+beginMarker+"an old table\n"+endMarker+"below\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-quick", "-only", "connection,request,many", "-o", file}, &out, &errs); code != 0 {
		t.Fatalf("status %d\n%s", code, &errs)
	}
	for _, row := range []string{
		"| server CPU per new TLS 1.3 connection with one GET | stshost | ",
		"| server CPU per new TLS 1.3 connection with one GET | bare net/http | ",
		"| server CPU per GET over an open connection | stshost | ",
		"| memory after the start (PSS) | stshost, domains: 20 | ",
		"| GETs per second over open connections | stshost | ",
	} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no row %q in\n%s", row, &out)
		}
	}
	for _, p := range peers() {
		left := strings.Contains(errs.String(), p.name+" is not installed")
		if listed := strings.Contains(out.String(), "| "+p.name+" |"); listed == left {
			t.Errorf("%s: in the table %t, left out %t\n%s%s", p.name, listed, left, &out, &errs)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "above\n" + beginMarker + out.String() + endMarker + "below\n"; string(text) != want {
		t.Errorf("the file is\n%s", text)
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := newResult("work", duration, nameNginx)
	for round, pair := range [][2]float64{{7, 7}, {3e-4, 1e-4}, {8e-4, 4e-4}, {2e-3, 2e-3}} {
		r.add(round-1, nameNginx, pair[1]) // the first is the warm-up
		r.add(round-1, nameStshost, pair[0])
	}
	want := "| work | stshost | 800 µs | 300 µs – 2.00 ms | **2.00** (1.00 – 3.00) |\n" +
		"| work | nginx | 400 µs | 100 µs – 2.00 ms | 1 |\n"
	if got := r.lines(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestBenchmarkLines(t *testing.T) {
	r := newResult("get", duration, "map")
	out := `goos: linux
BenchmarkGet/hosts=10/stshost         	  782006	       456.1 ns/op	  16 B/op
BenchmarkGet/hosts=10/map             	 2202337	       166.8 ns/op
PASS
`
	if err := read(r, 0, "BenchmarkGet/hosts=10", out); err != nil {
		t.Fatal(err)
	}
	want := "| get | stshost | 456 ns | 456 ns | **2.73** (2.73) |\n| get | map | 167 ns | 167 ns | 1 |\n"
	if got := r.lines(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := read(newResult("", duration, ""), 0, "BenchmarkPush", "--- SKIP: BenchmarkPush\n"); err != nil {
		t.Errorf("a benchmark that was skipped: %v", err)
	}
	if err := read(newResult("", duration, ""), 0, "BenchmarkGone", "PASS\n"); err == nil {
		t.Error("no error for a benchmark that is not there")
	}
}

func TestAFileWithoutMarkersStaysAsItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other.md")
	if err := os.WriteFile(file, []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(file, "table\n"); err == nil || !strings.Contains(err.Error(), beginMarker) {
		t.Errorf("error %v does not show the markers", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "text\n" {
		t.Errorf("the file is %q", text)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-no-such-flag"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: status %d, %s", args, code, &errs)
		}
	}
}
