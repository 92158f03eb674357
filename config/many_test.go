package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/stshost/stshost/config"
)

// manyDomains writes n domains, each with mx and max_age of its own, into as
// many files.
func manyDomains(n, files int) map[string]string {
	out := map[string]string{"main.toml": "include = [\"d/*.toml\"]\n" + terms + "[profile.p]\nmx = [\"mx.example\"]\n"}
	for f := range files {
		var b strings.Builder
		for i := f; i < n; i += files {
			fmt.Fprintf(&b, "[[domain]]\nname = \"d%d.example\"\nprofile = \"p\"\nmx = [\"mx1.d%d.example\", \"mx2.d%d.example\"]\nmax_age = \"7d\"\n", i, i, i)
		}
		out[fmt.Sprintf("d/%06d.toml", f)] = b.String()
	}
	return out
}

func TestManyDomains(t *testing.T) {
	for _, files := range []int{1, 1000} {
		cfg := load(t, manyDomains(5000, files), nil)
		if len(cfg.Domains) != 5000 || len(cfg.Files) != files+1 {
			t.Errorf("%d domains in %d files", len(cfg.Domains), len(cfg.Files))
		}
	}
}

// The time per domain must not grow with their number.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []struct{ domains, files int }{{1000, 1}, {100_000, 1}, {100_000, 10_000}} {
		b.Run(fmt.Sprintf("domains=%d/files=%d", size.domains, size.files), func(b *testing.B) {
			path := write(b, manyDomains(size.domains, size.files))
			for b.Loop() {
				if _, err := config.Load(path, options(nil)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(size.domains), "ns/domain")
		})
	}
}

// BenchmarkLoadOrParse loads a large config, beside what is spent in any case
// to read and parse its TOML.
func BenchmarkLoadOrParse(b *testing.B) {
	path := write(b, manyDomains(100_000, 1))
	b.Run("stshost", func(b *testing.B) {
		for b.Loop() {
			if _, err := config.Load(path, options(nil)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("toml", func(b *testing.B) {
		for b.Loop() {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "d", "000000.toml"))
			if err != nil {
				b.Fatal(err)
			}
			var parsed map[string]any
			if err := toml.Unmarshal(text, &parsed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
