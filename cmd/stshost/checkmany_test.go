package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/stshost/stshost/internal/state"
)

// newChecker is a checker and what it writes.
func newChecker(e examiner, format string) (c *checker, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &checker{
		examiner:      e,
		checkSettings: checkSettings{format: format, parallel: 4, timeout: time.Minute},
		out:           out, errOut: errs,
	}, out, errs
}

// sleepers need as many seconds as there are bytes in their first label.
func sleepers(ctx context.Context, domain string) (state.Report, error) {
	select {
	case <-time.After(time.Duration(strings.IndexByte(domain, '.')) * time.Second):
		return state.Report{Domain: domain, Verdict: state.VerdictEnforce, Summary: "slept"}, nil
	case <-ctx.Done():
		return state.Report{}, ctx.Err()
	}
}

func TestCheckManyExitCodes(t *testing.T) {
	for domains, want := range map[string]int{
		"enforce.a test.a":           0,
		"enforce.a enforce.a":        0,
		"enforce.a unknown.a":        3,
		"unknown.a ignore.a":         1,
		"enforce.a lose-mail.a":      1,
		"none.a unknown.a enforce.a": 1,
	} {
		for _, format := range checkFormats() {
			got := checkWith(t, t.Context(), examinerFunc(verdicts), "", append(strings.Fields(domains), "--format", format)...)
			if got.code != want || got.errs != "" {
				t.Errorf("%s as %s: exit code %d, want %d; stderr %q", domains, format, got.code, want, got.errs)
			}
		}
	}
}

func TestCheckTableIsInTheOrderOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, out, _ := newChecker(examinerFunc(sleepers), formatText)
		if err := c.many(t.Context(), []string{"aaaa.test", "a.test", "aaa.test", "aa.test"}); err != nil {
			t.Fatal(err)
		}
		want := `DOMAIN     VERDICT  FAIL  WARN  REASON
aaaa.test  enforce     0     0  slept
a.test     enforce     0     0  slept
aaa.test   enforce     0     0  slept
aa.test    enforce     0     0  slept

4 domains: 4 enforce
`
		if out.String() != want {
			t.Errorf("table is\n%s\nwant\n%s", out, want)
		}
	})
}

func TestCheckVerboseTellsAllOfEachDomain(t *testing.T) {
	got := checkWith(t, t.Context(), examinerFunc(verdicts), "", "-v", "none.test", "enforce.test")
	none, enforce, table := strings.Index(got.out, "none.test: no MTA-STS"), strings.Index(got.out, "enforce.test: senders"), strings.Index(got.out, "DOMAIN")
	if none != 0 || enforce < none || table < enforce {
		t.Errorf("output is %q", got.out)
	}
}

func TestCheckJSONLinesComeAsTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, written := io.Pipe()
		c, _, _ := newChecker(examinerFunc(sleepers), formatJSON)
		c.out = written
		began := time.Now()
		go func() {
			written.CloseWithError(c.many(t.Context(), []string{"aaa.test", "a.test", "aa.test"}))
		}()
		var order []string
		for dec := json.NewDecoder(out); ; {
			var r state.Report
			if err := dec.Decode(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			order = append(order, fmt.Sprint(r.Domain, " ", time.Since(began)))
		}
		if want := []string{"a.test 1s", "aa.test 2s", "aaa.test 3s"}; !slices.Equal(order, want) {
			t.Errorf("came as %q, want %q", order, want)
		}
	})
}

func TestCheckJSONLinesAreOneLineEach(t *testing.T) {
	got := checkWith(t, t.Context(), examinerFunc(verdicts), "", "--json", "enforce.test", "test.test")
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), got.out)
	}
	for _, line := range lines {
		var r state.Report
		if err := json.Unmarshal([]byte(line), &r); err != nil || !strings.Contains(line, `"findings":[]`) {
			t.Errorf("line %q: %v", line, err)
		}
	}
}

// A list may be of a million domains: no more is kept than will be said.
func TestCheckKeepsLittle(t *testing.T) {
	for _, tt := range []struct {
		format  string
		verbose bool
		full    bool
	}{
		{formatText, false, false},
		{formatText, true, true},
		{formatMarkdown, false, true},
	} {
		c, _, _ := newChecker(nil, tt.format)
		c.verbose = tt.verbose
		kept := c.keep(fullReport())
		if kept.row != rowOf(fullReport()) || kept.fail != 1 || kept.warn != 1 || (kept.report != nil) != tt.full {
			t.Errorf("%+v: kept are %+v", tt, kept)
		}
	}
}

func TestCheckListOfDomains(t *testing.T) {
	list := "\ufeff# ours\r\nenforce.test\r\n\r\n  TEST.test.  # soon\r\nenforce.test\r\n"
	got := checkWith(t, t.Context(), examinerFunc(verdicts), list, "--file", "-", "none.test", "test.test")
	var order []string
	for line := range strings.Lines(got.out) {
		order = append(order, strings.Fields(line + " .")[0])
	}
	if want := []string{"DOMAIN", "none.test", "test.test", "enforce.test", ".", "3"}; !slices.Equal(order, want) {
		t.Errorf("lines begin with %q, want %q", order, want)
	}
	got = checkWith(t, t.Context(), examinerFunc(verdicts), "enforce.test\n", "--file", "-", "--json")
	if strings.Count(got.out, "\n") != 1 {
		t.Errorf("a list of one is not a line of JSON: %q", got.out)
	}
	got = checkWith(t, t.Context(), noExaminer(t), "enforce.test\n\x1b[2J.test\n", "--file", "-")
	if got.code != 2 || !strings.Contains(got.errs, "standard input:2: ") || strings.ContainsRune(got.errs, 0x1b) {
		t.Errorf("exit code %d, stderr %q", got.code, got.errs)
	}
}

func TestCheckLooksAtSoManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		c, _, _ := newChecker(examinerFunc(func(ctx context.Context, domain string) (state.Report, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			return sleepers(ctx, domain)
		}), formatText)
		c.parallel = 3
		var domains []string
		for i := range 30 {
			domains = append(domains, fmt.Sprintf("n%02d.test", i))
		}
		began := time.Now()
		if err := c.many(t.Context(), domains); err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 || time.Since(began) != 30*time.Second {
			t.Errorf("%d at once, in %v; want 3, in 30s", most.Load(), time.Since(began))
		}
	})
}

func TestCheckInterruptedShowsWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		c, out, errs := newChecker(examinerFunc(func(ctx context.Context, domain string) (state.Report, error) {
			if domain == "stuck.test" { // and does not listen to ctx
				<-stuck
			}
			return sleepers(ctx, domain)
		}), formatText)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		c.timeout = time.Hour
		began := time.Now()
		err := c.many(ctx, []string{"stuck.test", "a.test"})
		if time.Since(began) != 90*time.Second {
			t.Errorf("ended after %v", time.Since(began))
		}
		if !errors.Is(err, exitError(3)) || errs.String() != "stshost: interrupted: 1 of 2 domains were examined\n" {
			t.Errorf("ended with %v, stderr %q", err, errs)
		}
		if !strings.Contains(out.String(), "a.test") || strings.Contains(out.String(), "stuck.test") {
			t.Errorf("output %q", out)
		}
		close(stuck)
	})
}

// An interruption is no verdict: exit code 1 is that of a domain only.
func TestCheckInterruptedIsExitCode3(t *testing.T) {
	for args, want := range map[string]int{
		"a.test": 3, "a.test b.test": 3, "a.test b.test --json": 3, "a.test b.test --format markdown": 3,
		"enforce.test a.test": 3, "lose-mail.test a.test": 1, "none.test a.test --json": 1,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		got := checkWith(t, ctx, examinerFunc(func(ctx context.Context, domain string) (state.Report, error) {
			if domain != "a.test" && domain != "b.test" {
				return verdicts(ctx, domain)
			}
			cancel()
			<-ctx.Done()
			return state.Report{}, ctx.Err()
		}), "", append(strings.Fields(args), "--parallel", "1")...)
		first, _, _ := strings.Cut(args, " ")
		if got.code != want || strings.Contains(got.out, first) != !strings.HasPrefix(first, "a.") || !strings.HasPrefix(got.errs, "stshost: interrupted") {
			t.Errorf("%v: exit code %d, want %d; stdout %q, stderr %q", args, got.code, want, got.out, got.errs)
		}
	}
}

// silence is a standard input that says nothing.
type silence struct{ read chan struct{} }

func (s silence) Read([]byte) (int, error) {
	close(s.read)
	select {}
}

func TestCheckInterruptedWhileTheListIsTyped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := silence{make(chan struct{})}
	go func() {
		<-in.read
		cancel()
	}()
	root := newRoot(nil)
	root.SetIn(in)
	var out, errs strings.Builder
	if code := execute(ctx, root, []string{"check", "--file", "-"}, &out, &errs); code != 3 || !strings.HasPrefix(errs.String(), "stshost: interrupted") {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}

func TestCheckEndsWhereNobodyReads(t *testing.T) {
	c, _, errs := newChecker(examinerFunc(verdicts), formatJSON)
	out, written := io.Pipe()
	out.Close()
	c.out = written
	if err := c.many(t.Context(), []string{"enforce.test", "test.test"}); !errors.Is(err, exitError(3)) || !strings.Contains(errs.String(), io.ErrClosedPipe.Error()) {
		t.Errorf("ended with %v, stderr %q", err, errs)
	}
}

func TestProgressCountsAndGoes(t *testing.T) {
	for _, steps := range []int{3, 1} { // to the end, and broken off
		var b bytes.Buffer
		refresh := make(chan any)
		p := newProgress(&b, 3, mpb.ForceTTY(), mpb.WithManualRefresh(refresh))
		for range steps {
			p.step()
		}
		if steps < 3 {
			refresh <- time.Now()
		}
		p.end()
		if steps < 3 && !strings.Contains(b.String(), "1 of 3 domains") {
			t.Errorf("after %d steps the bar was %q", steps, b.String())
		}
	}
	c, _, errs := newChecker(examinerFunc(verdicts), formatText)
	bar := c.progress(3)
	bar.step()
	bar.end()
	if bar != nil || errs.Len() > 0 {
		t.Errorf("a bar in a pipe: %q", errs)
	}
}
