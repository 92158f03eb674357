package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/config"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// What a domain leaves out comes from its profile, what that leaves out from
// [defaults], each setting by itself.
func TestRollout(t *testing.T) {
	stays := func(d ...time.Duration) []time.Duration { return d }
	usual := config.Rollout{MaxAge: 4 * week, Ramp: stays(day, week), Stay: stays(week, 2*day, week), Reporters: 2}
	with := func(change func(*config.Rollout)) config.Rollout {
		out := usual
		change(&out)
		return out
	}
	tests := []struct {
		name                      string
		defaults, profile, domain string
		want                      config.Rollout
	}{
		{name: "nothing", want: usual},
		{
			name: "a longer ramp has longer stays", domain: `ramp = ["1h", "1d", "1w", "2w"]`,
			want: with(func(r *config.Rollout) {
				r.Ramp, r.Stay = stays(time.Hour, day, week, 2*week), stays(week, 2*day, week, week, week)
			}),
		},
		{
			name: "a shorter ramp has shorter stays", domain: `ramp = ["1w"]`,
			want: with(func(r *config.Rollout) { r.Ramp, r.Stay = stays(week), stays(week, 2*day) }),
		},
		{
			name: "no ramp", profile: `ramp = []`,
			want: with(func(r *config.Rollout) { r.Ramp, r.Stay = nil, stays(week) }),
		},
		{
			name: "stay for the default ramp", domain: `stay = ["4w", 0, "52w"]`,
			want: with(func(r *config.Rollout) { r.Stay = stays(4*week, 0, 52*week) }),
		},
		{
			name: "only what is below max_age", defaults: `max_age = "1w"`, domain: `stay = ["1d", "3d", "5d"]`,
			want: with(func(r *config.Rollout) { r.MaxAge, r.Ramp, r.Stay = week, stays(day), stays(day, 3*day) }),
		},
		{
			name: "max_age below the ramp", profile: `max_age = "1d"`,
			want: with(func(r *config.Rollout) { r.MaxAge, r.Ramp, r.Stay = day, nil, stays(week) }),
		},
		{
			name: "the longest ramp", domain: `ramp = [1, 2, 3, 4, 5, 6, 7, 31557599]` + "\n" + `max_age = 31557600`,
			want: with(func(r *config.Rollout) {
				r.MaxAge, r.Ramp = 31557600*time.Second, stays(1e9, 2e9, 3e9, 4e9, 5e9, 6e9, 7e9, 31557599*time.Second)
				r.Stay = stays(week, 2*day, week, week, week, week, week, week, week)
			}),
		},
		{
			name:     "from defaults",
			defaults: `ramp = ["2d"]` + "\n" + `stay = ["1d", "3d"]` + "\nreporters = 1000\nmx_migration = \"auto\"\nmax_age = \"2w\"",
			want:     config.Rollout{MaxAge: 2 * week, Ramp: stays(2 * day), Stay: stays(day, 3*day), Reporters: 1000, Migrate: true},
		},
		{
			name:     "the profile over defaults, each by itself",
			defaults: `ramp = ["2d"]` + "\n" + `stay = ["1d", "3d"]` + "\nreporters = 9\nmx_migration = \"auto\"",
			profile:  `ramp = ["3d"]` + "\nreporters = 0",
			want:     config.Rollout{MaxAge: 4 * week, Ramp: stays(3 * day), Stay: stays(day, 3*day), Migrate: true},
		},
		{
			name:     "the domain over both, each by itself",
			defaults: `stay = ["1d", "3d"]` + "\nmx_migration = \"auto\"",
			profile:  `ramp = ["2d"]` + "\nreporters = 3\nmax_age = \"3w\"",
			domain:   `stay = ["2d", "5d"]` + "\nmx_migration = \"ask\"",
			want:     config.Rollout{MaxAge: 3 * week, Ramp: stays(2 * day), Stay: stays(2*day, 5*day), Reporters: 3},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := fmt.Sprintf("[defaults]\n%s\n[profile.p]\nmx = [\"m.example\"]\n%s\n[[domain]]\nname = \"a.example\"\nprofile = \"p\"\n%s\n",
				tt.defaults, tt.profile, tt.domain)
			cfg := load(t, map[string]string{"main.toml": terms + text}, nil)
			checkWarnings(t, cfg, "")
			if d := cmp.Diff(tt.want, cfg.Domains[0].Rollout); d != "" {
				t.Error(d)
			}
		})
	}
}

// A pin on the mode leaves nothing undecided for the day when it is taken out.
func TestRolloutOfPinnedDomain(t *testing.T) {
	cfg := load(t, map[string]string{"main.toml": terms + "[defaults]\nramp = [\"1d\"]\n" + domain + "mode = \"enforce\"\nmax_age = \"2d\"\n"}, nil)
	want := config.Rollout{MaxAge: 2 * day, Ramp: []time.Duration{day}, Stay: []time.Duration{week, 2 * day}, Reporters: 2}
	if d := cmp.Diff(want, cfg.Domains[0].Rollout); d != "" {
		t.Error(d)
	}
}

// A million domains do not have a million copies of the same few durations.
func TestRolloutsAreShared(t *testing.T) {
	var b strings.Builder
	b.WriteString(terms + "[defaults]\nmx = [\"m.example\"]\n[profile.slow]\nramp = [\"2d\"]\n")
	add := func(kind string, i int, lines string) {
		fmt.Fprintf(&b, "[[domain]]\nname = \"%s%d.example\"\n%s", kind, i, lines)
	}
	for i := range 3 {
		add("usual", i, "")
		add("same", i, "ramp = [\"1d\", 604800]\nstay = [\"1w\", \"48h\", \"7d\"]\n")
		add("cut", i, "max_age = \"1w\"\n")
		add("slow", i, "profile = \"slow\"\n")
	}
	kinds := map[string][2]*time.Duration{}
	for _, d := range load(t, map[string]string{"main.toml": b.String()}, nil).Domains {
		kind := strings.TrimRight(strings.TrimSuffix(d.Name, ".example"), "012")
		if kind == "same" {
			kind = "usual"
		}
		at := [2]*time.Duration{&d.Rollout.Ramp[0], &d.Rollout.Stay[0]}
		if first, ok := kinds[kind]; ok && first != at {
			t.Errorf("%s has lists of its own", d.Name)
		}
		kinds[kind] = at
	}
	if len(kinds) != 3 || kinds["usual"][0] == kinds["cut"][0] || kinds["usual"][0] == kinds["slow"][0] {
		t.Errorf("different lists are one: %v", kinds)
	}
}

// The text stands behind `terms` and `domain`, so it begins on line 6.
func TestRolloutFaults(t *testing.T) {
	const head = "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\n" // up to line 8
	const fit = "stay needs one for testing and one for each of ramp; write "
	tests := []struct{ name, text, want string }{
		{"no list", head + `ramp = "1d"`, `9: ramp in [[domain]] must be a list of durations, not a string; write ramp = ["1d", "1w"], each an integer of seconds or a string`},
		{"element", head + "ramp = [\n\"1d\",\ntrue]", `11: ramp in [[domain]] must be a list of durations, not true or false; write ramp = [`},
		{"no duration", head + `ramp = ["1d", "week"]`, `9: an element of ramp in [[domain]]: "week" is no duration; write ramp = ["1d", "1w"], each an integer`},
		{"zero", head + "ramp = [\n0,\n\"1d\"]", "10: an element of ramp in [[domain]] is shorter than 1 (RFC 8461 §3.2); write a duration from 1 to 31557600"},
		{"too long", head + `ramp = [31557601]`, "9: an element of ramp in [[domain]] is longer than 31557600 (RFC 8461 §3.2); write a duration"},
		{"twice", head + "ramp = [\n\"1d\",\n\"24h\"]", `11: ramp in [[domain]] does not ascend: "1d" stands behind "1d"; write each once, the shortest first`},
		{"descending, said once", head + `ramp = ["4w", "2w", "1w"]`, `9: ramp in [[domain]] does not ascend: "2w" stands behind "4w"; write`},
		{"nine", head + `ramp = [1, 2, 3, 4, 5, 6, 7, 8, 9]`, "9: ramp in [[domain]] has 9 durations; write 8 at most"},
		{"stay negative", head + `stay = [0, -1, 0]`, `9: an element of stay in [[domain]] is negative; write a duration from 0 to "52w"`},
		{"stay too long", head + `stay = ["53w", 0, 0]`, `9: an element of stay in [[domain]] is longer than "52w"; write`},
		{"stay type", head + `stay = 7`, `9: stay in [[domain]] must be a list of durations, not an integer; write stay = ["7d", "2d", "7d"], each`},

		{"both in one table", head + "ramp = [\"1d\"]\nstay = [\"1d\"]", `10: stay in [[domain]] has 1 duration and ramp in [[domain]] (main.toml:9) has 1 duration, but ` + fit + `2 durations, e.g. stay = ["1w", "2d"]`},
		{"no stay for testing", head + "ramp = []\nstay = []", `10: stay in [[domain]] has no duration and ramp in [[domain]] (main.toml:9) has no duration, but ` + fit + `1 duration, e.g. stay = ["1w"]`},
		{"stay for another ramp than the default", head + `stay = ["1d", 0]`, `9: stay in [[domain]] has 2 durations and the default ramp = ["1d", "1w"] has 2 durations, but ` + fit + `3 durations, e.g.`},
		{"ramp over that of defaults", "[defaults]\nramp = [\"1d\"]\nstay = [0, 0]\n" + head + `ramp = ["1d", "2d"]`,
			`12: ramp in [[domain]] has 2 durations and stay in [defaults] (main.toml:8) has 2 durations, but ` + fit[:len(fit)-len("write ")] + `write stay beside it, with 3 durations, e.g. stay = ["1w", "2d", "1w"]`},
		{"stay over that of defaults", "[defaults]\nramp = [\"1d\"]\nstay = [0, 0]\n" + head + `stay = [0]`, `12: stay in [[domain]] has 1 duration and ramp in [defaults] (main.toml:7) has 1 duration, but ` + fit + `2`},
		{"ramp in the profile, once for all", "[defaults]\nstay = [0, 0, 0]\n[profile.p]\nmx = [\"m.example\"]\nramp = [\"1d\"]\n[[domain]]\nname = \"b.example\"\nprofile = \"p\"\n[[domain]]\nname = \"c.example\"\nprofile = \"p\"",
			`10: ramp in [profile.p] has 1 duration and stay in [defaults] (main.toml:7) has 3 durations, but`},
		{"stay in defaults, once for all", "[defaults]\nstay = [0]\n" + head, `7: stay in [defaults] has 1 duration and the default ramp`},
		{"in a profile that nobody has", "[profile.p]\nramp = []\nstay = [0, 0]", `8: stay in [profile.p] has 2 durations and ramp in [profile.p] (main.toml:7) has no duration`},
		{"a profile's, once", "[profile.p]\nmx = [\"m.example\"]\nramp = []\nstay = [0, 0]\n[[domain]]\nname = \"b.example\"\nprofile = \"p\"", `9: stay in [profile.p] has 2 durations`},
		{"faulty and no fit, once", "[defaults]\nramp = [\"1d\", \"x\"]\n" + head + "stay = [0]", `7: an element of ramp in [defaults]: "x" is no duration`},
		{"of a pinned domain", head + "mode = \"testing\"\nstay = [0]", "10: stay in [[domain]] has 1 duration and the default ramp"},

		{"reporters", head + "reporters = 1001", "9: reporters in [[domain]] is 1001; write a number from 0 to 1000"},
		{"reporters negative", "[defaults]\nreporters = -1", "7: reporters in [defaults] is -1; write a number from 0 to 1000"},
		{"reporters type", "[profile.p]\nreporters = \"2\"", "7: reporters in [profile.p] must be an integer, not a string; write reporters = 2"},
		{"migration", head + `mx_migration = "Auto"`, `9: mx_migration in [[domain]] is "Auto"; write "ask" or "auto"`},
		{"migration type", "[defaults]\nmx_migration = true", `7: mx_migration in [defaults] must be a string, not true or false; write mx_migration = "ask"`},
		{"mistyped", head + `reporter = 2`, "9: unknown key reporter in [[domain]]; did you mean reporters?"},
		{"elsewhere", "[watch]\nramp = []", "7: unknown key ramp in [watch]; it belongs in [[domain]] or [profile.NAME] or [defaults]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, map[string]string{"main.toml": terms + domain + tt.text + "\n"}, nil)
			if len(got) != 1 || !strings.HasPrefix(got[0], "main.toml:"+tt.want) {
				t.Errorf("got\n%s\nwant one that begins\nmain.toml:%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}
