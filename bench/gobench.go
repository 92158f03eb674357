package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// goBenchmark is a benchmark in a package whose sub-benchmarks do the same work,
// one of them named stshost and another one base.
type goBenchmark struct {
	pkg, name string // name may go on into sub-benchmarks
	what      string
	base      string // what ratios are to
}

func goBenchmarks() []goBenchmark {
	return []goBenchmark{
		{"server", "BenchmarkLookup", "look up one policy host of 100,000", "map"},
		{"acme", "BenchmarkGetCertificateOfMany/hosts=10000", "GetCertificate, one host of 10,000", "map"},
		{"acme", "BenchmarkGetCertificateOfMany/hosts=100000", "GetCertificate, one host of 100,000", "map"},
		{"config", "BenchmarkLoadOrParse", "load a config of 100,000 domains", "toml"},
		{"store", "BenchmarkWrite", "save the state of a domain, synced to disk", "sqlite"},
		{"dnsupdate", "BenchmarkPush", "change a record at Knot, with TSIG", "nsupdate"},
	}
}

// measureGo runs the benchmarks of the packages, all of them once a round.
func measureGo(ctx context.Context, o options, dir string, stderr io.Writer) ([]result, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	benchmarks := goBenchmarks()
	found := make([]*result, len(benchmarks))
	for i, b := range benchmarks {
		found[i] = newResult(b.what, duration, b.base)
		if i > 0 && benchmarks[i-1].pkg == b.pkg {
			continue
		}
		fmt.Fprintf(stderr, "building the benchmarks of %s\n", b.pkg)
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binaryOf(dir, b), "github.com/stshost/stshost/"+b.pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the benchmarks of %s: %w\n%s", b.pkg, err, out)
		}
	}
	rounds, benchtime := min(o.rounds, 5), "300ms" // preparing takes longer than measuring
	if o.quick {
		rounds, benchtime = 1, "1x"
	}
	for round := range rounds {
		fmt.Fprintf(stderr, "benchmarks, round %d of %d\n", round+1, rounds)
		for i, b := range benchmarks {
			cmd := pinned(ctx, o.serverCPU, binaryOf(dir, b), "-test.run=^$", "-test.bench="+exactly(b.name), "-test.benchtime="+benchtime, "-test.cpu=1")
			cmd.Dir = filepath.Join(strings.TrimSpace(string(root)), b.pkg)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("%s in %s: %w\n%s", b.name, b.pkg, err, out)
			}
			if err := read(found[i], round, b.name, string(out)); err != nil {
				return nil, fmt.Errorf("%s in %s: %w; it said:\n%s", b.name, b.pkg, err, out)
			}
		}
	}
	var results []result
	for _, r := range found {
		if len(r.values) > 0 {
			results = append(results, *r)
		}
	}
	return results, nil
}

func binaryOf(dir string, b goBenchmark) string { return filepath.Join(dir, b.pkg+".test") }

// exactly is the pattern for one benchmark with what is under it.
func exactly(name string) string {
	return "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
}

// read takes the times out of what a test binary says: lines such as
// "BenchmarkLookup/map   12345   98.7 ns/op".
func read(r *result, round int, name, out string) error {
	skipped := strings.Contains(out, "--- SKIP")
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		who, ok := strings.CutPrefix(line, name+"/")
		if !ok || len(fields) < 4 || fields[3] != "ns/op" {
			continue
		}
		who = strings.TrimSpace(strings.Fields(who)[0])
		ns, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return err
		}
		r.add(round, who, ns/1e9)
	}
	if len(r.values) == 0 && !skipped {
		return errors.New("no time was measured")
	}
	return nil
}
