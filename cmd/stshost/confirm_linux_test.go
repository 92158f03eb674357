package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// pseudoTerminal is a terminal, and the side of it where somebody types and reads.
func pseudoTerminal(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	var number, locked uint32
	for _, call := range []struct {
		request uintptr
		value   *uint32
	}{{syscall.TIOCSPTLCK, &locked}, {syscall.TIOCGPTN, &number}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), call.request, uintptr(unsafe.Pointer(call.value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return person, terminal
}

// On a terminal somebody is asked, and Ctrl-C is an answer, too.
func TestRollbackOfAllAsksAtATerminal(t *testing.T) {
	for _, tt := range []struct {
		answer string // "": a signal
		code   int
		out    string
		asked  int
	}{
		{"y\n", 0, "2 domains: 2 going back to testing\n", 2},
		{"n\n", 1, "", 0},
		{"", 1, "", 0},
	} {
		d := newDesk(there("a.example"), waiting("b.example"))
		person, terminal := pseudoTerminal(t)
		cmd := exec.Command("stshost", "rollback", "--all", "--config", d.behind(t))
		var out strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &out, terminal
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		question, err := bufio.NewReader(person).ReadString('?')
		if err != nil || question != "2 domains go back to testing, 1 of them from enforce. Go on?" {
			t.Errorf("%q: asked was %q, %v", tt.answer, question, err)
		}
		if tt.answer != "" {
			_, err = person.WriteString(tt.answer)
		} else {
			err = cmd.Process.Signal(os.Interrupt)
		}
		if err := errors.Join(err, ignoreExit(cmd.Wait())); err != nil {
			t.Error(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.HasPrefix(out.String(), tt.out) || tt.out == "" && out.Len() > 0 {
			t.Errorf("%q: exit code %d, stdout %q", tt.answer, code, out.String())
		}
		if asked := d.questions("Rollback"); len(asked) != tt.asked {
			t.Errorf("%q: taken back were %q", tt.answer, asked)
		}
	}
}

// ignoreExit is err, unless it says that a program failed.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
