package mtatest

import (
	"errors"
	"time"
)

// errEnded is what no more polling helps against.
var errEnded = errors.New("it ended by itself")

// poll tries until there is no error: another process's files and ports give
// no signal.
func poll(try func() error) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}
