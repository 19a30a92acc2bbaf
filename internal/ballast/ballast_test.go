package ballast

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const size = 1 << 20

// tooMuch is a size for which no disk has room.
const tooMuch = 1 << 60

func open(t *testing.T, path string, n int64) (*Ballast, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	b, err := Open(path, n, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b, &log
}

func wantHeld(t *testing.T, what string, b *Ballast, path string, want int64) {
	t.Helper()
	held, err := Held(path)
	if err != nil || held != want || b.Bytes() != want || b.IsShort() != (want == 0) {
		t.Errorf("%s: %d bytes are held (%v), Bytes = %d, IsShort = %v; want %d", what, held, err, b.Bytes(), b.IsShort(), want)
	}
}

func TestGiveUpAndMakeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	b, log := open(t, path, size)
	wantHeld(t, "made", b, path, size)
	if st, err := os.Stat(path); err != nil || st.Size() != size {
		t.Errorf("the file is %v, %v; want %d bytes", st, err, size)
	}
	if !b.GiveUp() {
		t.Error("GiveUp = false, want true")
	}
	wantHeld(t, "given up", b, path, 0)
	if !strings.Contains(log.String(), "changes are refused until there is room") || !strings.Contains(log.String(), filepath.Dir(path)) {
		t.Errorf("the log does not say what to do and where: %s", log)
	}
	if b.GiveUp() {
		t.Error("GiveUp a second time = true, want false: it makes no difference")
	}
	b.Look()
	wantHeld(t, "with room again", b, path, size)
	again, _ := open(t, path, size)
	wantHeld(t, "found by another process", again, path, size)
}

// What is there from before is taken as far as it holds what it should.
func TestOpenFindsWhatWasThere(t *testing.T) {
	for _, tt := range []struct {
		name  string
		had   int64
		holes bool
	}{
		{"nothing", 0, false},
		{"half of it, after a crash", size / 2, false},
		{"more, of another setting", 2 * size, false},
		{"a file with holes", size, true},
	} {
		path := filepath.Join(t.TempDir(), "ballast")
		if tt.had > 0 {
			b := make([]byte, tt.had)
			if tt.holes {
				b = nil
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, tt.had); err != nil {
				t.Fatal(err)
			}
		}
		b, _ := open(t, path, size)
		wantHeld(t, tt.name, b, path, size)
	}
}

func TestNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	b, log := open(t, path, tooMuch)
	wantHeld(t, "no room", b, path, 0)
	if !strings.Contains(log.String(), "no room for the ballast") {
		t.Errorf("the log does not tell: %s", log)
	}
	b.Look()
	wantHeld(t, "still no room", b, path, 0)
}

func TestOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	open(t, path, size)
	b, _ := open(t, path, 0)
	if held, err := Held(path); b != nil || held != 0 || err != nil {
		t.Errorf("Open with 0 = %v, and %d bytes are held, %v; want nothing", b, held, err)
	}
	if b.IsShort() || b.GiveUp() || b.Bytes() != 0 || b.Run(t.Context()) != nil {
		t.Error("a ballast that is switched off does something")
	}
}
