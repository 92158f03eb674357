package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/mtasts"
)

// notifySocket is where a service manager hears from its services.
type notifySocket struct {
	t    *testing.T
	path string
	said chan string
}

func (w *world) notifySocket() *notifySocket {
	w.t.Helper()
	n := &notifySocket{t: w.t, path: filepath.Join(w.dir, "notify.sock"), said: make(chan string, 1000)}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			k, err := c.Read(b)
			if err != nil {
				return
			}
			n.said <- string(b[:k])
		}
	}()
	return n
}

// hears waits for a message that has all of text.
func (n *notifySocket) hears(text ...string) {
	n.t.Helper()
	deadline := time.After(time.Minute)
	var before []string
next:
	for {
		select {
		case msg := <-n.said:
			before = append(before, msg)
			for _, want := range text {
				if !strings.Contains(msg, want) {
					continue next
				}
			}
			return
		case <-deadline:
			n.t.Fatalf("nothing with %q was said, but\n%s", text, strings.Join(before, "\n"))
		}
	}
}

func TestNotify(t *testing.T) {
	w := newWorld(t, example)
	w.writeConfig()
	n := w.notifySocket()
	cmd := exec.Command("stshost", "serve", "--config", w.config())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+n.path, "WATCHDOG_USEC=1500000")
	p := w.spawnAs(cmd)
	n.hears("READY=1", "STATUS=1 domain, 0 confirmed, ")
	if _, err := w.client().Version(t.Context()); err != nil {
		t.Errorf("ready, and does not answer: %v", err)
	}
	n.hears("WATCHDOG=1")
	w.confirmed(example)

	p.cmd.Process.Signal(syscall.SIGHUP)
	n.hears("RELOADING=1", "MONOTONIC_USEC=")
	n.hears("READY=1", "STATUS=1 domain, 1 confirmed, 0 failing")

	// A reload that is refused is over, too.
	if err := os.WriteFile(w.config(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	n.hears("RELOADING=1")
	n.hears("READY=1")

	// Once the server does not answer any more, the watchdog hears nothing.
	if err := os.Remove(filepath.Join(w.dir, "admin.sock")); err != nil {
		t.Fatal(err)
	}
	p.saw("the server does not answer itself")
	for len(n.said) > 0 {
		<-n.said
	}
	p.saw("the server does not answer itself")
	select {
	case msg := <-n.said:
		t.Errorf("said %q", msg)
	default:
	}

	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Errorf("ended with %v", err)
	}
	n.hears("STOPPING=1")
}

// activated starts stshost with sockets that the test has opened, as systemd
// does (sd_listen_fds(3)).
func (w *world) activated(names string, files ...*os.File) *process {
	w.t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec stshost serve --config "$0"`, w.config())
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	return w.spawnAs(cmd)
}

// socket opens a listening socket that is not closed before the test ends.
func (w *world) socket(network, address string) *os.File {
	w.t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close(); f.Close() })
	return f
}

func TestSocketActivation(t *testing.T) {
	w := newWorld(t, example)
	admin := filepath.Join(w.dir, "admin.sock")
	files := []*os.File{w.socket("tcp", w.https), w.socket("tcp", w.http), w.socket("unix", admin)}
	w.writeConfig()
	p := w.activated("https:http:admin", files...)
	d := w.confirmed(example) // the CA came over https, the preflight over http, we over admin
	w.sees(d)
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(admin); err != nil {
		t.Errorf("stshost removed a socket that is systemd's: %v", err)
	}

	// While stshost is away clients wait; nobody is turned away.
	type answer struct {
		status int
		err    error
	}
	got := make(chan answer, 1)
	connected := make(chan struct{})
	go func() {
		c, err := net.Dial("tcp", w.http)
		close(connected)
		if err != nil {
			got <- answer{err: err}
			return
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+mtasts.PolicyHost(example)+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			got <- answer{err: err}
			return
		}
		resp.Body.Close()
		got <- answer{status: resp.StatusCode}
	}()
	<-connected
	w.activated("https:http:admin", files...)
	if a := <-got; a.err != nil || a.status != http.StatusPermanentRedirect {
		t.Errorf("the client that waited got %d, %v", a.status, a.err)
	}
	w.sees(w.confirmed(example))
}

func TestSocketsThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		name, fdnames, want string
		files               func(*world) []*os.File
	}{
		{"a name that means nothing", "web", "set FileDescriptorName=", func(w *world) []*os.File {
			return []*os.File{w.socket("tcp", "127.0.0.1:0")}
		}},
		{"a listener that is off", "proxied", "proxied in [listen] is off", func(w *world) []*os.File {
			return []*os.File{w.socket("tcp", "127.0.0.1:0")}
		}},
		{"one name twice", "https:https", "two sockets named https", func(w *world) []*os.File {
			return []*os.File{w.socket("tcp", "127.0.0.1:0"), w.socket("tcp", "127.0.0.1:0")}
		}},
		{"not TCP", "https", "it has to be TCP", func(w *world) []*os.File {
			return []*os.File{w.socket("unix", filepath.Join(w.dir, "x.sock"))}
		}},
		{"admin for everybody", "admin", "which other machines reach", func(w *world) []*os.File {
			return []*os.File{w.socket("tcp", ":0")}
		}},
		{"not a socket", "https", "no listening socket", func(w *world) []*os.File {
			f, err := os.Create(filepath.Join(w.dir, "x"))
			if err != nil {
				w.t.Fatal(err)
			}
			return []*os.File{f}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.domains = []entry{{name: example, mx: []string{"mx1.mail.test"}}}
			w.writeConfig()
			p := w.activated(tc.fdnames, tc.files(w)...)
			p.saw(tc.want)
			var exit *exec.ExitError
			if err := p.signal(syscall.Signal(0)); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// systemd's own way to pass a socket.
func TestSystemdSocketActivate(t *testing.T) {
	binary := dnstest.RequireServer(t, "systemd-socket-activate", "systemd")
	w := newWorld(t, example)
	w.writeConfig()
	stshost, err := exec.LookPath("stshost")
	if err != nil {
		t.Fatal(err)
	}
	p := w.spawnAs(exec.Command(binary, "--listen="+w.https, "--fdname=https", stshost, "serve", "--config", w.config()))
	p.saw("Listening on " + w.https)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", w.https) // which starts stshost
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.sees(w.confirmed(example))
}

// The journal stamps each line itself.
func TestLogForTheJournal(t *testing.T) {
	for _, tc := range []struct {
		journal      bool
		format, want string
	}{
		{true, "text", "level=INFO msg=serving time_is=kept\n"},
		{false, "text", "time=20"},
		{true, "json", `{"time":"20`},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		info, err := w.Stat()
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
		if !tc.journal {
			stream += "1" // somebody else's: stderr was sent elsewhere
		}
		t.Setenv("JOURNAL_STREAM", stream)
		log, err := newLogger(w, tc.format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("serving", "time_is", "kept")
		w.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if line := string(b); !strings.HasPrefix(line, tc.want) {
			t.Errorf("%+v: %q", tc, line)
		}
	}
}
