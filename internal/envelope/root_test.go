package envelope

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

func newKeyFile(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "root.key")
	if err := CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// openRootKey opens a file with one key.
func openRootKey(path, dataDir string) (RootKey, error) {
	keys, err := OpenRootKeyFile(path, dataDir, false)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%d keys, want one", len(keys))
	}
	return keys[0], nil
}

// A file takes further keys, behind those that it has, and gives them up again.
func TestRootKeyFileOfSeveral(t *testing.T) {
	dir := t.TempDir()
	path := newKeyFile(t, dir)
	first, err := openRootKey(path, "")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	ids, err := AddToRootKeyFile(link)
	if err != nil || len(ids) != 2 || ids[0] != first.ID() {
		t.Fatalf("add: %q, %v, want the key that was there and another", ids, err)
	}
	keys, err := OpenRootKeyFile(path, "", false)
	if err != nil || len(keys) != 2 || keys[0].ID() != ids[0] || keys[1].ID() != ids[1] {
		t.Errorf("open: %d keys, %v, want %q", len(keys), err, ids)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if _, err := RemoveFromRootKeyFile(path, "0123456789abcdef"); err == nil {
		t.Error("a key that is not there was removed")
	}
	if left, err := RemoveFromRootKeyFile(path, ids[0]); err != nil || len(left) != 1 || left[0] != ids[1] {
		t.Errorf("remove: %q, %v, want the second left", left, err)
	}
	if _, err := RemoveFromRootKeyFile(path, ids[1]); err == nil {
		t.Error("the last key was removed")
	}
	for range maxRootKeys - 1 {
		if _, err := AddToRootKeyFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := AddToRootKeyFile(path); err == nil {
		t.Error("keys without end, want a bound")
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".root-key-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestRootKeyFile(t *testing.T) {
	path := newKeyFile(t, t.TempDir())
	if err := CreateRootKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second creation: %v, want %v", err, fs.ErrExist)
	}
	first, err := openRootKey(path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second, err := openRootKey(path, "")
	if err != nil || second.ID() != first.ID() || len(first.ID()) != 16 {
		t.Fatalf("ids %q and %q, %v, want the same 16 characters", first.ID(), second.ID(), err)
	}
	sealed, err := first.Wrap([]byte(hush), []byte("here"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Unwrap(sealed, []byte("here")); err != nil || string(got) != hush {
		t.Errorf("Unwrap = %q, %v, want %q", got, err, hush)
	}
	refuses(t, "elsewhere", ErrTampered)(second.Unwrap(sealed, []byte("there")))
	for _, bad := range changes(sealed) {
		refuses(t, "changed", ErrTampered)(second.Unwrap(bad, []byte("here")))
	}
	other, err := openRootKey(newKeyFile(t, t.TempDir()), "")
	if err != nil || other.ID() == first.ID() {
		t.Fatalf("another file: id %q, %v, want another id", other.ID(), err)
	}
	refuses(t, "another key", ErrTampered)(other.Unwrap(sealed, []byte("here")))
}

func TestRootKeyFileMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	path := newKeyFile(t, t.TempDir())
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("new file has mode %v, %v, want 0600", info.Mode(), err)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o610: false, 0o602: false, 0o644: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRootKeyFile(path, "", false); (err == nil) != want {
			t.Errorf("mode %#o: %v, want success: %t", mode, err, want)
		}
	}
}

func TestRootKeyFileForm(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile(newKeyFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	header, line, _ := strings.Cut(string(good), "\n")
	line = strings.TrimSpace(line)
	for _, tt := range []struct {
		name, text, err string // err: a part of the text; "" means success
	}{
		{"as made", string(good), ""},
		{"other line ends", header + "\r\n" + line + "\r\n", ""},
		{"no last line end", header + "\n" + line, ""},
		{"empty", "", "first line"},
		{"no header", line + "\n", "first line"},
		{"later version", "strongroom root key v2\n" + line, "first line"},
		{"no key", header + "\n", "second line"},
		{"short key", header + "\n" + line[:40] + "\n", "second line"},
		{"long key", header + "\n" + line[:40] + line + "\n", "second line"},
		{"two keys", string(good) + line + "\n", ""},
		{"third line", string(good) + "more\n", "second line"},
		{"nine keys", header + "\n" + strings.Repeat(line+"\n", 9), "at most 8"},
		{"an empty line between", header + "\n\n" + line, "second line"},
		{"large", string(good) + strings.Repeat("\n", 1000), "no more"},
		{"not base64", header + "\n" + strings.Repeat("*", 44) + "\n", "second line"},
	} {
		path := filepath.Join(dir, "form.key")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenRootKeyFile(path, "", false)
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), line[:8])) {
			t.Errorf("%s: %v, want %q and nothing of the key", tt.name, err, tt.err)
		}
	}
}

func TestRootKeyFilePlace(t *testing.T) {
	outside, data := t.TempDir(), t.TempDir()
	deep := filepath.Join(data, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	inside, nested, away := newKeyFile(t, data), newKeyFile(t, deep), newKeyFile(t, outside)
	newKeyFile(t, filepath.Dir(deep))
	links := map[string]string{"to-inside": inside, "to-data": data, "to-away": away, "to-deep": deep}
	for name, target := range links {
		links[name] = filepath.Join(outside, name)
		if err := os.Symlink(target, links[name]); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	for _, tt := range []struct {
		name, path, data string
		insideOK         bool
		want             error
	}{
		{"outside", away, data, false, nil},
		{"inside", inside, data, false, ErrKeyInsideData},
		{"deep inside", nested, data, false, ErrKeyInsideData},
		{"inside, allowed", inside, data, true, nil},
		{"link from outside", links["to-inside"], data, false, ErrKeyInsideData},
		{"link to outside", links["to-away"], data, false, nil},
		{"through a linked folder", filepath.Join(links["to-data"], "root.key"), data, false, ErrKeyInsideData},
		{"data folder by its link", inside, links["to-data"], false, ErrKeyInsideData},
		{"up from a link", links["to-deep"] + "/../root.key", deep, false, nil},
		{"up from a link into the data folder", links["to-deep"] + "/../../root.key", data, false, ErrKeyInsideData},
		{"beside, same prefix", away, outside[:len(outside)-1], false, nil},
		{"data folder to come", away, filepath.Join(outside, "later"), false, nil},
		{"no data folder", inside, "", false, nil},
		{"no file", filepath.Join(outside, "none"), data, false, fs.ErrNotExist},
		{"no file, no check", filepath.Join(outside, "none"), "", false, fs.ErrNotExist},
	} {
		if _, err := OpenRootKeyFile(tt.path, tt.data, tt.insideOK); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := OpenRootKeyFile(outside, "", false); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v, want a refusal", err)
	}
}

func TestPassphraseRootKey(t *testing.T) {
	phrase := []byte("correct horse battery staple")
	key, p, err := NewPassphraseRootKey(phrase)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var stored PassphraseParameters
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	again, err := OpenPassphraseRootKey(phrase, stored)
	if err != nil || again.ID() != key.ID() || p.KeyID != key.ID() {
		t.Fatalf("opened %v, want the id %q", err, key.ID())
	}
	sealed, _ := key.Wrap([]byte(hush), nil)
	if got, err := again.Unwrap(sealed, nil); err != nil || string(got) != hush {
		t.Errorf("Unwrap = %q, %v, want %q", got, err, hush)
	}
}

// cheap has the least costs that are accepted.
var cheap = PassphraseParameters{Salt: []byte("0123456789abcdef"), Time: 2, MemoryKiB: 19 << 10, Threads: 1}

func TestWrongPassphrase(t *testing.T) {
	phrase := []byte("correct horse battery staple")
	made, err := stretch(phrase, cheap)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, phrase string
		edit         func(*PassphraseParameters)
		want         error
	}{
		{"right", string(phrase), func(*PassphraseParameters) {}, nil},
		{"wrong", "correct horse battery stable", func(*PassphraseParameters) {}, ErrWrongPassphrase},
		{"line end", string(phrase) + "\n", func(*PassphraseParameters) {}, ErrWrongPassphrase},
		{"empty", "", func(*PassphraseParameters) {}, ErrWrongPassphrase},
		{"other salt", string(phrase), func(p *PassphraseParameters) { p.Salt = []byte("0123456789abcdeF") }, ErrWrongPassphrase},
		{"other cost", string(phrase), func(p *PassphraseParameters) { p.Time++ }, ErrWrongPassphrase},
		{"no id", string(phrase), func(p *PassphraseParameters) { p.KeyID = "" }, ErrWrongPassphrase},
	} {
		p := cheap
		p.KeyID = made.ID()
		tt.edit(&p)
		if _, err := OpenPassphraseRootKey([]byte(tt.phrase), p); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, _, err := NewPassphraseRootKey([]byte("hush-elevn!")); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("11 bytes: %v, want a refusal that shows nothing", err)
	}
}

func TestPassphraseCostBounds(t *testing.T) {
	for _, tt := range []struct {
		edit func(*PassphraseParameters)
		want string
	}{
		{func(p *PassphraseParameters) { p.Salt = nil }, "salt"},
		{func(p *PassphraseParameters) { p.Salt = make([]byte, 65) }, "salt"},
		{func(p *PassphraseParameters) { p.Time = 0 }, "passes"},
		{func(p *PassphraseParameters) { p.Time = 1<<32 - 1 }, "passes"},
		{func(p *PassphraseParameters) { p.MemoryKiB = 19<<10 - 1 }, "memory"},
		{func(p *PassphraseParameters) { p.MemoryKiB = 1<<32 - 1 }, "memory"},
		{func(p *PassphraseParameters) { p.Threads = 0 }, "threads"},
		{func(p *PassphraseParameters) { p.Threads = 255 }, "threads"},
	} {
		p := cheap
		tt.edit(&p)
		if _, err := OpenPassphraseRootKey([]byte(hush), p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want a refusal of the %s", p, err, tt.want)
		}
	}
	for _, p := range []PassphraseParameters{cheap, {Salt: cheap.Salt, Time: newTime, MemoryKiB: newMemoryKiB, Threads: newThreads}} {
		for _, b := range bounds {
			if got := b.of(p); got < b.least || got > b.most {
				t.Errorf("own %d %s are out of range", got, b.name)
			}
		}
	}
}
