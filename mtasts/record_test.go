package mtasts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
)

func ExampleFindRecord() {
	record, err := mtasts.FindRecord([]string{
		"some-site-verification=abc", // others may use the name too
		strings.Join([]string{"v=STSv1; id=2016", "0831085700Z;"}, ""),
	})
	fmt.Println(record, err)
	// Output: v=STSv1; id=20160831085700Z; <nil>
}

func TestParseRecord(t *testing.T) {
	const (
		ruleVersion = "RFC 8461 §3.1: a record begins"
		ruleField   = "RFC 8461 §3.1: after"
		ruleID      = "RFC 8461 §3.1: id is"
	)
	id32 := "20060102T150405Z0123456789abcdef"
	tests := []struct {
		name string
		txt  string
		id   string // "" where an error is wanted
		rule string // beginning of the rule it names
	}{
		{"canonical", "v=STSv1; id=20160831085700Z;", "20160831085700Z", ""},
		{"no last semicolon", "v=STSv1; id=a", "a", ""},
		{"no blanks", "v=STSv1;id=a;", "a", ""},
		{"blanks around semicolons", "v=STSv1 \t; \tid=a \t; \t", "a", ""},
		{"id of 32 characters", "v=STSv1; id=" + id32 + ";", id32, ""},
		{"unknown field first", "v=STSv1; x=y; id=a;", "a", ""},
		{"unknown field last", "v=STSv1; id=a; x-0_y.z=a:b/c?d", "a", ""},
		{"repeated id", "v=STSv1; id=a; id=b;", "a", ""},
		{"repeated id, the second no id", "v=STSv1; id=a; id=b-c;", "a", ""},
		{"repeated version", "v=STSv1; v=STSv2; id=a;", "a", ""},
		{"key in upper case is unknown", "v=STSv1; ID=b; id=a;", "a", ""},

		{"empty", "", "", ruleVersion},
		{"other record", "v=spf1 -all", "", ruleVersion},
		{"version alone", "v=STSv1", "", ruleVersion},
		{"version 2", "v=STSv2; id=a;", "", ruleVersion},
		{"version 10", "v=STSv10; id=a;", "", ruleVersion},
		{"version in lower case", "v=stsv1; id=a;", "", ruleVersion},
		{"leading blank", " v=STSv1; id=a;", "", ruleVersion},
		{"id before version", "id=a; v=STSv1;", "", ruleVersion},
		{"blank for semicolon", "v=STSv1 id=a;", "", ruleVersion},
		{"in quotes", `"v=STSv1; id=a;"`, "", ruleVersion},

		{"no field", "v=STSv1;", "", ruleID},
		{"no id", "v=STSv1; x=y;", "", ruleID},
		{"empty id", "v=STSv1; id=;", "", ruleID},
		{"id of 33 characters", "v=STSv1; id=" + id32 + "0;", "", ruleID},
		{"id with a dash", "v=STSv1; id=2016-08-31;", "", ruleID},
		{"id with an underscore", "v=STSv1; id=a_b;", "", ruleID},
		{"id with base64", "v=STSv1; id=a+b/c;", "", ruleID},
		{"id with a blank", "v=STSv1; id=a b;", "", ruleID},
		{"id outside ASCII", "v=STSv1; id=ä;", "", ruleID},
		{"id with another equals sign", "v=STSv1; id=a=b;", "", ruleID},
		{"blank after the equals sign", "v=STSv1; id= a;", "", ruleID},
		{"colon after id", "v=STSv1; id: a;", "", ruleField},
		{"repeated id, the first no id", "v=STSv1; id=a-b; id=c;", "", ruleID},
		{"blank before the equals sign", "v=STSv1; id =a;", "", ruleField},
		{"blank at the end without semicolon", "v=STSv1; id=a ", "", ruleID},
		{"two semicolons", "v=STSv1; id=a;;", "", ruleField},
		{"two semicolons after the version", "v=STSv1;; id=a;", "", ruleField},
		{"field without value", "v=STSv1; id=a; x;", "", ruleField},
		{"field with empty value", "v=STSv1; id=a; x=;", "", ruleField},
		{"field without key", "v=STSv1; id=a; =x;", "", ruleField},
		{"equals sign in a value", "v=STSv1; id=a; x=y=z;", "", ruleField},
		{"key of 33 characters", "v=STSv1; id=a; " + strings.Repeat("k", 33) + "=x;", "", ruleField},
		{"line end", "v=STSv1; id=a;\n", "", ruleField},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mtasts.ParseRecord(tt.txt)
			if tt.id != "" {
				if err != nil || got.ID != tt.id {
					t.Errorf("ParseRecord(%q) = %v, %v; want id %q", tt.txt, got, err, tt.id)
				}
				return
			}
			fault, ok := errors.AsType[*mtasts.RecordError](err)
			if !ok || fault.Text != tt.txt || fault.Problem == "" || !strings.HasPrefix(fault.Rule, tt.rule) {
				t.Errorf("ParseRecord(%q) = %v, %v; want a *RecordError by %q", tt.txt, got, err, tt.rule)
			}
		})
	}
}

// Which records count towards the one that there may be does not depend on
// whether they are well-formed.
func TestIsRecord(t *testing.T) {
	for txt, want := range map[string]bool{
		"v=STSv1; id=a;":         true,
		"v=STSv1;":               true,
		"v=STSv1 ;id=a":          true,
		"v=STSv1; id=not-an-id;": true,
		"v=STSv1":                false,
		"v=STSv1 id=a;":          false,
		"v=STSv11; id=a;":        false,
		"V=STSv1; id=a;":         false,
		" v=STSv1; id=a;":        false,
		"v=TLSRPTv1; rua=x":      false,
		"":                       false,
	} {
		if got := mtasts.IsRecord(txt); got != want {
			t.Errorf("IsRecord(%q) = %v; want %v", txt, got, want)
		}
	}
}

func TestFindRecord(t *testing.T) {
	tests := []struct {
		name string
		txts []string
		id   string
		err  error // wrapped sentinel, or a *RecordError
	}{
		{"one", []string{"v=STSv1; id=a;"}, "a", nil},
		{"one among others", []string{"v=spf1 -all", "v=STSv1; id=a;", ""}, "a", nil},
		{"split strings", []string{strings.Join([]string{"v=ST", "Sv1; id", "=a;"}, "")}, "a", nil},
		{"none", nil, "", mtasts.ErrNoRecord},
		{"only others", []string{"v=spf1 -all", "v=STSv2; id=a;"}, "", mtasts.ErrNoRecord},
		{"two", []string{"v=STSv1; id=a;", "v=STSv1; id=b;"}, "", mtasts.ErrSeveralRecords},
		{"the same twice", []string{"v=STSv1; id=a;", "v=STSv1; id=a;"}, "", mtasts.ErrSeveralRecords},
		{"two, one malformed", []string{"v=STSv1; id=a;", "v=STSv1; id=a-b;"}, "", mtasts.ErrSeveralRecords},
		{"one, malformed", []string{"v=STSv1; id=a-b;"}, "", new(mtasts.RecordError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mtasts.FindRecord(tt.txts)
			wantErr := errors.Is(err, tt.err)
			if _, ok := tt.err.(*mtasts.RecordError); ok {
				_, wantErr = errors.AsType[*mtasts.RecordError](err)
			}
			if got.ID != tt.id || !wantErr {
				t.Errorf("FindRecord(%q) = %v, %v; want id %q, error %v", tt.txts, got, err, tt.id, tt.err)
			}
		})
	}
}
