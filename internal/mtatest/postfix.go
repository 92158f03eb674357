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
	p := newPostfix(t, cfg)
	lines := []string{"smtpd_tls_security_level = none"}
	if cfg.Certificate != nil {
		chain, key := writeCertificate(t, p.conf, cfg.Certificate)
		lines = []string{
			"smtpd_tls_security_level = may",
			"smtpd_tls_loglevel = 1",
			"smtpd_tls_chain_files = " + key + " " + chain,
		}
	}
	p.run(t, lines, cfg.Settings, "")
	return p.MTA
}

// postfix is a Postfix that can be started.
type postfix struct {
	*MTA
	binary string
	host   string // its name

	conf, queue, data string // directories
}

func newPostfix(t testing.TB, cfg Config) postfix {
	t.Helper()
	binary := dnstest.RequireServer(t, "postfix", "postfix")
	requireRoot(t, "Postfix")
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	m := newMTA(t, "postfix", cfg)
	p := postfix{
		MTA: m, binary: binary, host: cfg.Host,
		conf: filepath.Join(m.dir, "etc"), queue: filepath.Join(m.dir, "queue"), data: filepath.Join(m.dir, "data"),
	}
	makeDirs(t, p.conf, p.queue, p.data)
	give(t, owner, p.data)
	m.log = filepath.Join(m.dir, "mail.log")
	return p
}

// run starts it with more lines of main.cf, those that replace any, and more
// services of master.cf.
func (p postfix) run(t testing.TB, lines, replacing []string, services string) {
	t.Helper()
	lines = append([]string{
		"compatibility_level = 3.6",
		"queue_directory = " + p.queue,
		"data_directory = " + p.data,
		"maillog_file = " + p.log,
		"maillog_file_prefixes = " + p.dir,
		"myhostname = " + p.host,
		"mydestination =",
		"inet_interfaces = loopback-only", // knows 127.0.0.1 only; master.cf has the address
		"alias_maps =",
		"local_recipient_maps =",
		"smtpd_peername_lookup = no", // nobody asks the machine's DNS
	}, lines...)
	writeFile(t, filepath.Join(p.conf, "main.cf"), settings(lines, replacing))
	// Nothing runs chrooted, as there is nothing in the queue's directory to
	// run with.
	writeFile(t, filepath.Join(p.conf, "master.cf"), fmt.Sprintf(`%s inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
%s`, p.Addr, services))
	p.start(t, exec.Command(p.binary, "-c", p.conf, "start-fg"), exec.Command(p.binary, "-c", p.conf, "stop"))
}
