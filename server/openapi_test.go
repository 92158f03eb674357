package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// openAPI is a document that answers are held against: types, required members,
// and no member that is not described.
type openAPI struct{ doc map[string]any }

func (o openAPI) get(path ...string) (any, bool) {
	var v any = o.doc
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[p]; !ok {
			return nil, false
		}
	}
	return v, true
}

func (o openAPI) check(t *testing.T, where string, schema map[string]any, v any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		s, ok := o.get(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		if !ok {
			t.Fatalf("%s: no schema %s", where, ref)
		}
		schema = s.(map[string]any)
	}
	if schema["type"] == nil && schema["properties"] == nil {
		return // anything
	}
	is := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		is["object"] = true
		properties, _ := schema["properties"].(map[string]any)
		for key, member := range v {
			p, ok := properties[key].(map[string]any)
			if !ok { // a map with keys of any name
				p, ok = schema["additionalProperties"].(map[string]any)
			}
			if !ok {
				t.Errorf("%s.%s is not in the document", where, key)
				continue
			}
			o.check(t, where+"."+key, p, member)
		}
		required, _ := schema["required"].([]any)
		for _, r := range required {
			if _, ok := v[r.(string)]; !ok {
				t.Errorf("%s.%s is required and missing", where, r)
			}
		}
	case []any:
		is["array"] = true
		for i, e := range v {
			o.check(t, fmt.Sprintf("%s[%d]", where, i), schema["items"].(map[string]any), e)
		}
	case string:
		is["string"] = true
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	case float64:
		is["number"], is["integer"] = true, v == float64(int64(v))
	case bool:
		is["boolean"] = true
	case nil:
		is["null"] = true
	}
	types, ok := schema["type"].([]any)
	if !ok {
		types = []any{schema["type"]}
	}
	for _, want := range types {
		if is[fmt.Sprint(want)] {
			return
		}
	}
	t.Errorf("%s is %v, want %v", where, v, types)
}
