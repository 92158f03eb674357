package dnstest

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// knotServer is what every configuration of Knot begins with.
func knotServer(dir string, port int) string {
	return fmt.Sprintf(`server:
  rundir: %[1]q
  listen: "127.0.0.1@%[2]d"
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %[1]q
log:
  - target: stderr
    any: info
`, dir, port)
}

// StartKnot starts Knot DNS (Debian package knot) with these zones. The key
// under test may update TXT records only.
func StartKnot(t testing.TB, zones ...string) *Server {
	t.Helper()
	binary := RequireServer(t, "knotd", "knot")
	s := newServer(t, "knot", zones)
	dir := t.TempDir()

	var conf strings.Builder
	fmt.Fprintf(&conf, `%[1]skey:
  - id: %[2]q
    algorithm: %[3]s
    secret: %[4]q
  - id: %[5]q
    algorithm: %[3]s
    secret: %[6]q
  - id: %[7]q
    algorithm: %[3]s
    secret: %[8]q
acl:
  - id: stshost
    key: %[2]q
    action: update
    update-type: [ TXT ]
  - id: admin
    key: %[5]q
    action: update
zone:
`, knotServer(dir, s.Port), s.TSIGName, tsigAlgorithm, s.TSIGSecret, s.adminName, s.adminSecret, s.IdleName, s.IdleSecret)
	for i, z := range s.zones {
		file := writeFile(t, filepath.Join(dir, fmt.Sprintf("zone%d", i)), zoneFile(z))
		fmt.Fprintf(&conf, `  - domain: %q
    file: %q
    acl: [ stshost, admin ]
    zonefile-sync: -1
`, z, file)
	}
	s.start(t, dir, binary, "-c", writeFile(t, filepath.Join(dir, "knot.conf"), conf.String()))
	return s
}
