package mtatest

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

// A server greets, and nothing of it is left after the test: neither its port
// nor its directory.
func TestServers(t *testing.T) {
	root, err := lab.NewRoot("Test Root")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.Issue(time.Time{}, "mx.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for kind, start := range map[string]func(testing.TB, Config) *MTA{"Postfix": Postfix, "Exim": Exim} {
		t.Run(kind, func(t *testing.T) {
			var m *MTA
			t.Run("started", func(t *testing.T) {
				m = start(t, Config{Host: "mx.example.test", Addr: netip.MustParseAddr("127.0.0.3"), Certificate: &cert})
				if m.Addr.Addr().String() != "127.0.0.3" {
					t.Errorf("it listens at %s", m.Addr)
				}
				if err := m.greets(); err != nil {
					t.Error(err)
				}
			})
			if m == nil {
				t.SkipNow() // and why is said above
			}
			if conn, err := net.Dial("tcp", m.Addr.String()); err == nil {
				conn.Close()
				t.Errorf("somebody still listens at %s", m.Addr)
			}
			if _, err := os.Stat(m.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("its directory is still there (%v)", err)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	got := settings([]string{"a = 1", "b = 2"}, []string{"a = 3", "c ="})
	if want := "b = 2\na = 3\nc =\n"; got != want {
		t.Errorf("settings: %q, want %q", got, want)
	}
	if strings.Count(settings([]string{"ab = 1"}, []string{"a = 2"}), "ab = 1") != 1 {
		t.Error("a setting with a longer name was replaced")
	}
}
