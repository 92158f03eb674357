package acme_test

import (
	"testing"

	"go.uber.org/goleak"
)

// autocert leaves timers behind (see the package's documentation), which are
// no goroutines; nothing of ours stays. Pebble has one goroutine without end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}
