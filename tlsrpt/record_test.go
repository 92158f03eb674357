package tlsrpt

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseRecord(t *testing.T) {
	for txt, want := range map[string][]string{
		"v=TLSRPTv1; rua=mailto:reports@example.com":                          {"mailto:reports@example.com"},
		"v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt;":             {"https://reporting.example.com/v1/tlsrpt"},
		"v=TLSRPTv1 ; rua=mailto:a@example.com , https://b.example/x ; ext=1": {"mailto:a@example.com", "https://b.example/x"},
		"v=TLSRPTv1; rua=ftp://example.com":                                   {"ftp://example.com"},
	} {
		r, err := ParseRecord(txt)
		if err != nil || !slices.Equal(r.RUA, want) {
			t.Errorf("%q: %q, %v; want %q", txt, r.RUA, err, want)
		}
	}
	for txt, want := range map[string]string{
		"v=TLSRPTv1":                                    "does not begin with",
		"v=tlsrptv1; rua=mailto:a@example.com":          "does not begin with",
		"v=TLSRPTv1;":                                   "no rua",
		"v=TLSRPTv1; rua=":                              "empty",
		"v=TLSRPTv1; rua=mailto:a@example.com,":         "empty",
		"v=TLSRPTv1; rua=mailto:a@e.com; rua=mailto:b@": "twice",
		"v=TLSRPTv1; reports please":                    "not a field",
	} {
		if _, err := ParseRecord(txt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", txt, err, want)
		}
	}
}

func TestProblem(t *testing.T) {
	for rua, want := range map[string]string{
		"mailto:reports@example.com":    "",
		"MAILTO:tls%21rpt@example.com":  "",
		"https://example.com/tlsrpt?x=": "",
		"http://example.com/":           "not sent by http",
		"reports@example.com":           "no scheme",
		"mailto:nobody":                 "no mail address",
		"mailto:a@example.com!10m":      "%21",
		"https:/path":                   "no host",
		"mailto:%zz@example.com":        "no",
	} {
		err := Problem(rua)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", rua, err, want)
		}
	}
}

func TestFindRecord(t *testing.T) {
	const one = "v=TLSRPTv1; rua=mailto:a@example.com"
	if _, err := FindRecord([]string{"something else", one}); err != nil {
		t.Error(err)
	}
	if _, err := FindRecord([]string{"something else"}); !errors.Is(err, ErrNoRecord) {
		t.Error(err)
	}
	if _, err := FindRecord([]string{one, one}); !errors.Is(err, ErrSeveralRecords) {
		t.Error(err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@example.com,https://b.example/")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseRecord(txt)
		if err != nil {
			return
		}
		again, err := ParseRecord(recordVersion + "; rua=" + strings.Join(r.RUA, ","))
		if err != nil || !slices.Equal(again.RUA, r.RUA) {
			t.Errorf("%q reads as %q, and that as %q, %v", txt, r.RUA, again.RUA, err)
		}
		for _, rua := range r.RUA {
			_ = Problem(rua)
		}
	})
}
