package notify

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/mailtest"
)

const secret = "s3cr3t-token-XYZ"

func send(t *testing.T, url string, m Message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return Send(ctx, url, m, func() {})
}

func TestWebhook(t *testing.T) {
	var body, path, contentType, auth string
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body, path, contentType = string(b), r.URL.String(), r.Header.Get("Content-Type")
		auth = r.Header.Get("Authorization")
		w.WriteHeader(status)
		io.WriteString(w, "no: "+r.URL.String())
	}))
	defer srv.Close()
	m := Message{Title: "[stshost] warning: a.test", Text: "It is blocked.\n"}
	base := "generic+" + srv.URL + "/hooks/" + secret

	if err := send(t, base, m); err != nil {
		t.Fatal(err)
	}
	if body != m.Text || path != "/hooks/"+secret || contentType != "text/plain" {
		t.Errorf("posted %q to %s as %s", body, path, contentType)
	}
	if err := send(t, base+"?template=json&room=7&@authorization=Bearer+"+secret, m); err != nil {
		t.Fatal(err)
	}
	if body != `{"message":"It is blocked.\n","title":"[stshost] warning: a.test"}` || path != "/hooks/"+secret+"?room=7" || auth != "Bearer "+secret {
		t.Errorf("posted %s to %s", body, path)
	}

	status = http.StatusForbidden
	err := send(t, base, m)
	if err == nil || !strings.Contains(err.Error(), "403 Forbidden") || strings.Contains(err.Error(), secret) {
		t.Errorf("after a 403: %v", err)
	}
	srv.Close()
	err = send(t, base+"?token="+secret, m)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), secret) {
		t.Errorf("without a server: %v", err)
	}
}

// A service that takes the connection and says nothing.
func TestServiceWithoutAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, url := range []string{
		"generic+http://" + ln.Addr().String() + "/" + secret,
		"smtp://me:" + secret + "@" + ln.Addr().String() + "/?from=a@b.test&to=c@d.test",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := Send(ctx, url, Message{Text: "x"}, func() {})
		cancel()
		if err == nil || !strings.Contains(err.Error(), "no answer in time") || strings.Contains(err.Error(), secret) {
			t.Errorf("Send: %v", err)
		}
	}
}

func TestMail(t *testing.T) {
	box := mailtest.Start(t, secret)
	long := strings.Repeat("word ", 400)
	if err := send(t, box.URL(secret), Message{Title: "[stshost] warning: a.test\r\nBcc: all@example.test", Text: "Grüße.\n.\n" + long + "\n"}); err != nil {
		t.Fatal(err)
	}
	mails := box.Mails()
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	head, body, _ := strings.Cut(mails[0], "\r\n\r\n")
	if !strings.Contains(head, "Subject: [stshost] warning: a.test??Bcc: all@example.test\r\n") {
		t.Errorf("the head is\n%s", head)
	}
	if !strings.HasPrefix(body, "Grüße.\r\n.\r\n") || strings.Count(body, "word") != 400 {
		t.Errorf("the body is\n%s", body)
	}
	for line := range strings.Lines(mails[0]) {
		if len(line) > 1000 {
			t.Errorf("a line has %d octets", len(line))
		}
	}

	err := send(t, box.URL("wr0ng-"+secret), Message{Title: "x", Text: "y"})
	if err == nil || !strings.Contains(err.Error(), "error authenticating") || strings.Contains(err.Error(), secret) {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, url := range []string{
		"generic+https://hooks.example.com/stshost?template=json&@authorization=Bearer+" + secret,
		"smtp://USER:" + secret + "@mail.example.com:587/?from=stshost@example.com&to=ops@example.com&requirestarttls=yes",
		"smtp://me:" + secret + "@mail.test:587/?from=a@b.test&to=c@d.test",
		"ntfy://ntfy.sh/topic",
		"discord://token@1234567",
	} {
		if err := Check(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{
		"", "nonsense " + secret, "https://hooks.test/" + secret, "logger://", "nope://me:" + secret + "@x.test",
		"smtp://me:" + secret + "@mail.test/", "smtp://me:" + secret + "@mail.test:587/?from=a@b.test&to=c@d.test&" + secret + "=1",
		"telegram://" + secret, "slack://" + secret, "smtp://me:" + secret + "%zz@mail.test/", "generic+https://hooks.test/?disabletls=" + secret,
		"matrix+x://" + secret, "ntfy+x://" + secret, "discord+https://" + secret,
	} {
		err := Check(url)
		if err == nil {
			t.Errorf("%q is taken", url)
			continue
		}
		what, advice, ok := strings.Cut(err.Error(), "; ")
		if !ok || what == "" || advice == "" || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", url, err)
		}
	}
}
