package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// reloadOnHangup reloads the config on each HUP until ctx ends. What went
// wrong is in the log: there is nobody else to tell.
func (s *service) reloadOnHangup(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if _, err := s.Reload(ctx); err != nil {
				s.log.Error("reload failed", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
