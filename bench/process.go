package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pinned is a command that runs on one core only. Where there is but one, it is
// the command itself.
func pinned(ctx context.Context, cpu int, name string, args ...string) *exec.Cmd {
	if runtime.NumCPU() > 1 {
		name, args = "taskset", append([]string{"-c", strconv.Itoa(cpu), name}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second // then KILL
	return cmd
}

// pinSelf confines this process, threads that exist and those to come, to one
// core. The programs that it starts are put elsewhere by pinned.
func pinSelf(ctx context.Context, cpu int) error {
	if runtime.NumCPU() == 1 {
		return nil
	}
	runtime.GOMAXPROCS(1)
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", strconv.Itoa(cpu), strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pin the client to core %d: %w: %s; taskset is in the Debian package util-linux", cpu, err, bytes.TrimSpace(out))
	}
	return nil
}

// find finds a program, also where daemons live; "" is nowhere.
func find(name string) string {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// process is a server that was started here.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	stop func()        // ends it and waits
	log  string        // file with what it said
}

// launch starts a server on a core and waits until it accepts connections.
func launch(ctx context.Context, cpu int, logFile, addr, name string, args ...string) (*process, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ctx, cancel := context.WithCancel(ctx)
	cmd := pinned(ctx, cpu, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(logFile), log, log
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir) // Caddy keeps things there
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{}), log: logFile}
	p.stop = func() { cancel(); <-p.done }
	go func() {
		cmd.Wait() // ended by us, or accepts reports it
		close(p.done)
	}()
	if err := p.accepts(ctx, addr); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w; it said:\n%s", name, err, p.said())
	}
	return p, nil
}

func (p *process) accepts(ctx context.Context, addr string) error {
	return poll(ctx, func() error {
		select {
		case <-p.done:
			return errEnded
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

var errEnded = errors.New("it ended by itself")

// poll calls f until it succeeds, and gives up after a minute.
func poll(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up: %w", err)
		case <-tick.C:
		}
	}
}

// family is a process and all that descend from it.
func family(pid int) []int {
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file) // gone: no children
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, family(child)...)
			}
		}
	}
	return pids
}

// cpuTime is what all threads of all processes of a family have run for. The
// kernel counts it in nanoseconds (proc(5), schedstat), unlike the clock ticks
// of 10 ms in /proc/PID/stat.
func cpuTime(pid int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range family(pid) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(threads) == 0 {
			return 0, fmt.Errorf("the kernel does not tell the CPU time of process %d; Linux with CONFIG_SCHED_INFO does", pid)
		}
		for _, file := range threads {
			text, err := os.ReadFile(file)
			if err != nil {
				return 0, err
			}
			first, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// memory is the proportional set size of a family in bytes: pages that several
// processes share are counted once.
func memory(pid int) (float64, error) {
	sum := 0.0
	for _, pid := range family(pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
				if err != nil {
					return 0, err
				}
				sum += kb * 1024
			}
		}
	}
	return sum, nil
}
