package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/server"
)

// The domains of the demo. What the story breaks, it breaks on the third.
const (
	demoFirst  = "alpha.test"
	demoSecond = "beta.test"
	demoStory  = "story.test"
)

func demoCommand(_ *options) *cobra.Command {
	var d demo
	var exit bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole job on this machine alone, without Internet or root",
		Long: `Demo starts a small Internet on loopback: a certificate authority that validates
for real, an authoritative DNS server that takes updates, and two mail hosts
with STARTTLS. It writes a config, serves it as 'stshost serve' would, and
tells step by step what happens. Then it stays up for you to try things.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context(), exit)
		}),
	}
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the story; status 0 only if every step was verified")
	cmd.Flags().StringVar(&d.readyFile, "ready-file", "", "`file` to write, once all is verified, with addresses for other programs")
	return cmd
}

// demo is one run of the demo command.
type demo struct {
	out       io.Writer
	readyFile string

	dir    string // everything the demo writes is in here
	config string
	admin  string
	lab    *lab.Lab
	client *server.Client
	steps  int

	service *service
	clock   storyClock
}

// run starts the lab and the real service on it, tells the story, and stays up
// until ctx ends unless exit is set.
func (d *demo) run(ctx context.Context, exit bool) (err error) {
	if d.dir, err = os.MkdirTemp("", "stshost-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	logFile, err := os.Create(filepath.Join(d.dir, "serve.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()

	d.say("A small Internet starts on loopback: CA, DNS and two mail hosts.")
	d.lab, err = lab.Start(ctx, lab.Config{
		Domains:      []string{demoFirst, demoSecond, demoStory},
		Dir:          d.dir,
		PollInterval: 50 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("the demo's Internet does not start: %w", err)
	}
	defer func() { err = errors.Join(err, d.lab.Close()) }()
	if err := d.writeConfig(); err != nil {
		return err
	}
	cfg, err := loadConfig(d.config)
	if err != nil {
		return fmt.Errorf("the demo's own config has faults: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hup, stopHangups := hangups()
	defer stopHangups()
	s, err := newService(ctx, cfg, slog.New(slog.NewTextHandler(logFile, nil)), environment{rolloutNow: d.clock.now})
	if err != nil {
		return err
	}
	d.client, d.service = server.NewClient(cfg.Listen.Admin), s

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(ctx, hup) })
	g.Go(func() error {
		defer stop()
		if err := d.story(ctx); err != nil {
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return errors.New("interrupted before the story ended")
			}
			return fmt.Errorf("step %d of the demo failed: %w", d.steps, err)
		}
		if err := d.ready(); err != nil {
			return err
		}
		d.say("Every step was verified.")
		if exit {
			return nil
		}
		d.invite()
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// demoConfig is written as an operator would write it.
var demoConfig = template.Must(template.New("config").Parse(`# Written by 'stshost demo'. Edit it, then: stshost reload --config {{.Config}}

[listen]
https = "{{.Lab.HTTPSAddr}}"
http = "{{.Lab.HTTPAddr}}"
admin = "{{.Admin}}"

[store]
url = "sqlite:{{.Dir}}/stshost.db"

[acme]
directory = "{{.Lab.CA.DirectoryURL}}"
roots_file = "{{.Lab.ACMERootsFile}}"
email = "hostmaster@{{.First}}"
accept_terms = true

[dns.lab]
provider = "rfc2136"
server = "{{.Lab.DNS.Addr}}"
key_name = "{{.Key.Name}}"
key_alg = "{{.Key.Algorithm}}"
key_file = "{{.Dir}}/tsig.key"

[net] # the lab's own DNS, roots and ports; on the Internet all of this is left out
resolver = "{{.Lab.DNS.Addr}}"
dns_port = {{.Lab.DNSPort}}
roots_file = "{{.Lab.RootsFile}}"
https_port = {{.Lab.HTTPSPort}}
http_port = {{.Lab.HTTPPort}}
smtp_port = {{.Lab.SMTPPort}}

[records]
addresses = ["127.0.0.1"] # of mta-sts.<domain>, for 'stshost records'

[watch]
interval = "2s" # so that the repair of a record can be watched; an hour is usual

[[domain]]
name = "{{.First}}"
dns = "lab"
mx = ["mx1.mail.test", "mx2.mail.test"]

[[domain]]
name = "{{.Second}}"
dns = "lab"
mx = ["mx1.mail.test", "mx2.mail.test"]

[[domain]] # the story changes and breaks this one
name = "{{.Story}}"
dns = "lab"
mx = ["mx1.mail.test"]
`))

func (d *demo) writeConfig() error {
	d.config = filepath.Join(d.dir, "config.toml")
	d.admin = "unix:" + filepath.Join(d.dir, "admin.sock")
	key := d.lab.DNS.Key()
	var text bytes.Buffer
	err := demoConfig.Execute(&text, map[string]any{
		"Lab": d.lab, "Key": key, "Config": d.config, "Admin": d.admin, "Dir": d.dir,
		"First": demoFirst, "Second": demoSecond, "Story": demoStory,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "tsig.key"), []byte(key.Secret+"\n"), 0o600); err != nil {
		return err
	}
	return os.WriteFile(d.config, text.Bytes(), 0o644)
}

// editConfig replaces old by new in the config, as an editor would.
func (d *demo) editConfig(old, new string) error {
	text, err := os.ReadFile(d.config)
	if err != nil {
		return err
	}
	edited := strings.Replace(string(text), old, new, 1)
	if edited == string(text) {
		return fmt.Errorf("the config has no %q", old)
	}
	return writeByRename(d.config, []byte(edited))
}

func writeByRename(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// ready tells other programs where everything is.
func (d *demo) ready() error {
	if d.readyFile == "" {
		return nil
	}
	data, err := json.MarshalIndent(struct {
		HTTPS   string   `json:"https"`
		HTTP    string   `json:"http"`
		DNS     string   `json:"dns"`
		CAFile  string   `json:"ca_file"`
		Config  string   `json:"config"`
		Admin   string   `json:"admin"`
		Domains []string `json:"domains"`
	}{
		d.lab.HTTPSAddr, d.lab.HTTPAddr, d.lab.DNS.Addr(), d.lab.RootsFile, d.config, d.admin,
		[]string{demoFirst, demoSecond},
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeByRename(d.readyFile, append(data, '\n'))
}

// invite says what to try while the demo stays up.
func (d *demo) invite() {
	self := selfCommand()
	host, port, _ := net.SplitHostPort(d.lab.DNS.Addr())
	d.say("The demo stays up. Things to try (Ctrl-C ends it):")
	for _, line := range []string{
		"curl --cacert " + d.lab.RootsFile + " --connect-to ::" + d.lab.HTTPSAddr + " https://mta-sts." + demoFirst + "/.well-known/mta-sts.txt",
		"dig @" + host + " -p " + port + " +short TXT _mta-sts." + demoFirst,
		self + " status --config " + d.config,
		self + " explain " + demoFirst + " --config " + d.config,
		self + " check " + demoFirst + " --config " + d.config,
		self + " records " + demoFirst + " --config " + d.config,
		self + " rollout " + demoFirst + " --plan --config " + d.config,
		self + " rollout " + demoFirst + " --now --accept-no-reports --config " + d.config,
		self + " horizon " + demoFirst + " --config " + d.config,
		self + " rollback " + demoFirst + " --config " + d.config,
		self + " events " + demoFirst + " --config " + d.config,
		"edit " + d.config + ", then: " + self + " reload --config " + d.config,
		"tail -f " + filepath.Join(d.dir, "serve.log"),
	} {
		fmt.Fprintln(d.out, "    "+line)
	}
}

// selfCommand is how this program was started, as a person would type it.
func selfCommand() string {
	self := os.Args[0]
	if strings.Contains(self, "go-build") {
		return "go run ./cmd/stshost"
	}
	return self
}

// say tells one thing; step counts those that are verified.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n"+format+"\n", args...)
}

func (d *demo) step(format string, args ...any) {
	d.steps++
	d.say(strconv.Itoa(d.steps)+". "+format, args...)
}

func (d *demo) detail(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintln(d.out, "     "+strings.TrimRight(line, "\r\n"))
	}
}
