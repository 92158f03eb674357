package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine says what was measured, where, and how.
func machine(ctx context.Context, o options) string {
	line := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(out))
	}
	commit := line("git", "rev-parse", "--short=12", "HEAD")
	if line("git", "status", "--porcelain", "--untracked-files=no") != "" {
		commit += " with changes"
	}
	pinning := fmt.Sprintf("server on core %d, client on core %d", o.serverCPU, o.clientCPU)
	if runtime.NumCPU() == 1 {
		pinning = "server and client on the only core"
	}
	var b strings.Builder
	if o.quick {
		b.WriteString("**A quick run: these numbers are good for nothing.**\n\n")
	}
	fmt.Fprintf(&b, "Measured %s at commit %s: %s, %d cores, Linux %s, %s; %s; %d rounds of %d connections, %d at a time. Load average before: %s.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), commit, cpuModel(), runtime.NumCPU(), line("uname", "-r"), runtime.Version(),
		pinning, o.rounds, o.n, o.workers, loadAverage())
	return b.String()
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a " + runtime.GOARCH + " CPU"
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
