package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stshost/stshost/config"
)

// With TLS ended by a reverse proxy there are no certificates to get, so no CA
// is needed, and port 80 is the proxy's too.
func TestProxyTLS(t *testing.T) {
	cfg := load(t, map[string]string{"main.toml": "[listen]\nhttps = \"\"\nproxied = \"127.0.0.1:8460\"\n" + domain}, nil)
	checkWarnings(t, cfg, "")
	if !cfg.Listen.ProxyTLS() || cfg.Listen.HTTP != "" || cfg.ACME.Directory != "" {
		t.Errorf("listen is %+v, acme %+v", cfg.Listen, cfg.ACME)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if d := cmp.Diff(trusted, cfg.Listen.TrustedProxies, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Error(d)
	}
	cfg = load(t, map[string]string{"main.toml": "[listen]\nhttps = \"\"\nproxied = \"127.0.0.1:8460\"\n" + terms + domain}, nil)
	checkWarnings(t, cfg, "main.toml:4: [acme] is not used")
	cfg = load(t, map[string]string{"main.toml": "[listen]\nhttps = \"\"\nproxied = \"127.0.0.1:8460\"\n" + domain +
		"[[certificate]]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n"}, nil)
	checkWarnings(t, cfg, "[[certificate]] is not used")
}

// A certificate that cannot be used is a fault of the config.
func TestCertificateCheck(t *testing.T) {
	files := map[string]string{"main.toml": terms + domain + "[[certificate]]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n"}
	opts := options(nil)
	opts.CheckCertificate = func(cert, key string) ([]string, error) {
		return nil, errors.New(filepath.Base(cert) + " does not fit " + filepath.Base(key) + "; name the key that belongs to it")
	}
	_, err := config.Load(write(t, files), opts)
	if err == nil || !strings.HasSuffix(err.Error(), "main.toml:6: in [[certificate]] c.pem does not fit k.pem; name the key that belongs to it") {
		t.Error(err)
	}
	opts.Starting = true // one that is half written keeps nobody from being served
	cfg, err := config.Load(write(t, files), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "main.toml:6: [[certificate]] is left out until its files can be used, and its hosts have the CA's: c.pem does not fit k.pem")
	opts.Starting = false

	opts.CheckCertificate = func(string, string) ([]string, error) { return []string{"*.example.com"}, nil }
	path := write(t, files)
	key := filepath.Join(filepath.Dir(path), "k.pem")
	if err := os.WriteFile(key, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Load(path, opts); err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "main.toml:8: key_file in [[certificate]]: every user of this machine can read")
}

// A certificate for hosts that are not there is most likely the wrong file.
func TestIdleCertificate(t *testing.T) {
	opts := options(nil)
	opts.CheckCertificate = func(string, string) ([]string, error) {
		return []string{"mta-sts.exmaple.com", "*.mail.example.com"}, nil
	}
	section := "[[certificate]]\ncert_file = \"/c.pem\"\nkey_file = \"/k.pem\"\n"
	cfg, err := config.Load(write(t, map[string]string{"main.toml": terms + domain + section}), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "main.toml:6: /c.pem in [[certificate]] is for mta-sts.exmaple.com, *.mail.example.com, and no host of this config is among them")
	cfg, err = config.Load(write(t, map[string]string{"main.toml": terms + "extra_hosts = [\"sts.mail.example.com\"]\n" + domain + section}), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "")
	cfg, err = config.Load(write(t, map[string]string{"main.toml": "[listen]\nhttps = \"\"\nproxied = \":8460\"\n" + domain + section}), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "main.toml:7: [[certificate]] is not used")
}
