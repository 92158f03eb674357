package mtatest

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// inOwnNetwork is set where a test runs itself in a network of its own.
const inOwnNetwork = "STSHOST_TEST_OWN_NETWORK"

// OwnNetwork runs the test that calls it once more, in a process with a network,
// mounts and process ids of its own, and reports whether this is that process.
// Where it reports false the test is over, as the other process has passed it.
//
// The network is loopback alone, with every port free. What is on this machine
// asks the given name server, at port 53, for which the network's own
// /etc/resolv.conf is set up. All processes die with the test.
func OwnNetwork(t *testing.T, nameserver netip.Addr) bool {
	t.Helper()
	if os.Getenv(inOwnNetwork) == t.Name() {
		setUpNetwork(t, nameserver)
		return true
	}
	binary := dnstest.RequireServer(t, "unshare", "util-linux")
	dnstest.RequireServer(t, "ip", "iproute2")
	if os.Geteuid() != 0 {
		skip(t, "only root can have a network of its own")
	}
	unshare := []string{"-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"}
	if out, err := exec.Command(binary, append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespace can be made here: %v: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A time limit of its own, as nobody ends it if this process is ended by its.
	cmd := exec.CommandContext(t.Context(), binary, append(unshare,
		self, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout=3m")...)
	cmd.Env = append(os.Environ(), inOwnNetwork+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("in a network of its own: %v\n%s", err, out)
	}
	return false
}

func setUpNetwork(t *testing.T, nameserver netip.Addr) {
	t.Helper()
	conf := writeFile(t, filepath.Join(t.TempDir(), "resolv.conf"), "nameserver "+nameserver.String()+"\n")
	if err := os.Chmod(conf, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"ip", "link", "set", "lo", "up"}, {"mount", "--bind", conf, "/etc/resolv.conf"}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
	}
}
