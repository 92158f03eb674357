package config_test

import (
	"strings"
	"testing"
)

// Syntax errors have the form of all others, and quote nothing of the file.
func TestSyntaxErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"string not closed", "\n[dns.a]\napi_token = \"hush\nx = 1", "5: a string is not closed on its line"},
		{"string not closed at the end", "x = \"hush", "3: a string is not closed"},
		{"long string not closed", "x = \"\"\"hush\nhush", ": a string is not closed"},
		{"bare word", "x = hushhush", "3: the value is missing or not written right"},
		{"bare word like true", "x = thush", "3: the value is missing or not written right"},
		{"no value", "x =\ny = 1", "3: the value is missing or not written right"},
		{"no equals sign", "x \"hush\"", "3: a key is not followed by ="},
		{"key alone", "hush", "3: a key is not followed by ="},
		{"no key", "= 1", "3: there is no key before the ="},
		{"two values", "x = \"a\" \"hush\"", "3: something follows where the line should end"},
		{"two settings", "x = 1 y = 2", "3: something follows where the line should end"},
		{"list not closed", "x = [\"hush\"\ny = 1", ": a list is not written right"},
		{"list without comma", "x = [\"hush\" \"b\"]", "3: a list is not written right"},
		{"empty place in a list", "x = [1,,2]", "3: a comma stands where a value should"},
		{"unknown escape", "x = \"hu\\qsh\"", "3: a backslash in a string begins no known escape"},
		{"path of Windows", "x = \"C:\\xyz\"", "3: a backslash in a string begins no known escape"},
		{"number too large", "x = 99999999999999999999", "3: the number is too large"},
		{"number with zero", "x = 007", "3: the value is not written right"},
		{"no date", "x = 2026-13-45", "3: the value looks like a date"},
		{"header not closed", "[dns.a", "3: a section header is not written right"},
		{"header empty", "[]", "3: a section header is not written right"},
		{"control character", "x = \"a\x01b\"", "3: a control character"},
		{"not UTF-8", "x = \"\xff\"", "3: the file is not UTF-8 text"},
		{"list and section", "domain = []\n[[domain]]", "4: [domain] is set again; it is already set on line 3"},
		{"value and section", "x = 1\n[x]\ny = 1", "4: [x] is set again; it is already set on line 3"},
		{"value below a value", "x = 1\nx.y = 1", "4: x.y is set again; it is already set on line 3"},
		{"deep list", "x = " + strings.Repeat("[", 100000), "3: "},
		{"deep closed list", "x = " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "3: values are nested too deep"},
		{"deep key", strings.Repeat("a.", 5000) + "a = 1", "3: values are nested too deep"},
		{"deep header", "[" + strings.Repeat("a.", 5000) + "a]", "3: values are nested too deep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, map[string]string{"main.toml": "acme.accept_terms = true\n\n" + tt.text}, nil)
			text := strings.Join(got, "\n")
			if !strings.Contains(text, tt.want) || !strings.HasPrefix(text, "main.toml:") {
				t.Fatalf("got\n%s\nwant %s", text, tt.want)
			}
			if strings.Contains(text, "hush") {
				t.Errorf("the error quotes the file:\n%s", text)
			}
		})
	}
	// UTF-16 has its NUL at the very start.
	got := faults(t, map[string]string{"main.toml": "\xff\xfe[\x00a\x00]\x00"}, nil)
	if len(got) != 1 || !strings.HasPrefix(got[0], "main.toml:1: ") || !strings.Contains(got[0], "UTF-8") {
		t.Errorf("UTF-16 gives %q", got)
	}
}

func TestByteOrderMarkAndCRLF(t *testing.T) {
	text := "\xef\xbb\xbf" + terms + domain
	cfg := load(t, map[string]string{"main.toml": strings.ReplaceAll(text, "\n", "\r\n")}, nil)
	if len(cfg.Domains) != 1 || cfg.Domains[0].At.Line != 3 {
		t.Errorf("got %+v", cfg.Domains)
	}
}

// The same config in other notations of TOML has the same values and lines.
func TestNotations(t *testing.T) {
	for _, text := range []string{
		"acme.accept_terms = true\ndomain = [{name = \"a.example\", mx = [\"m.example\"]}]\n",
		"acme = {accept_terms = true}\n[[domain]]\n\"name\" = 'a.example'\nmx = [\n'm.example',\n]\n",
		"[[domain]]\nname = \"a.example\"\n\nmx = [ # ours\n\"m.example\"]\n[acme]\n\"accept_terms\" = true\n",
	} {
		cfg := load(t, map[string]string{"main.toml": text}, nil)
		if len(cfg.Domains) != 1 || cfg.Domains[0].Name != "a.example" || cfg.Domains[0].MX[0] != "m.example" {
			t.Errorf("%s\ngives %+v", text, cfg.Domains)
		}
		wrong := strings.Replace(text, "m.example", "m.example.", 1)
		line := 1 + strings.Count(wrong[:strings.Index(wrong, "m.example")], "\n")
		got := faults(t, map[string]string{"main.toml": wrong}, nil)
		if len(got) != 1 || !strings.HasPrefix(got[0], "main.toml:"+string(rune('0'+line))+": mx in [[domain]]") {
			t.Errorf("%s\ngives %q, want a fault on line %d", wrong, got, line)
		}
	}
}
