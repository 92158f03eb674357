package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// manager is the service manager that started stshost, as far as it wants to
// know of it: systemd, or another that speaks sd_notify(3) and passes sockets
// as sd_listen_fds(3) has it. The zero value is none.
type manager struct {
	sockets  map[string]net.Listener // opened by the manager, by name; used in place of addresses
	notify   func(state string)      // tells it something; nil: it does not listen
	watchdog time.Duration           // it restarts us after so long without a sign of life; 0: never
}

// newManager takes what the environment says of the manager. It leaves nothing
// there that a child could take for its own.
func newManager() (manager, error) {
	m := manager{sockets: make(map[string]net.Listener)}
	for _, f := range activation.Files(true) {
		ln, err := net.FileListener(f) // a socket in the file system is not removed when this is closed
		f.Close()
		if err != nil {
			return m, fmt.Errorf("the service manager passed %q, which is no listening socket: %w; use ListenStream= and Accept=no", f.Name(), err)
		}
		if other := m.sockets[f.Name()]; other != nil {
			return m, fmt.Errorf("the service manager passed two sockets named %s (%s and %s); name each once, as ListenStream=443 takes IPv4 and IPv6",
				f.Name(), other.Addr(), ln.Addr())
		}
		m.sockets[f.Name()] = ln
	}
	var err error
	if m.watchdog, err = daemon.SdWatchdogEnabled(true); err != nil {
		return m, fmt.Errorf("the environment of the service manager: %w", err)
	}
	// Not daemon.SdNotify, which looks into the environment each time.
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		os.Unsetenv("NOTIFY_SOCKET")
		m.notify = func(state string) { sdNotify(path, state) }
	}
	return m, nil
}

// sdNotify says something at a manager's socket. Nobody could be told if that
// fails, and the manager notices.
func sdNotify(path, state string) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// statusInterval is how often the manager's line of status is brought up to date.
const statusInterval = 30 * time.Second

// keepInformed tells the manager that we are ready, how the domains are, that
// we live, and at the end of ctx that we stop.
func (s *service) keepInformed(ctx context.Context) error {
	m := s.env.manager
	if m.notify == nil {
		return nil
	}
	line := s.statusLine()
	m.notify(daemon.SdNotifyReady + "\n" + line)
	defer m.notify(daemon.SdNotifyStopping + "\nSTATUS=finishing what is in flight")
	every := statusInterval
	if m.watchdog > 0 {
		every = min(every, m.watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if now.Sub(looked) >= statusInterval {
				looked = now
				if next := s.statusLine(); next != line {
					line = next
					m.notify(line)
				}
			}
			if m.watchdog == 0 {
				continue
			}
			if err := s.answers(ctx, every); err == nil {
				m.notify(daemon.SdNotifyWatchdog)
			} else if ctx.Err() == nil {
				s.log.Error("the server does not answer itself; the service manager's watchdog is not told that all is well", "error", err)
			}
		}
	}
}

// statusLine is what `systemctl status` shows.
func (s *service) statusLine() string {
	all, confirmed, failing := 0, 0, 0
	for _, snap := range s.reconciler.Snapshots() {
		if snap.Orphan {
			continue
		}
		all++
		switch {
		case snap.State.Attempts > 0:
			failing++
		case snap.State.Step == state.Confirmed:
			confirmed++
		}
	}
	return fmt.Sprintf("STATUS=%s, %d confirmed, %d failing", counted(all, "domain"), confirmed, failing)
}

// answers asks ourselves something over the admin listener.
func (s *service) answers(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := server.NewClient(listenAddress(s.admin.Addr())).Version(ctx)
	return err
}

// tellReload tells the manager that a reload begins; what it returns tells that
// it has ended.
func (s *service) tellReload() (done func()) {
	notify := s.env.manager.notify
	if notify == nil {
		return func() {}
	}
	notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	return func() { notify(daemon.SdNotifyReady + "\n" + s.statusLine()) }
}

// toJournal reports whether what is written to w goes into systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func toJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
