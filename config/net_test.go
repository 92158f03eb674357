package config_test

import "testing"

// A list without hosts asks nobody; only where nothing is written are the hosts of
// others asked.
func TestSMTPControl(t *testing.T) {
	for text, asksOthers := range map[string]bool{"": true, "[net]\nsmtp_control = []\n": false} {
		cfg := load(t, map[string]string{"main.toml": text + terms + domain}, nil)
		if (cfg.Net.SMTPControl == nil) != asksOthers || len(cfg.Net.SMTPControl) > 0 {
			t.Errorf("%q reads as %#v", text, cfg.Net.SMTPControl)
		}
	}
}
