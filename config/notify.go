package config

import (
	"slices"
	"strings"
	"time"
)

// severities are those of events, from the least.
var severities = []string{"info", "warning", "critical"}

// readNotify reads [notify.NAME].
func (l *loader) readNotify(t table) map[string]Notify {
	var out map[string]Notify
	for _, name := range t.names("notification") {
		if _, ok := t.vals[name].(map[string]any); !ok {
			t.fail(name, "write a section such as [notify.ops] and put it there",
				"%s in [notify] is %s, and [notify] holds only those to be told", showKey(name), typeName(t.vals[name]))
			continue
		}
		if out == nil {
			out = make(map[string]Notify)
		}
		out[name] = l.readNotifyTarget(name, t.sub(name))
	}
	return out
}

func (l *loader) readNotifyTarget(name string, t table) Notify {
	t.only(notifyKeys)
	out := Notify{Name: name, Min: "warning", Location: time.Local, Repeat: 24 * time.Hour, At: t.pos()}
	url, given, ok := t.setting(Setting{Key: "url", Secret: true})
	const remedy = `write url = "generic+https://HOST/PATH" for a webhook or "smtp://HOST:25/?from=…&to=…" for mail, or url_file = "PATH"`
	switch {
	case !given:
		l.fail(t.pos(), remedy, "%s has no url", t.name)
	case ok && url == "":
		t.fail("url", remedy, "url in %s is empty", t.name)
	case ok && l.opts.CheckNotify != nil:
		if err := l.opts.CheckNotify(url); err != nil {
			what, advice, found := strings.Cut(err.Error(), "; ")
			if !found {
				advice = remedy
			}
			l.fail(t.pos(), advice, "in %s %s", t.name, what)
		}
	}
	out.URL = url
	if s, ok := t.str("min", `"warning"`); ok {
		if !slices.Contains(severities, s) {
			t.fail("min", didYouMean(s, severities, "known are"), "min in %s is %s", t.name, show(s))
		}
		out.Min = s
	}
	if s, ok := t.str("quiet_hours", `"22:00-07:00"`); ok && s != "" {
		if out.QuietFrom, out.QuietTo, ok = quietHours(s); !ok {
			t.fail("quiet_hours", `write quiet_hours = "22:00-07:00"`, "quiet_hours in %s is %s: it is not two different times of day", t.name, show(s))
		}
	}
	if s, ok := t.str("timezone", `"Europe/Berlin"`); ok && s != "" {
		loc, err := time.LoadLocation(s)
		if err != nil {
			t.fail("timezone", `write a name of the IANA time zone database, e.g. timezone = "Europe/Berlin"`, "timezone in %s is %s, which is unknown", t.name, show(s))
		} else {
			out.Location = loc
		}
	}
	if t.has("repeat") {
		if d, ok := t.duration("repeat", 0, 52*7*24*time.Hour, `"1d"`, ""); ok {
			out.Repeat = d
		}
	}
	return out
}

// quietHours reads "22:00-07:00" as times since midnight.
func quietHours(s string) (from, to time.Duration, ok bool) {
	a, b, _ := strings.Cut(s, "-")
	t1, err1 := time.Parse("15:04", strings.TrimSpace(a))
	t2, err2 := time.Parse("15:04", strings.TrimSpace(b))
	since := func(t time.Time) time.Duration {
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	return since(t1), since(t2), err1 == nil && err2 == nil && !t1.Equal(t2)
}
