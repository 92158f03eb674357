package config_test

import (
	"strings"
	"testing"

	"github.com/stshost/stshost/config"
)

// checkWarnings wants one warning that contains want, or none if want is "".
func checkWarnings(t *testing.T, cfg *config.Config, want string) {
	t.Helper()
	switch {
	case want == "" && len(cfg.Warnings) > 0:
		t.Errorf("unexpected warnings:\n%v", config.Errors(cfg.Warnings))
	case want != "" && (len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0].Error(), want)):
		t.Errorf("warnings:\n%v\nwant one with %q", config.Errors(cfg.Warnings), want)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"wildcard", "[[domain]]\nname = \"a.example\"\nmx = [\n\"*.m.example\"]\n", `main.toml:6: mx in [[domain]] has "*.m.example"`},
		{"mx of one label", "[[domain]]\nname = \"a.example\"\nmx = [\"mx1\"]\n", `has "mx1": no MX host on the Internet has a name of one label, so it matches none; write its whole name`},
		{"domain of one label", "[[domain]]\nname = \"localhost\"\nmx = [\"mx.example.com\"]\n", `name in [[domain]] is "localhost", a name of one label; write the part`},
		{"same mx twice", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\", \"M.example\"]\n", `has "m.example" twice; write it once`},
		{"short max_age in enforce", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmode = \"enforce\"\nmax_age = 86399\n", "main.toml:7: a.example enforces with a max_age of less than a day"},
		{"short max_age in a profile, once", "[profile.p]\nmode = \"enforce\"\nmax_age = \"1h\"\nmx = [\"m.example\"]\n[defaults]\nprofile = \"p\"\n[[domain]]\nname = \"a.example\"\n[[domain]]\nname = \"b.example\"\n", "main.toml:5: "},
		{"a day is enough", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmode = \"enforce\"\nmax_age = 86400\n", ""},
		{"short max_age in testing", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmode = \"testing\"\nmax_age = 60\n", ""},
		{"short max_age of a rollout", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmax_age = \"23h\"\n", "main.toml:6: a.example ends its rollout with a max_age of less than a day"},
		{"short max_age of rollouts, once", "[defaults]\nmax_age = \"1h\"\nmx = [\"m.example\"]\n[[domain]]\nname = \"a.example\"\n[[domain]]\nname = \"b.example\"\n", "main.toml:4: a.example ends"},
		{"a day is enough for a rollout", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmax_age = \"1d\"\nramp = [\"1h\"]\n", ""},
		{"ramp and stay beside a mode", "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmode = \"testing\"\nstay = [0, 0, 0]\nramp = [\"1d\", \"2d\"]\n",
			"main.toml:8: mode in [[domain]] is pinned, which leaves without effect what stands beside it: ramp, stay; remove what is not meant: without mode, `stshost rollout` takes"},
		{"a rollout beside a mode in a profile, once", "[profile.p]\nmode = \"none\"\nmx_migration = \"auto\"\n[defaults]\nprofile = \"p\"\n[[domain]]\nname = \"a.example\"\n[[domain]]\nname = \"b.example\"\n",
			"main.toml:5: mode in [profile.p] is pinned, which leaves without effect what stands beside it: mx_migration"},
		{"a mode over the rollout of others", "[defaults]\nramp = []\nreporters = 5\n[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\nmode = \"testing\"\n", ""},
		{"policy host as domain", "[[domain]]\nname = \"mta-sts.a.example\"\nmx = [\"m.example\"]\n", `write name = "a.example"`},
		{"no domain", "", "there is no domain yet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkWarnings(t, load(t, map[string]string{"main.toml": terms + tt.text}, nil), tt.want)
		})
	}
}
