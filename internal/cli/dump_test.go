package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"strongroom/internal/dump"
)

// aDump is a dump with one row.
func aDump(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := dump.NewWriter(&b, dump.Header{
		Release: "v1", Deployment: "d", Tenant: "t", Engine: "sqlite", Schema: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Entries: 7, RootKeys: []string{"k"},
	})
	if err == nil {
		err = w.Table(dump.Table{Name: "meta", Columns: []string{"key"}})
	}
	if err == nil {
		err = w.Row([]any{"a"})
	}
	if err == nil {
		_, err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A keyKind is a kind of keys that dumps are encrypted to.
type keyKind struct{ name, recipient, identity string }

func keyKinds(t *testing.T) []keyKind {
	t.Helper()
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return []keyKind{
		{"X25519", x.Recipient().String(), "# comment\n" + x.String() + "\n"},
		{"post-quantum", pq.Recipient().String(), pq.String() + "\n"},
		{"ssh-ed25519", sshPublic(t, edPublic), sshPrivate(t, ed, "")},
		{"ssh-rsa", sshPublic(t, &r.PublicKey), sshPrivate(t, r, "")},
	}
}

func sshPublic(t *testing.T, key any) string {
	t.Helper()
	p, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p)))
}

func sshPrivate(t *testing.T, key any, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

const dumpRequest = "POST management.test/dump"

// TestDumpFile makes a dump for each kind of key, and opens it.
func TestDumpFile(t *testing.T) {
	for _, kind := range keyKinds(t) {
		s := newStub(t, map[string][]string{dumpRequest: {"200 " + string(aDump(t))}})
		dir := t.TempDir()
		file := filepath.Join(dir, "a.age")
		got := s.ask(t, "", "dump", "--to", file, "--recipient", kind.recipient)
		if got.code != 0 || !strings.Contains(got.out, "2026-01-02T03:04:05Z") || got.errs != "" {
			t.Errorf("%s: got %+v, want a report", kind.name, got)
		}
		if names := namesIn(t, dir); len(names) != 1 {
			t.Errorf("%s: the folder holds %v, want the dump alone", kind.name, names)
		}
		identities, err := parseIdentities([]byte(kind.identity))
		if err != nil {
			t.Fatalf("%s: %v", kind.name, err)
		}
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := decrypt(in, identities)
		if err != nil {
			t.Fatalf("%s: %v", kind.name, err)
		}
		if b, err := io.ReadAll(out); err != nil || !bytes.Equal(b, aDump(t)) {
			t.Errorf("%s: the dump opens as %q, %v", kind.name, b, err)
		}
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestNoDump: without a whole dump there is no file, and one line says why. A secret key that was
// given by mistake is not repeated.
func TestNoDump(t *testing.T) {
	keys := keyKinds(t)
	x, pq := keys[0], keys[1]
	secret := strings.Fields(x.identity)[2]
	whole := string(aDump(t))
	lists := t.TempDir()
	list := func(name, text string) string {
		path := filepath.Join(lists, name)
		writeFile(t, path, text)
		return path
	}
	for _, tt := range []struct {
		name, answer string
		recipients   []string
		code         int
		want         string
	}{
		{"cut short", "200 " + whole[:len(whole)-1], []string{"--recipient", x.recipient}, 1, "the server broke the dump off: the dump is cut short"},
		{"changed", "200 " + strings.Replace(whole, "v1", "v2", 1), []string{"--recipient", x.recipient}, 1, "the dump was changed"},
		{"something else", "200 hello", []string{"--recipient", x.recipient}, 1, "no strongroom dump"},
		{"a refusal", `404 {"error":{"code":"NotFound","message":"There is no such resource."}}`, []string{"--recipient", x.recipient}, 1, "There is no such resource."},
		{"no recipient", "", nil, 2, "want whom the dump is encrypted to"},
		{"a secret key", "", []string{"--recipient", secret}, 2, "number 1 is none"},
		{"a word", "", []string{"--recipient", x.recipient, "--recipient", "me"}, 2, "number 2 is none"},
		{"two in one", "", []string{"--recipient", x.recipient + "\n" + x.recipient}, 2, "number 1 is none"},
		{"an SSH key that is none", "", []string{"--recipient", "ssh-ed25519 AAAA"}, 2, "number 1 is none"},
		{"kinds that do not mix", "200 " + whole, []string{"--recipient", x.recipient, "--recipient", pq.recipient}, 2, "do not go together"},
		{"no file of recipients", "", []string{"--recipients-file", filepath.Join(lists, "none")}, 1, "read the recipients"},
		{"an empty file of recipients", "", []string{"--recipients-file", list("empty", "# nobody\n\n")}, 2, "holds no recipient"},
		{"a secret key in the file", "", []string{"--recipients-file", list("secret", "# me\n"+secret+"\n")}, 2, "line 2 is no recipient"},
	} {
		s := newStub(t, map[string][]string{dumpRequest: {tt.answer}})
		dir := t.TempDir()
		got := s.ask(t, "", append([]string{"dump", "--to", filepath.Join(dir, "a.age")}, tt.recipients...)...)
		if got.code != tt.code || !strings.Contains(got.errs, tt.want) || strings.Contains(got.errs, secret) || got.out != "" {
			t.Errorf("%s: got %+v, want exit code %d and %q", tt.name, got, tt.code, tt.want)
		}
		if names := namesIn(t, dir); len(names) != 0 {
			t.Errorf("%s: the folder holds %v, want nothing", tt.name, names)
		}
	}
}

// An interrupt in the middle of a dump leaves nothing.
func TestDumpInterrupted(t *testing.T) {
	s := newStub(t, nil)
	begun := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/dump" {
			s.ServeHTTP(w, r)
			return
		}
		w.Write(aDump(t)[:100])
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	})}
	socket := listenBeside(t, s.socket)
	go server.Serve(socket)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, errs: &errs}
	code := a.execute(ctx, []string{
		"dump", "--to", filepath.Join(dir, "a.age"), "--recipient", keyKinds(t)[0].recipient, "--socket", socket.Addr().String(),
	})
	if code != 1 || errs.String() != "strongroom: interrupted\n" {
		t.Errorf("exit code %d and %q, want 1 and that it was interrupted", code, errs.String())
	}
	if names := namesIn(t, dir); len(names) != 0 {
		t.Errorf("the folder holds %v, want nothing", names)
	}
}

func listenBeside(t *testing.T, socket string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", socket+"2")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestDecryptRefuses what is none of our dumps, or is encrypted to others.
func TestDecryptRefuses(t *testing.T) {
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, x.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(aDump(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := sealed.Bytes()
	for _, tt := range []struct {
		name string
		in   []byte
		with []age.Identity
		want string
	}{
		{"nothing", nil, []age.Identity{x}, "the dump is empty"},
		{"a text", []byte("hello"), []age.Identity{x}, "something else than a file of age"},
		{"a dump that is not encrypted", aDump(t), []age.Identity{x}, "something else than a file of age"},
		{"no identity", b, nil, "want the file with the age identity"},
		{"another's", b, []age.Identity{other}, "it was encrypted to others"},
		{"a header that is cut", b[:60], []age.Identity{x}, "cut short, or changed"},
		{"cut", b[:len(b)-1], []age.Identity{x}, "cut short, or changed"},
		{"more", append(bytes.Clone(b), 0), []age.Identity{x}, "cut short, or changed"},
	} {
		out, err := decrypt(bytes.NewReader(tt.in), tt.with)
		if err == nil {
			_, err = io.ReadAll(out)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	plain, err := decrypt(bytes.NewReader(aDump(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(plain); err != nil || !bytes.Equal(b, aDump(t)) {
		t.Errorf("a decrypted dump is read as %q, %v", b, err)
	}
}

func TestIdentityFiles(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"locked", sshPrivate(t, ed, "secret"), "is locked by a passphrase"},
		{"a recipient", keyKinds(t)[0].recipient, "want a file with AGE-SECRET-KEY"},
		{"a broken key", "AGE-SECRET-KEY-1QQQ", "want a file with AGE-SECRET-KEY"},
		{"empty", "", "want a file with AGE-SECRET-KEY"},
		{"long", strings.Repeat("#\n", maxKeyFile), fmt.Sprintf("over %d bytes", maxKeyFile)},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "key")
		writeFile(t, file, tt.text)
		got := run(t, "", "restore", "--from", file, "--identity", file, "--data-dir", filepath.Join(dir, "data"))
		if got.code == 0 || !strings.Contains(got.errs, tt.want) || strings.Contains(got.errs, "QQQ") {
			t.Errorf("%s: got %+v, want %q", tt.name, got, tt.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the data folder was made", tt.name)
		}
	}
}

// A meter writes on a terminal alone, and not at every step.
func TestMeter(t *testing.T) {
	var b bytes.Buffer
	silent, loud := &meter{}, &meter{out: &b}
	for i := range 1000 {
		silent.show("row %d", i)
		loud.show("row %d", i)
	}
	loud.stop()
	silent.stop()
	if got := b.String(); !strings.HasPrefix(got, clearLine+"row 0") || !strings.HasSuffix(got, clearLine) || strings.Count(got, "row") > 900 {
		t.Errorf("the meter wrote %q", got)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
