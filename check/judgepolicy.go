package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/stshost/stshost/mtasts"
)

// shortMaxAge is the least that protects (RFC 8461 §3.2 wants weeks).
const shortMaxAge = 24 * time.Hour

// judgePolicy judges the body of the policy (RFC 8461 §3.2), also where senders
// do not get it: what is wrong with it is to be mended all the same.
func (j *judgement) judgePolicy() {
	subject := mtasts.PolicyURL(j.ev.Domain)
	if j.body == nil {
		if j.announced != recordAbsent {
			j.find(PolicySkipped, subject, nil, "no policy could be fetched")
			j.judgeReaders(subject)
		}
		return
	}
	policy, err := mtasts.ParsePolicy(j.body)
	if err != nil {
		j.policyFaults(subject, err)
	} else {
		j.policy = &policy
		j.find(PolicyOK, subject, evidence("mode", string(policy.Mode), "max_age", fmt.Sprint(int64(policy.MaxAge/time.Second)),
			"mx", strings.Join(policy.MX, ", ")), "mode %s, max_age %s, mx %s", policy.Mode, ageText(policy.MaxAge), patternsText(policy.MX))
		j.judgeMaxAge(subject, policy)
		j.judgePatterns(subject, policy)
	}
	j.judgeKeys(subject)
	j.judgeReaders(subject)
	j.judgeID()
}

func (j *judgement) policyFaults(subject string, err error) {
	var faults mtasts.PolicyErrors
	if !errors.As(err, &faults) {
		j.find(PolicyGrammar, subject, nil, "%v", err)
		return
	}
	for i, f := range faults {
		body := ""
		if i == 0 {
			body = string(j.body)
		}
		where := ""
		if f.Line > 0 {
			where = fmt.Sprintf("line %d: ", f.Line)
		}
		j.find(PolicyGrammar, subject, evidence("line", lineText(f.Line), "rule", f.Rule, "policy", body), "%s%s", where, f.Problem)
	}
}

func lineText(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprint(line)
}

func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

func patternsText(mx []string) string {
	if len(mx) == 0 {
		return "none"
	}
	return list(mx)
}

func (j *judgement) judgeMaxAge(subject string, p mtasts.Policy) {
	shown := evidence("max_age", fmt.Sprint(int64(p.MaxAge/time.Second)))
	switch {
	case p.Mode == mtasts.ModeNone:
	case p.MaxAge == 0:
		j.find(PolicyMaxAgeZero, subject, shown, "senders forget the policy at once")
	case p.Mode == mtasts.ModeEnforce && p.MaxAge < shortMaxAge:
		j.find(PolicyMaxAgeShort, subject, shown, "senders keep the policy for %s", p.MaxAge)
	}
}

// judgePatterns finds wildcards that anybody's name can match.
func (j *judgement) judgePatterns(subject string, p mtasts.Policy) {
	var broad []string
	for _, pattern := range p.MX {
		suffix, wildcard := strings.CutPrefix(pattern, "*.")
		if !wildcard {
			continue
		}
		if registry, icann := publicsuffix.PublicSuffix(suffix); registry == suffix && (icann || !strings.Contains(suffix, ".")) {
			broad = append(broad, pattern)
		}
	}
	if len(broad) > 0 {
		j.find(MXPatternBroad, subject, evidence("patterns", strings.Join(broad, ", ")), "%s: every name that can be registered there matches", list(broad))
	}
}

// maxOdd bounds the findings about odd lines: what is no policy at all has
// nothing else.
const maxOdd = 10

// judgeKeys finds lines that are allowed and not as they should be, of each kind
// the first.
func (j *judgement) judgeKeys(subject string) {
	known := []string{"version", "mode", "mx", "max_age"}
	first, told := make(map[string]int), make(map[string]bool)
	line := 0
	for text := range strings.Lines(string(j.body)) {
		line++
		key, value, found := strings.Cut(strings.TrimRight(text, "\r\n"), ":")
		if !found || strings.Trim(key, keyCharacters) != "" || len(told) == maxOdd {
			continue // the grammar says what is wrong with it
		}
		shown := evidence("line", fmt.Sprint(line))
		value = strings.ToLower(strings.Trim(value, " \t"))
		seen := key
		if key == "mx" {
			seen += " " + value
		}
		before, repeated := first[seen]
		switch {
		case told[seen]:
		case !repeated:
			first[seen] = line
			if !slices.Contains(known, strings.ToLower(key)) {
				told[seen] = true
				j.find(PolicyUnknownKey, subject, shown, "line %d: no sender knows the key %.80q", line, key)
			}
		case key == "mx":
			told[seen] = true
			j.find(PolicyDuplicateMX, subject, shown, "line %d: mx %.80q stands in line %d already", line, value, before)
		default:
			told[seen] = true
			j.find(PolicyDuplicateKey, subject, shown, "line %d: %.80q stands in line %d already", line, key, before)
		}
	}
}

// keyCharacters are those of a key (RFC 8461 §3.2, sts-policy-ext-name).
const keyCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
