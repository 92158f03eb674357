package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stshost/stshost/config"
)

func TestInclude(t *testing.T) {
	cfg := load(t, map[string]string{
		"main.toml":       "include = [\"sub/*.toml\", \"sub/b.toml\", \"extra/x.toml\", \"later/*.toml\"]\n" + terms,
		"sub/b.toml":      "[[domain]]\nname = \"b.example\"\nprofile = \"shared\"\n",
		"sub/a.toml":      "[[domain]]\nname = \"a.example\"\nmx = [\"mx.a.example\"]\n",
		"sub/.lock.toml":  "not a config",
		"sub/readme.txt":  "nor this",
		"extra/x.toml":    "[profile.shared]\nmx = [\"mx.shared.example\"]\nmax_age = \"2d\"\n",
		"unrelated.toml":  "nor this",
		"sub/deeper/c.md": "nor this",
	}, nil)
	dir := filepath.Dir(cfg.File)
	var files, domains []string
	for _, f := range cfg.Files {
		files = append(files, strings.TrimPrefix(f, dir+"/"))
	}
	for _, d := range cfg.Domains {
		domains = append(domains, d.Name+" "+d.MX[0]+" "+d.MaxAge.String()+" "+strings.TrimPrefix(d.At.String(), dir+"/"))
	}
	if d := cmp.Diff([]string{"main.toml", "sub/a.toml", "sub/b.toml", "extra/x.toml"}, files); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		"a.example mx.a.example 168h0m0s sub/a.toml:1",
		"b.example mx.shared.example 48h0m0s sub/b.toml:1",
	}, domains); d != "" {
		t.Error(d)
	}
}

// The directory of a config is no pattern, whatever its name.
func TestIncludeBesideOddDirectory(t *testing.T) {
	path := write(t, map[string]string{
		`[a]*\/main.toml`:    "include = [\"d/*.toml\"]\n" + terms,
		`[a]*\/d/x.toml`:     "[[domain]]\nname = \"x.example\"\nmx = [\"mx.x.example\"]\n",
		"main.toml":          "",
		`other/d/never.toml`: "x",
	})
	cfg, err := config.Load(filepath.Join(filepath.Dir(path), `[a]*\/main.toml`), options(nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Domains) != 1 {
		t.Errorf("%d domains, want 1", len(cfg.Domains))
	}
}

// A directory of include that cannot be read is not one without files: a reload
// would drop every domain in it.
func TestIncludeOfUnreadableDirectory(t *testing.T) {
	path := write(t, map[string]string{
		"main.toml": "include = [\"loop/*.toml\",\n\"file/*.toml\", \"*.toml\", \"gone/*/x.toml\"]\n" + terms,
		"file":      "",
	})
	dir := filepath.Dir(path)
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, options(nil))
	const remedy = "; make it a directory that the user who runs stshost can read, or correct the pattern\n"
	want := path + ":1: the directory " + dir + "/loop of the include pattern \"loop/*.toml\" cannot be read: too many levels of symbolic links" + remedy +
		path + ":2: the directory " + dir + "/file of the include pattern \"file/*.toml\" cannot be read: not a directory" + remedy
	if err == nil || err.Error()+"\n" != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}
