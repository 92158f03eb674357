package dnstest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// StartBIND starts BIND (Debian package bind9) with these zones. The key under
// test is granted TXT records of the zone only, as operators are advised to.
func StartBIND(t testing.TB, zones ...string) *Server {
	t.Helper()
	binary := RequireServer(t, "named", "bind9")
	s := newServer(t, "bind", zones)
	dir := t.TempDir()

	var conf strings.Builder
	fmt.Fprintf(&conf, `options {
	directory %q;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion no;
	dnssec-validation no;
	notify no;
	allow-transfer { none; };
	allow-query { any; };
	max-cache-size 2M;
};
controls { };
statistics-channels { };
key %q { algorithm %s; secret %q; };
key %q { algorithm %s; secret %q; };
key %q { algorithm %s; secret %q; };
`, dir, s.Port, s.TSIGName, tsigAlgorithm, s.TSIGSecret, s.adminName, tsigAlgorithm, s.adminSecret,
		s.IdleName, tsigAlgorithm, s.IdleSecret)
	for i, z := range s.zones {
		file := writeFile(t, filepath.Join(dir, fmt.Sprintf("zone%d", i)), zoneFile(z))
		fmt.Fprintf(&conf, `zone %q {
	type primary;
	file %q;
	update-policy {
		grant %s zonesub TXT;
		grant %s zonesub ANY;
	};
};
`, z, file, s.TSIGName, s.adminName)
	}
	s.start(t, dir, binary, "-g", "-n", "1", "-c", writeFile(t, filepath.Join(dir, "named.conf"), conf.String()))
	return s
}
