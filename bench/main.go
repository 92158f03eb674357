// Bench measures stshost beside other servers that do the same work on the same
// machine, and prints one table in Markdown:
//
//	go run ./bench -o docs/performance.md
//
// The real `stshost serve` gets its certificate and its policy in a small
// Internet on loopback (internal/lab); nginx, Caddy and a bare net/http server
// then serve the same body with the same certificate and key. The server that
// is measured has one core for itself and the client another one. All take
// turns within each round, so that what disturbs the machine disturbs all alike:
// of the numbers the ratios are to be believed first.
//
// docs/performance.md says what is equal between them and what is not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	rounds, n, workers   int
	quick                bool
	only, output         string
	serverCPU, clientCPU int
}

// parts are what -only chooses from.
func parts() []string { return []string{"connection", "request", "many", "go"} }

func (o *options) wants(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == bareCommand {
		return bare(ctx, args[1:], stderr)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 15, "`rounds` in which each server has its turn, after one that is thrown away")
	flags.IntVar(&o.n, "n", 1000, "new `connections` of one turn; of requests over open connections there are ten times as many")
	flags.IntVar(&o.workers, "workers", 4, "connections that are open at one time")
	flags.BoolVar(&o.quick, "quick", false, "only show that all of it works: the numbers are good for nothing")
	flags.StringVar(&o.only, "only", "", "comma-separated `parts` of "+strings.Join(parts(), ",")+"; all if left out")
	flags.StringVar(&o.output, "o", "", "also put the table into this `file`, between its two markers")
	flags.IntVar(&o.serverCPU, "server-cpu", runtime.NumCPU()-1, "`core` of the server that is measured")
	flags.IntVar(&o.clientCPU, "client-cpu", 0, "`core` of the client")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if o.quick {
		o.rounds, o.n = 2, 5
	}
	for _, part := range strings.Split(o.only, ",") {
		if o.only != "" && !slices.Contains(parts(), part) {
			fmt.Fprintf(stderr, "bench: -only %s: the parts are %s\n", part, strings.Join(parts(), ", "))
			return 2
		}
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure runs the parts and gives the report out. Progress goes to stderr.
func measure(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "stshost-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	about := machine(ctx, o)
	var results []result
	var versions []string
	if o.wants("go") { // it compiles, for which both cores are welcome
		if results, err = measureGo(ctx, o, dir, stderr); err != nil {
			return err
		}
	}
	if o.wants("connection") || o.wants("request") || o.wants("many") {
		more, peers, err := measureBinary(ctx, o, dir, stderr)
		if err != nil {
			return err
		}
		results, versions = append(more, results...), peers
	}
	text := report(about, versions, results)
	fmt.Fprint(stdout, text)
	if o.output == "" {
		return nil
	}
	return rewrite(o.output, text)
}

// measureBinary runs the parts that need the stshost of the Makefile.
func measureBinary(ctx context.Context, o options, dir string, stderr io.Writer) (results []result, versions []string, err error) {
	fmt.Fprintln(stderr, "building stshost")
	binary, err := build(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	if err := pinSelf(ctx, o.clientCPU); err != nil {
		return nil, nil, err
	}
	if o.wants("connection") || o.wants("request") {
		if results, versions, err = measureServers(ctx, o, dir, binary, stderr); err != nil {
			return nil, nil, err
		}
	}
	if o.wants("many") {
		more, err := measureMany(ctx, o, binary, stderr)
		if err != nil {
			return nil, nil, err
		}
		results = append(results, more...)
	}
	return results, versions, nil
}
