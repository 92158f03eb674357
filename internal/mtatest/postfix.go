package mtatest

import (
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// Postfix runs a Postfix of its own configuration, queue and data, beside any
// that the machine may have. A session's end is logged as
// "disconnect from … ehlo=2 starttls=1 quit=1 commands=4".
func Postfix(t testing.TB, cfg Config) *MTA {
	t.Helper()
	binary := dnstest.RequireServer(t, "postfix", "postfix")
	requireRoot(t, "Postfix")
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	m := newMTA(t, "postfix", cfg)
	conf, queue, data := filepath.Join(m.dir, "etc"), filepath.Join(m.dir, "queue"), filepath.Join(m.dir, "data")
	makeDirs(t, conf, queue, data)
	give(t, owner, data)
	m.log = filepath.Join(m.dir, "mail.log")

	lines := []string{
		"compatibility_level = 3.6",
		"queue_directory = " + queue,
		"data_directory = " + data,
		"maillog_file = " + m.log,
		"maillog_file_prefixes = " + m.dir,
		"myhostname = " + cfg.Host,
		"mydestination =",
		"inet_interfaces = loopback-only", // knows 127.0.0.1 only; master.cf has the address
		"alias_maps =",
		"local_recipient_maps =",
		"smtpd_peername_lookup = no", // nobody asks the machine's DNS
		"smtpd_tls_security_level = none",
	}
	if cfg.Certificate != nil {
		chain, key := writeCertificate(t, conf, cfg.Certificate)
		lines = append(lines[:len(lines)-1],
			"smtpd_tls_security_level = may",
			"smtpd_tls_loglevel = 1",
			"smtpd_tls_chain_files = "+key+" "+chain)
	}
	writeFile(t, filepath.Join(conf, "main.cf"), settings(lines, cfg.Settings))
	// Nothing runs chrooted, as there is nothing in the queue's directory to
	// run with.
	writeFile(t, filepath.Join(conf, "master.cf"), fmt.Sprintf(`%s inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
`, m.Addr))
	m.start(t, exec.Command(binary, "-c", conf, "start-fg"), exec.Command(binary, "-c", conf, "stop"))
	return m
}
