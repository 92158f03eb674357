package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/stshost/stshost/mtasts"
)

// bareCommand makes this program the bare server.
const bareCommand = "serve-bare"

// bare is the least that a Go program can do: net/http with one certificate and
// one body. What stshost takes beyond it is its own. Its arguments are the
// address, the files of certificate and key, and that of the body.
func bare(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) != 4 {
		fmt.Fprintln(stderr, "bench: serve-bare ADDRESS CERTIFICATE KEY BODY")
		return 2
	}
	body, err := os.ReadFile(args[3])
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+mtasts.PolicyPath, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", cacheControl)
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(body)
	})
	srv := &http.Server{Addr: args[0], Handler: mux, TLSConfig: &tls.Config{SessionTicketsDisabled: true}}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ListenAndServeTLS(args[1], args[2]); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}
