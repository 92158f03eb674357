package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// checker examines domains and writes what is found.
type checker struct {
	examiner
	checkSettings
	out, errOut io.Writer
	style       style
}

// errInterrupted ends a command that a signal ended before anything was done.
var errInterrupted = errors.New("interrupted before any domain was examined")

// one examines one domain.
func (c *checker) one(ctx context.Context, domain string) error {
	var report state.Report
	err := c.examineAll(ctx, []string{domain}, func(_ int, r state.Report) error {
		report = r
		return nil
	})
	if err != nil {
		return err
	}
	var text string
	switch c.format {
	case formatJSON:
		text, err = jsonText(report, "  ")
	case formatMarkdown:
		text = markdownReport(report)
	default:
		text = c.style.report(report, c.verbose)
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c.out, text); err != nil {
		return err
	}
	return ending(exitCode(report.Verdict))
}

// many examines domains and writes JSON as they end, all else in their order
// when all have ended, or ctx has.
func (c *checker) many(ctx context.Context, domains []string) error {
	reports := make([]*state.Report, len(domains))
	var codes []int
	bar := c.progress(len(domains))
	err := c.examineAll(ctx, domains, func(i int, r state.Report) error {
		reports[i] = &r
		codes = append(codes, exitCode(r.Verdict))
		bar.step()
		if c.format != formatJSON {
			return nil
		}
		line, err := jsonText(r, "")
		if err == nil {
			_, err = io.WriteString(c.out, line)
		}
		return err
	})
	bar.end()
	if err != nil && !errors.Is(err, errInterrupted) {
		return err
	}
	if err := c.table(reports); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("interrupted: %d of %s were examined", len(codes), counted(len(domains), "domain"))
	}
	return ending(codes...)
}

// table writes what there is to say when all is done.
func (c *checker) table(reports []*state.Report) error {
	var done []state.Report
	for _, r := range reports {
		if r != nil {
			done = append(done, *r)
		}
	}
	if len(done) == 0 || c.format == formatJSON {
		return nil
	}
	text := ""
	switch c.format {
	case formatMarkdown:
		text = markdownReports(done)
	default:
		if c.verbose {
			for _, r := range done {
				text += c.style.report(r, true) + "\n"
			}
		}
		text += c.style.table(done)
	}
	_, err := io.WriteString(c.out, text)
	return err
}

// examineAll examines domains, c.parallel at once, and hands over each report
// as it is there, one at a time. It returns errInterrupted as soon as ctx ends
// and waits for nothing then: the caller's next step is the end of the process.
func (c *checker) examineAll(ctx context.Context, domains []string, each func(i int, r state.Report) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		i      int
		report state.Report
	}
	next, done := make(chan int), make(chan outcome)
	for range min(c.parallel, len(domains)) {
		go func() {
			for i := range next {
				select {
				case done <- outcome{i, c.examine(ctx, domains[i])}:
				case <-ctx.Done():
				}
			}
		}()
	}
	go func() {
		defer close(next)
		for i := range domains {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	for range domains {
		select {
		case o := <-done:
			if ctx.Err() != nil { // and what came may owe to that
				return errInterrupted
			}
			if err := each(o.i, o.report); err != nil {
				return err
			}
		case <-ctx.Done():
			return errInterrupted
		}
	}
	return nil
}

// examine examines one domain. That its time is up is a finding of ours, and no
// reason to say nothing of the other domains.
func (c *checker) examine(ctx context.Context, domain string) state.Report {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.Examine(ctx, domain)
	if err != nil {
		summary := "it could not be examined: " + err.Error()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			summary = fmt.Sprintf("the examination was not done in %v; --timeout gives it more time", c.timeout)
		}
		r = state.Report{Domain: domain, Verdict: state.VerdictUnknown, Summary: summary, Time: began, Seconds: time.Since(began).Seconds()}
	}
	if r.Findings == nil {
		r.Findings = []state.Finding{} // in JSON a list, and never null
	}
	return r
}

// jsonText is v as JSON and a line feed. The encoder leaves DEL, C1 and bidi
// controls as they are, which terminals obey; they become \u escapes, as none
// can stand outside of a string.
func jsonText(v any, indent string) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent("", indent)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return jsonEscaped(b.String()), nil
}
