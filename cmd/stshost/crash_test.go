package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// process is `stshost serve` in a process of its own.
type process struct {
	w     *world
	cmd   *exec.Cmd
	lines chan string // of its log; closed when it ended
	once  sync.Once
	err   error
}

// spawn starts a process on the world's config.
func (w *world) spawn() *process {
	w.t.Helper()
	return w.spawnAs(exec.Command("stshost", "serve", "--config", w.config()))
}

// spawnAs is spawn by another command.
func (w *world) spawnAs(cmd *exec.Cmd) *process {
	w.t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	w.t.Cleanup(p.kill)
	return p
}

// saw waits until the log has a line with text.
func (p *process) saw(text string) {
	p.w.t.Helper()
	deadline := time.After(2 * time.Minute)
	var log []string
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.w.t.Fatalf("the process ended before it said %q:\n%s", text, strings.Join(log, "\n"))
			}
			if log = append(log, line); strings.Contains(line, text) {
				return
			}
		case <-deadline:
			p.w.t.Fatalf("the process never said %q:\n%s", text, strings.Join(log, "\n"))
		}
	}
}

func (p *process) signal(sig syscall.Signal) error {
	p.cmd.Process.Signal(sig)
	p.once.Do(func() {
		for range p.lines {
		}
		p.err = p.cmd.Wait()
	})
	return p.err
}

func (p *process) kill() { p.signal(syscall.SIGKILL) }

// What the process says when it has journalled a step. A kill there is a kill
// at that step.
var steps = []string{
	"is being ordered",
	"certificate issued",
	"policy served",
	"policy fetched back",
	"record pushed",
	"record confirmed",
}

func TestSIGKILLAtEachStepOfANewDomain(t *testing.T) {
	t.Parallel()
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t, example)
			w.writeConfig()
			p := w.spawn()
			p.saw(step)
			p.kill()

			w.spawn()
			d := w.confirmed(example)
			w.sees(d)
			w.oneIDForEachBody()
			orders := w.lab.CA.TotalOrders()
			if most := 1; step != steps[0] && orders != most {
				t.Errorf("%d orders, want %d", orders, most)
			} else if orders > 2 { // a kill while an order is open may cost that one
				t.Errorf("%d orders, want 2 at most", orders)
			}
		})
	}
}

func TestSIGKILLAtEachStepOfAChange(t *testing.T) {
	t.Parallel()
	for _, step := range steps[2:] {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t, example)
			w.writeConfig()
			p := w.spawn()
			before := w.confirmed(example)
			p.saw("record confirmed")

			stop := w.watchOrder(before)
			w.domains[0].mx = []string{"mx2.mail.test"}
			w.writeConfig()
			// Not waited for: the process may be dead before it can answer.
			reload := exec.Command("stshost", "reload", "--config", w.config())
			if err := reload.Start(); err != nil {
				t.Fatal(err)
			}
			p.saw(step)
			p.kill()
			reload.Wait()

			w.spawn()
			w.sees(w.confirmedAnew(before))
			stop()
			w.oneIDForEachBody()
			if n := w.lab.CA.TotalOrders(); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
		})
	}
}

// oneIDForEachBody wants every id that was ever pushed to be the only one of
// its body.
func (w *world) oneIDForEachBody() {
	w.t.Helper()
	ids := map[string]string{}
	for _, u := range w.lab.DNS.Updates() {
		for _, c := range u.Changes {
			for _, txt := range c.After {
				rec, err := mtasts.ParseRecord(txt)
				if err != nil || len(rec.ID) != 32 {
					w.t.Errorf("pushed %q: %v", txt, err)
					continue
				}
				digest := rec.ID[16:]
				if old, ok := ids[digest]; ok && old != rec.ID {
					w.t.Errorf("one body was announced as %s and as %s", old, rec.ID)
				}
				ids[digest] = rec.ID
			}
		}
	}
	if len(ids) == 0 {
		w.t.Error("nothing was ever pushed")
	}
}

func TestSIGTERMEndsWithStatus0(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			w := newWorld(t, example)
			w.writeConfig()
			p := w.spawn()
			w.confirmed(example)
			ended := make(chan error, 1)
			go func() { ended <- p.signal(sig) }()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("ended with %v, want status 0", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("still running after 10 seconds")
			}
		})
	}
}

func TestSIGHUPReloads(t *testing.T) {
	w := newWorld(t, example, "second.test")
	second := w.domains[1]
	w.domains = w.domains[:1]
	w.writeConfig()
	p := w.spawn()
	w.confirmed(example)
	w.domains = append(w.domains, second)
	w.writeConfig()
	p.cmd.Process.Signal(syscall.SIGHUP)
	w.sees(w.confirmed(second.name))

	if err := writeByRename(w.config(), []byte("[listen]\nhttps = 1\n")); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	p.saw("was not reloaded")
	if all, err := w.client().Domains(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("after a faulty config %d domains (%v), want the two as before", len(all), err)
	}
}

// A second server on the same store or socket would be two writers.
func TestSecondServerIsRefused(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	w.confirmed(example)
	out, err := exec.Command("stshost", "serve", "--config", w.config()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another stshost server (process ") {
		t.Errorf("a second server: %v\n%s", err, out)
	}

	// A config that names another admin address does not hide that one runs.
	text, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(w.dir, "other.toml")
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), "admin.sock", "other.sock", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"status", "reload"} {
		out, err := exec.Command("stshost", command, "--config", other).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "a server is running") || !strings.Contains(string(out), "restart it") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if !slices.Contains(strings.Fields(string(out)), "stshost:") {
		t.Errorf("not one clear sentence: %s", out)
	}
}
