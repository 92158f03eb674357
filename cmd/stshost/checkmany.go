package main

import (
	"cmp"
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

// errInterrupted says that a signal ended the command before anything was done.
var errInterrupted = errors.New("interrupted before any domain was examined")

// one examines one domain.
func (c *checker) one(ctx context.Context, domain string) error {
	var report state.Report
	err := c.examineAll(ctx, []string{domain}, func(_ int, r state.Report) error {
		report = r
		return nil
	})
	if err != nil {
		return brokenOff(c.errOut, err, 0)
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
	if err == nil {
		err = c.write(text)
	}
	if err != nil {
		return brokenOff(c.errOut, err, exitCode(report.Verdict))
	}
	return ending(exitCode(report.Verdict))
}

// write writes to standard output.
func (c *checker) write(text string) error {
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(c.out, text); err != nil {
		return fmt.Errorf("the report could not be written: %w", err)
	}
	return nil
}

// many examines domains and writes JSON as they end, and forgets it; all else in
// their order when all have ended, or ctx has.
func (c *checker) many(ctx context.Context, domains []string) error {
	code, done := 0, 0
	kept := make([]*result, len(domains))
	bar := c.progress(len(domains))
	err := c.examineAll(ctx, domains, func(i int, r state.Report) error {
		code, done = worse(code, exitCode(r.Verdict)), done+1
		bar.step()
		if c.format != formatJSON {
			kept[i] = c.keep(r)
			return nil
		}
		line, err := jsonText(r, "")
		if err != nil {
			return err
		}
		return c.write(line)
	})
	bar.end()
	if errors.Is(err, errInterrupted) {
		err = fmt.Errorf("interrupted: %d of %s were examined", done, counted(len(domains), "domain"))
	}
	if err := cmp.Or(c.write(c.summary(kept)), err); err != nil {
		return brokenOff(c.errOut, err, code)
	}
	return ending(code)
}

// result is what is kept of a domain until the last one is done.
type result struct {
	row
	report *state.Report // nil where the row is all that will be said
}

// keep is the least of a report that its format needs: there may be very many.
func (c *checker) keep(r state.Report) *result {
	if c.format == formatMarkdown || c.verbose {
		return &result{rowOf(r), &r}
	}
	return &result{rowOf(r), nil}
}

// summary is what there is to say when all is done; nil is a domain that was
// not examined, or of which all is said.
func (c *checker) summary(kept []*result) string {
	var rows []row
	var reports []state.Report
	for _, r := range kept {
		if r == nil {
			continue
		}
		rows = append(rows, r.row)
		if r.report != nil {
			reports = append(reports, *r.report)
		}
	}
	switch {
	case len(rows) == 0:
		return ""
	case c.format == formatMarkdown:
		return markdownReports(reports)
	}
	var b strings.Builder
	for _, r := range reports {
		b.WriteString(c.style.report(r, true) + "\n")
	}
	return b.String() + c.style.table(rows)
}

// examineAll examines domains, c.parallel at once, and hands over each report
// as it is there, one at a time. It returns errInterrupted as soon as ctx ends
// and waits for nothing then: the caller's next step is the end of the process.
func (c *checker) examineAll(ctx context.Context, domains []string, each func(i int, r state.Report) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		i       int
		report  state.Report
		spoiled bool // ctx had ended, and the report may owe to that
	}
	next, done := make(chan int), make(chan outcome)
	for range min(c.parallel, len(domains)) {
		go func() {
			for i := range next {
				report := c.examine(ctx, domains[i])
				select {
				case done <- outcome{i, report, ctx.Err() != nil}:
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
			if o.spoiled {
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
