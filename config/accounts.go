package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxSecret bounds a secret's file; the largest we know, a service account
// in JSON, has 3 KB.
const maxSecret = 64 << 10

// readAccounts reads [dns.NAME].
func (l *loader) readAccounts(t table) map[string]DNSAccount {
	out := map[string]DNSAccount{
		PrintAccount: {Name: PrintAccount, Provider: PrintAccount, Settings: map[string]string{}},
	}
	for name := range t.vals {
		l.accounts[name] = true
	}
	for _, name := range t.names("DNS account") {
		if _, ok := t.vals[name].(map[string]any); !ok {
			t.fail(name, "write a section such as [dns.main] and put it there",
				"%s in [dns] is %s, and [dns] holds only accounts", showKey(name), typeName(t.vals[name]))
			continue
		}
		l.declared++
		out[name] = l.readAccount(name, t.sub(name))
	}
	return out
}

func (l *loader) readAccount(name string, t table) DNSAccount {
	out := DNSAccount{Name: name, Settings: map[string]string{}, At: t.pos()}
	providers := slices.AppendSeq([]string{PrintAccount}, maps.Keys(l.opts.Providers))
	slices.Sort(providers)
	providers = slices.Compact(providers)
	provider, ok := t.str("provider", `"`+PrintAccount+`"`)
	switch {
	case !t.has("provider"):
		t.l.fail(t.pos(), `write provider = "NAME" with one of `+strings.Join(providers, ", "), "%s has no provider", t.name)
	case !ok:
	case l.opts.Refused[provider] != "":
		why, remedy, _ := strings.Cut(l.opts.Refused[provider], "; ")
		t.fail("provider", remedy, "provider in %s is %s, which is not offered: %s", t.name, show(provider), why)
	case !slices.Contains(providers, provider):
		t.fail("provider", didYouMean(provider, providers, "known are"), "provider in %s is %s, which is unknown", t.name, show(provider))
	case name == PrintAccount && provider != PrintAccount:
		// It always exists, so that every domain has an account to fall back to.
		t.l.fail(t.pos(), "give the account another name", `the account name "%s" is kept for the provider of that name`, PrintAccount)
	default:
		out.Provider = provider
		before := len(l.errs)
		l.readSettingsOf(t, l.opts.Providers[provider], out)
		if len(l.errs) == before && l.opts.CheckAccount != nil {
			l.checkAccount(t, out)
		}
	}
	return out
}

// checkAccount has the provider look at its settings.
func (l *loader) checkAccount(t table, a DNSAccount) {
	err := l.opts.CheckAccount(a.Provider, a.Settings)
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		what, remedy, _ := strings.Cut(strings.TrimSpace(line), "; ")
		l.fail(t.pos(), remedy, "in %s %s", t.name, what)
	}
}

// readSettingsOf fills in the settings of an account whose provider is known.
func (l *loader) readSettingsOf(t table, settings []Setting, out DNSAccount) {
	known := []string{"provider"}
	for _, s := range settings {
		known = append(known, s.Key)
	}
	for _, s := range settings {
		if f := s.Key + "_file"; !slices.Contains(known, f) {
			known = append(known, f)
		}
	}
	meant := map[string]bool{} // mistyped settings are not missing too
	for key := range t.vals {
		if !slices.Contains(known, key) {
			meant[strings.TrimSuffix(nearest(key, known), "_file")] = true
			t.fail(key, didYouMean(key, known, "the provider knows"), "unknown key %s in %s with provider %s", showKey(key), t.name, out.Provider)
		}
	}
	for _, s := range settings {
		v, given, ok := t.setting(s)
		switch {
		case ok && v != "":
			out.Settings[s.Key] = v
		case s.Required && !given && !meant[s.Key]:
			t.l.fail(t.pos(), "write "+example(s), "%s has no %s, which provider %s needs", t.name, s.Key, out.Provider)
		case s.Required && ok:
			t.fail(s.Key, "write "+example(s), "%s is empty", t.in(s.Key))
		}
	}
}

// example is how a setting is best written.
func example(s Setting) string {
	if s.Secret {
		return s.Key + `_file = "PATH", or ` + s.Key + ` = "${VARIABLE}"`
	}
	return s.Key + ` = "…"`
}

// setting reads one setting in whichever form it is given. ok is false if it
// was reported or is not given.
func (t table) setting(s Setting) (v string, given, ok bool) {
	file := s.Key + "_file"
	given = t.has(s.Key) || t.has(file)
	switch {
	case t.has(s.Key) && t.has(file):
		t.fail(file, "keep one of the two", "%s has both %s and %s", t.name, s.Key, file)
		return "", given, false
	case t.has(file):
		v, ok = t.secretFile(file, s)
		return v, given, ok
	case t.has(s.Key):
		raw, isString := t.str(s.Key, `"…"`)
		if !isString {
			return "", given, false
		}
		v, literal, ok := t.expand(s.Key, raw)
		if ok && literal && s.Secret && v != "" && worldReadable(t.file) {
			t.l.warn(t.posOf(s.Key), "chmod 600 "+t.file+", or move the secret to a file of its own with "+file,
				"%s stands here, and every user of this machine can read %s", t.in(s.Key), t.file)
		}
		return v, given, ok
	}
	return "", false, false
}

// secretFile reads the file that `x_file` names.
func (t table) secretFile(key string, s Setting) (string, bool) {
	name, ok := t.str(key, `"PATH"`)
	if !ok {
		return "", false
	}
	if name == "" {
		t.fail(key, `write the path of the file, e.g. `+key+` = "`+s.Key+`.secret"`, "%s is empty", t.in(key))
		return "", false
	}
	path := beside(t.file, name)
	data, err := readFile(path, maxSecret)
	if err != nil {
		remedy := "name a readable file that holds the value and nothing else"
		switch {
		case errors.Is(err, fs.ErrNotExist):
			remedy = "write the value into that file (chmod 600), or correct the path"
		case errors.Is(err, fs.ErrPermission):
			remedy = "make it readable for the user that runs stshost, and for nobody else"
		}
		t.l.failFile(t.posOf(key), err, remedy, "%s: %s cannot be read: %s", t.in(key), path, reason(err))
		return "", false
	}
	v := strings.TrimRight(string(data), "\r\n")
	if v == "" {
		t.fail(key, "write the value into it", "%s: %s is empty", t.in(key), path)
		return "", false
	}
	if s.Secret && worldReadable(path) {
		t.l.warn(t.posOf(key), "chmod 600 "+path, "%s: every user of this machine can read %s", t.in(key), path)
	}
	return v, true
}

func worldReadable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// expand replaces each ${NAME} by that environment variable, and each $${ by
// ${. literal tells that v has no variable in it. Neither the value nor what
// stands in place of a NAME that is none is shown: both may be secret.
func (t table) expand(key, s string) (v string, literal, ok bool) {
	var b strings.Builder
	literal, ok = true, true
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), literal, ok
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		name, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed || !isVariable(name) {
			t.fail(key, "write ${NAME} with letters, digits and _, or $${ for the characters ${ themselves",
				"%s has a ${ that begins no variable", t.in(key))
			return "", literal, false
		}
		literal = false
		value := t.l.opts.Getenv(name)
		if value == "" {
			t.fail(key, "set it for the process that runs stshost, or use "+key+"_file", "%s uses ${%s}, which is not set", t.in(key), name)
			ok = false
		}
		b.WriteString(value)
		s = rest
	}
}

// isVariable reports whether s is a name of an environment variable as a
// shell would set it, and short enough not to be a secret by mistake.
func isVariable(s string) bool {
	return isName(s) && !strings.Contains(s, "-") && (s[0] < '0' || s[0] > '9') && len(s) <= 128
}
