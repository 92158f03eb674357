package resolver

import "testing"

// TestBelieved shows whose word about DNSSEC is taken.
func TestBelieved(t *testing.T) {
	for server, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.53:5353": true, "::1": true, "[::1]:5353": true, "[::ffff:127.0.0.1]:53": true, "localhost": true,
		"192.0.2.1": false, "10.0.0.1:53": false, "2001:db8::1": false, "[fe80::1%eth0]:53": false, "0.0.0.0": false,
		"localhost.example.test": false, "127.0.0.1.example.test:53": false,
	} {
		for _, trust := range []bool{false, true} {
			r, err := New(Config{Servers: []string{server}, TrustAD: trust})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.believed(r.servers[0]); got != (want || trust) {
				t.Errorf("%s with TrustAD %v: %v", server, trust, got)
			}
		}
	}
}
