package main

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/stshost/stshost/internal/state"
)

const schemaFile = "../../docs/check.schema.json"

// schemaValidator says what is wrong with a report in JSON.
func schemaValidator(t *testing.T) func(text string) error {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
}

func TestReportsFollowTheSchema(t *testing.T) {
	follows := schemaValidator(t)
	valid := func(r state.Report) error {
		text, err := jsonText(r, "")
		if err != nil {
			t.Fatal(err)
		}
		return follows(text)
	}
	minimal := state.Report{Domain: "example.org", Verdict: state.VerdictUnknown, Findings: []state.Finding{}}
	for name, r := range map[string]state.Report{"full": fullReport(), "minimal": minimal} {
		if err := valid(r); err != nil {
			t.Errorf("%s report: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*state.Report){
		"no domain":       func(r *state.Report) { r.Domain = "" },
		"verdict":         func(r *state.Report) { r.Verdict = "fine" },
		"mode":            func(r *state.Report) { r.Mode = "test" },
		"no findings":     func(r *state.Report) { r.Findings = nil },
		"code":            func(r *state.Report) { r.Findings[0].Code = "sts_mx" },
		"status":          func(r *state.Report) { r.Findings[0].Status = "ok" },
		"harm":            func(r *state.Report) { r.Findings[0].Harm = "none" },
		"record id":       func(r *state.Report) { r.RecordID = "a-b" },
		"negative length": func(r *state.Report) { r.Seconds = -1 },
	} {
		r := fullReport()
		spoil(&r)
		if valid(r) == nil {
			t.Errorf("%s: a wrong report is valid", name)
		}
	}
}

// schemaObject is as much of a JSON Schema as describes a struct.
type schemaObject struct {
	Properties map[string]struct {
		Description string `json:"description"`
		Ref         string `json:"$ref"`
	} `json:"properties"`
	Required   []string                   `json:"required"`
	Additional bool                       `json:"additionalProperties"`
	Defs       map[string]json.RawMessage `json:"$defs"`
}

func TestTheSchemaDescribesEveryField(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var report, finding schemaObject
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(report.Defs["finding"], &finding); err != nil {
		t.Fatal(err)
	}
	for typ, schema := range map[reflect.Type]schemaObject{
		reflect.TypeFor[state.Report]():  report,
		reflect.TypeFor[state.Finding](): finding,
	} {
		if !schema.Additional {
			t.Errorf("%v: the schema has no room for fields to come", typ)
		}
		var required []string
		for i := range typ.NumField() {
			tag := typ.Field(i).Tag
			name, options, _ := strings.Cut(tag.Get("json"), ",")
			if !strings.Contains(options, "omitempty") {
				required = append(required, name)
			}
			p, ok := schema.Properties[name]
			delete(schema.Properties, name)
			if !ok || p.Description == "" || tag.Get("doc") != "" && p.Description != tag.Get("doc") {
				t.Errorf("%v: %s is described as %q, want %q", typ, name, p.Description, tag.Get("doc"))
			}
			if tag.Get("enum") == "" {
				continue
			}
			var values struct{ Enum []string }
			if err := json.Unmarshal(report.Defs[strings.TrimPrefix(p.Ref, "#/$defs/")], &values); err != nil {
				t.Fatal(err)
			}
			if want := strings.Split(tag.Get("enum"), ","); !slices.Equal(values.Enum, want) {
				t.Errorf("%v: %s may be %q, want %q", typ, name, values.Enum, want)
			}
		}
		for name := range schema.Properties {
			t.Errorf("%v has no field %s, which the schema has", typ, name)
		}
		if !slices.Equal(required, schema.Required) {
			t.Errorf("%v requires %q, the schema %q", typ, required, schema.Required)
		}
	}
}
