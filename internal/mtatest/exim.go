package mtatest

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// eximPackage is what a skipped test asks for. Debian has one MTA installed at
// a time; the script unpacks Exim beside it.
const eximPackage = "exim4-daemon-light, or run .ci/unpack-mta DIR and set STSHOST_MTA_DIR=DIR"

// Exim runs an Exim of its own configuration and spool: the one unpacked in
// the directory that STSHOST_MTA_DIR names (absolutely), else the machine's. A session that
// came to no MAIL is logged as
// "no MAIL in SMTP connection from … C=EHLO,STARTTLS,EHLO,QUIT".
func Exim(t testing.TB, cfg Config) *MTA {
	t.Helper()
	// An empty variable leads to the machine's own.
	binary := filepath.Join("/", os.Getenv("STSHOST_MTA_DIR"), "usr/sbin/exim4")
	dnstest.RequireFile(t, binary, eximPackage)
	requireRoot(t, "Exim")
	owner, err := user.Lookup("Debian-exim") // compiled in; the package makes it, and so does the script
	if err != nil {
		t.Fatal(err)
	}
	m := newMTA(t, "exim", cfg)
	spool, logs := filepath.Join(m.dir, "spool"), filepath.Join(m.dir, "log")
	makeDirs(t, spool, logs)
	give(t, owner, spool, logs)
	m.log = filepath.Join(logs, "mainlog")

	lines := []string{
		"exim_path = " + binary,
		"spool_directory = " + spool,
		"log_file_path = " + filepath.Join(logs, "%slog"),
		"log_selector = +smtp_connection +smtp_no_mail +smtp_protocol_error +smtp_syntax_error",
		"primary_hostname = " + cfg.Host,
		"local_interfaces = <; " + m.Addr.Addr().String(),
		"daemon_smtp_ports = " + strconv.Itoa(int(m.Addr.Port())),
		"keep_environment =",
		"host_lookup =", // nobody asks the machine's DNS
		"tls_advertise_hosts =",
	}
	if cfg.Certificate != nil {
		chain, key := writeCertificate(t, m.dir, cfg.Certificate)
		give(t, owner, chain, key)
		lines = append(lines[:len(lines)-1],
			"tls_advertise_hosts = *",
			"tls_certificate = "+chain,
			"tls_privatekey = "+key)
	}
	conf := writeFile(t, filepath.Join(m.dir, "exim.conf"), settings(lines, cfg.Settings))
	m.start(t, exec.Command(binary, "-C", conf, "-bdf"), nil)
	return m
}
