package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"strongroom/internal/server"
)

func TestServerUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args string
		code int
		errs string
	}{
		{"dev --listen 0.0.0.0:9443", 2, "strongroom: dev listens on loopback only: listen is \"0.0.0.0:9443\"\nstrongroom: hint: \"strongroom serve\" listens elsewhere\n"},
		{"dev --set metrics_listen=192.0.2.1:1", 2, "strongroom: dev listens on loopback only: metrics_listen is \"192.0.2.1:1\"\nstrongroom: hint: \"strongroom serve\" listens elsewhere\n"},
		{"dev --listen 127.0.0.1:1 --port 2", 2, "strongroom: want --listen or --port, found both\n"},
		{"dev --port 2 --set listen=127.0.0.1:1", 2, "strongroom: listen is given twice, with --set and with a flag of its own\n"},
		{"dev --set log.level=debug --set log.level=info", 2, "strongroom: --set: \"log.level\" is given twice\n"},
		{"dev --set s3cret", 2, "strongroom: --set: want name=value\n"},
		{"serve --set listn=x --set log.level=loud", 1, "strongroom: flag: listn: no such key\nstrongroom: flag: log.level: want debug or info or warn or error, found \"loud\"\n"},
		{"serve --config absent.yaml", 1, "strongroom: read configuration: open absent.yaml: no such file or directory\nstrongroom: hint: what is there: ls '.'\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			check(t, run(t, "", strings.Fields(tt.args)...), result{tt.code, "", tt.errs})
		})
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("a refused start left %v, %v", entries, err)
	}
}

// A start that is refused says what to type next.
func TestStartHints(t *testing.T) {
	t.Chdir(t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, text := range map[string]string{"short": "short", "file": "x", "folder/x": "x"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ args, errs, hint string }{
		{fmt.Sprintf("dev --port %d --set metrics_listen=", testPort(t)) + taken.Addr().String(), "metrics_listen: listen tcp", "--set metrics_listen=127.0.0.1:9443"},
		{"init --set data_dir=file/data --set root_key.file=k", "file", "there is a file in the place of the folder: ls -l 'file'"},
		{"init --set data_dir=d --passphrase-file absent", "root_key.passphrase_file", "what is there: ls '.'"},
		{"init --set data_dir=d --passphrase-file short", "want at least 12", ""},
		{"init --set data_dir=d --set root_key.file=k --set database.path=folder", "folder", "name a file in that folder: ls 'folder'"},
		{fmt.Sprintf("dev --port %d --set metrics_listen=off --set identity_listen=off --set socket=nowhere/s", testPort(t)), "socket: stat nowhere", "what is there: ls '.'"},
		{fmt.Sprintf("dev --port %d --set metrics_listen=off --set identity_listen=127.0.0.2.3:1", testPort(t)), "identity_listen", ""},
		{"doctor --config absent.yaml", "checks need mending", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := run(t, "", strings.Fields(tt.args)...)
			hint := "strongroom: hint: "
			if tt.hint == "" {
				hint = ""
			}
			if got.code != 1 || !strings.Contains(got.errs, tt.errs) || !strings.Contains(got.errs, hint) || !strings.Contains(got.errs, tt.hint) {
				t.Errorf("got %d, %s, want 1, %q and the hint %q", got.code, got.errs, tt.errs, tt.hint)
			}
		})
	}
}

func TestWelcome(t *testing.T) {
	text := welcome(server.Ready{
		VaultURL: "https://dev.vault.localhost:8443", IdentityURL: "http://127.0.0.1:8440", CAFile: "/it's/ca.pem", DevIdentity: "c1",
	}, devDataDir)
	for _, want := range []string{
		"  vault='https://dev.vault.localhost:8443'\n",
		"'http://127.0.0.1:8440/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost:8443&client_id=c1'",
		`--cacert '/it'\''s/ca.pem'`,
		"  strongroom run -- ./app\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("welcome = %s\nwant %s in it", text, want)
		}
	}
	if other := welcome(server.Ready{}, "/data"); !strings.Contains(other, "strongroom run --data-dir '/data' -- ./app\n") {
		t.Errorf("welcome = %s\nwant the folder in the commands", other)
	}
}

// testPort is one that nobody listens on; another process may take it meanwhile, which is rare.
func testPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// startDev runs "dev" in a folder and returns what it printed. stop ends it and returns its exit
// code.
func startDev(t *testing.T, dir string) (printed string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	var log bytes.Buffer
	a := &app{version: "v1", in: strings.NewReader(""), out: w, errs: &log}
	code := make(chan int, 1)
	go func() {
		code <- a.execute(ctx, []string{
			"dev", "--data-dir", dir, "--port", fmt.Sprint(testPort(t)), "--set", "metrics_listen=off",
			"--set", fmt.Sprintf("identity_listen=127.0.0.1:%d", testPort(t)),
		})
		w.Close()
	}()
	text := make(chan string, 1)
	go func() {
		var b strings.Builder
		for lines := bufio.NewScanner(r); lines.Scan() && !strings.Contains(lines.Text(), "secret list"); {
			b.WriteString(lines.Text() + "\n")
		}
		text <- b.String()
		io.Copy(io.Discard, r)
	}()
	select {
	case printed = <-text:
	case <-time.After(time.Minute):
		t.Fatal("dev did not begin to serve within a minute")
	}
	stop = func() int { cancel(); return <-code }
	if !strings.Contains(printed, "curl") {
		t.Fatalf("dev ended with exit code %d:\n%s", stop(), log.String())
	}
	return printed, stop
}

// TestDev goes the way of the first minute: what is printed is pasted, and the command line and
// a program under "run" find what curl stored.
func TestDev(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the local socket's and the identity endpoint's checks of the user are Linux's")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	base, err := os.MkdirTemp("", "dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir := filepath.Join(base, "data")
	printed, stop := startDev(t, dir)

	_, paste, _ := strings.Cut(printed, "terminal:\n")
	paste, _, _ = strings.Cut(paste, "\nRun a program")
	out, err := exec.Command("sh", "-c", paste).CombinedOutput()
	if got := strings.Count(string(out), `"value":"my first secret"`); err != nil || got != 2 {
		t.Errorf("pasted lines: %v\n%s\nwant the secret twice", err, out)
	}
	check(t, run(t, "", "secret", "show", "hello", "--vault", "dev", "--value-only", "--data-dir", dir), result{0, "my first secret", ""})
	check(t, run(t, "s3cret", "secret", "set", "other", "--vault", "dev", "-o", "json", "--data-dir", dir+"x"), result{
		1, "",
		"strongroom: no server runs here: there is no socket " + filepath.Join(dir+"x", "strongroom.sock") + "\nstrongroom: hint: start one with \"strongroom dev\", or name one with --socket\n",
	})
	t.Run("run", func(t *testing.T) { runUnder(t, dir) })
	if code := stop(); code != 0 {
		t.Errorf("dev ended with exit code %d, want 0", code)
	}
}

// runUnder reads the secret from a child, by the variables alone.
func runUnder(t *testing.T, dir string) {
	const script = `
token=$(curl -sS -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://vault.strongroom.internal" |
	sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -sS --cacert "$NODE_EXTRA_CA_CERTS" -H "Authorization: Bearer $token" "$AZURE_KEYVAULT_URL/secrets/hello?api-version=7.6" |
	sed 's/.*"value":"\([^"]*\)".*/\1/'
echo "$AZURE_CLIENT_SECRET $1" >&2
echo "$SSL_CERT_FILE" | sed 's,/bundle.pem,,' >> "$2"
exit 7`
	note := filepath.Join(t.TempDir(), "note")
	environ := append(os.Environ(), "AZURE_CLIENT_SECRET=s3cret", "HTTPS_PROXY=")
	check(t, runWith(t, environ, "", "run", "--data-dir", dir, "--", "sh", "-c", script, "sh", "--as", note),
		result{7, "my first secret", " --as\n"})
	left, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	if folder := strings.TrimSpace(string(left)); folder == "" || fileExists(folder) {
		t.Errorf("the folder of the run %q is there, want it removed", folder)
	}
	check(t, runWith(t, environ, "", "run", "--data-dir", dir, "--", "sh", "-c", "kill -TERM $$"), result{143, "", ""})
	check(t, runWith(t, environ, "", "run", "--data-dir", dir, "--as", "nobody", "--", "true"), result{
		1, "",
		"strongroom: open the run: the server answered 404 IdentityNotFound: no identity with the client id, object id or name \"nobody\"\n",
	})
}
