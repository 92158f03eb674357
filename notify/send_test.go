package notify

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := box.Greeting(); got != name {
		t.Errorf("greeted as %q, want the machine's name %q", got, name)
	}
	head, body, _ := strings.Cut(mails[0], "\r\n\r\n")
	if !strings.Contains(head+"\r\n", "Subject: [stshost] warning: a.test??Bcc: all@example.test\r\n") { // in any order
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

	if err := send(t, box.URL(secret)+"&clienthost=mx.test", Message{Title: "x", Text: "y"}); err != nil || box.Greeting() != "mx.test" {
		t.Errorf("greeted as %q, %v; want the name of the URL", box.Greeting(), err)
	}

	err = send(t, box.URL("wr0ng-"+secret), Message{Title: "x", Text: "y"})
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

// What is missing is named.
func TestCheckNamesTheFault(t *testing.T) {
	for url, want := range map[string]string{
		"smtp://me:" + secret + "@mail.test:587/?from=a@b.test":                  "no to=",
		"smtp://me:" + secret + "@mail.test:587/?to=a@b.test":                    "no from=",
		"smtp://me:x/" + secret + "@mail.test:587/?from=a@b.test&to=c@d.test":    "@ is %40",
		"smtp://me:x%zz" + secret + "@mail.test:587/?from=a@b.test&to=c@d.test":  "% is %25",
		"smtp://me:" + secret + "@mail.test:587/?from=a@b.test&to=c@d.test&tp=3": "a parameter that mail does not have",
	} {
		if err := Check(url); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

// A short part of a URL is hidden where it stands for itself, and cuts no word.
func TestRedact(t *testing.T) {
	for _, c := range []struct{ url, text, want string }{
		{"generic+https://h.test/fail", "failed to send: 500", "failed to send: 500"},
		{"generic+https://h.test/fail", "posting to https://h.test/fail failed", "posting to https://[hidden] failed"},
		{"smtp://me:abc@h.test/?from=a@b.test", "no, abc: not (abc) of abcd", "no, [hidden]: not ([hidden]) of abcd"},
		{"generic+https://h.test/" + secret, "x" + secret + "x", "x[hidden]x"},
	} {
		if got := redact(c.text, c.url); got != c.want {
			t.Errorf("redact(%q) is %q, want %q", c.text, got, c.want)
		}
	}
}
