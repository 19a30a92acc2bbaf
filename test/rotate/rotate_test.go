//go:build unix

// Package rotate changes the keys of running servers under load, by the command line as an operator
// does it, and kills them meanwhile: no write that was acknowledged may be lost, and afterwards the
// old key must be good for nothing.
package rotate

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// cli runs a command of the built binary and returns what it says to programs and to people.
func cli(t *testing.T, args ...string) (out, said string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(served.Binary(t), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return strings.TrimSpace(stdout.String()), stderr.String(), err
}

func mustCLI(t *testing.T, args ...string) string {
	t.Helper()
	out, said, err := cli(t, args...)
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, said)
	}
	return out
}

// A load writes and reads until it is ended, and remembers what was acknowledged.
type load struct {
	t    *testing.T
	stop atomic.Bool
	wg   sync.WaitGroup
	mu   sync.Mutex
	told map[string]string // value by name; guarded by mu
}

func newLoad(t *testing.T, servers ...*served.Server) *load {
	l := &load{t: t, told: map[string]string{}}
	for w := range 4 {
		s := servers[w%len(servers)]
		l.wg.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				name, value := fmt.Sprintf("s-%d-%d", w, n), fmt.Sprintf("value-%d-%d", w, n)
				status, _, _, err := s.Call("PUT", served.VaultHost, "/secrets/"+name+"?api-version=7.6", fmt.Sprintf(`{"value":%q}`, value))
				if err != nil || status != http.StatusOK {
					<-time.After(10 * time.Millisecond) // as a client that retries
					continue
				}
				l.mu.Lock()
				l.told[name] = value
				l.mu.Unlock()
				<-time.After(10 * time.Millisecond) // few enough to read them all in the end
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop.Store(true)
	l.wg.Wait()
}

// check reads everything that was acknowledged.
func (l *load) check(s *served.Server) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := 0
	for name, value := range l.told {
		answer, err := s.Owner("GET", served.VaultHost+"/secrets/"+name+"?api-version=7.6", "")
		if err != nil || !bytes.Contains(answer, []byte(`"value":"`+value+`"`)) {
			if wrong++; wrong == 1 {
				l.t.Errorf("%s: %v: %s", name, err, answer)
			}
		}
	}
	if wrong > 0 || len(l.told) == 0 {
		l.t.Errorf("%d of %d acknowledged writes do not read as they were written", wrong, len(l.told))
	}
	l.t.Logf("%d acknowledged writes, %d lost", len(l.told), wrong)
}

// done waits until nothing is left to do, by what the command line says.
func done(t *testing.T, s *served.Server, id string) {
	t.Helper()
	var last string
	ok := served.Poll(time.Minute, func() bool {
		answer, err := s.Owner("GET", "local/rootKeys", "")
		last = string(answer)
		return err == nil && strings.Contains(last, `"pending":false`) && strings.Contains(last, `"wrapping":"`+id+`"`)
	})
	if !ok {
		t.Fatalf("after a minute: %s", last)
	}
}

func TestRootKeyOnSQLite(t *testing.T) {
	s := served.New(t, "")
	s.Start()
	file, socket := filepath.Join(s.Data(), "root.key"), s.Socket()
	l := newLoad(t, s)

	_, said, err := cli(t, "root-key", "change", "--socket", socket)
	if err == nil || !strings.Contains(said, "NoNewRootKey") {
		t.Errorf("without another key: %v, %s", err, said)
	}
	var keys struct{ Wrapping string }
	s.MustDecode(s.Must("GET", "local/rootKeys", ""), &keys)
	old := keys.Wrapping
	id := mustCLI(t, "root-key", "add", "--file", file)
	if _, said, err = cli(t, "root-key", "remove", "--socket", socket, "--file", file, "--id", old); err == nil || !strings.Contains(said, "in use") {
		t.Errorf("removal of the key in use: %v, %s", err, said)
	}
	// Killed at any moment of the change, which then goes on, or is asked for again.
	for round := range 3 {
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			_, _, _ = cli(t, "root-key", "change", "--socket", socket) // dies with the server
		}()
		<-time.After(time.Duration(20+round*60) * time.Millisecond)
		s.Kill()
		<-changed
		s.Start()
	}
	_, _, _ = cli(t, "root-key", "change", "--socket", socket) // has taken place, or does now
	done(t, s, id)
	l.end()
	mustCLI(t, "root-key", "remove", "--socket", socket, "--file", file, "--id", old)
	s.Stop()
	s.Start()
	l.check(s)
}

func TestRootKeyOnTwoNodes(t *testing.T) {
	url := dbtest.NewDatabase(t)
	first := served.New(t, url)
	first.Start()
	file := filepath.Join(first.Data(), "root.key")
	copied := filepath.Join(t.TempDir(), "root.key")
	copyFile(t, file, copied)
	second := served.New(t, url, "root_key.file="+copied)
	second.ListenBeside(first)
	second.Start()
	l := newLoad(t, first, second)

	id := mustCLI(t, "root-key", "add", "--file", file)
	_, said, err := cli(t, "root-key", "change", "--socket", first.Socket())
	if err == nil || !strings.Contains(said, "RootKeyNotEverywhere") {
		t.Errorf("while a node lacks the key: %v, %s", err, said)
	}
	copyFile(t, file, copied)
	mustCLI(t, "root-key", "change", "--socket", second.Socket())
	done(t, first, id)
	// A vault made on either node reads on the other.
	for i, s := range []*served.Server{first, second} {
		other := []*served.Server{second, first}[i]
		about := s.About()
		name := fmt.Sprintf("vault-%d", i)
		s.Must("PUT", about.Vault(name)+"?api-version=2026-02-01", fmt.Sprintf(
			`{"location":%q,"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, about.Region, about.Tenant))
		s.Must("PUT", name+".vault.localhost/secrets/a?api-version=7.6", `{"value":"x"}`)
		other.Must("GET", name+".vault.localhost/secrets/a?api-version=7.6", "")
	}
	l.end()
	l.check(first)
	l.check(second)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPassphrase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passphrase")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("the first passphrase of it all\n")
	s := served.New(t, "", "root_key.passphrase_file="+file)
	s.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
	})
	l := newLoad(t, s)
	write("the first passphrase of it all\nanother passphrase, a better one\n")
	mustCLI(t, "root-key", "change", "--socket", s.Socket())
	l.end()
	write("another passphrase, a better one\n")
	s.Stop()
	s.Start()
	l.check(s)
	s.Stop()
	write("the first passphrase of it all\n")
	out, _, err := cli(t, "doctor", "--data-dir", s.Data(), "--set", "root_key.passphrase_file="+file, "--set", "root_key.inside_data_dir=true")
	if err == nil || !strings.Contains(out, "passphrase is not the one") {
		t.Errorf("the old passphrase: %v, %s", err, out)
	}
}

func TestDataKey(t *testing.T) {
	s := served.New(t, "")
	s.Start()
	l := newLoad(t, s)
	served.Poll(10*time.Second, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.told) > 100
	})
	mustCLI(t, "vault", "rotate-key", "dev", "--socket", s.Socket())
	for round := range 3 {
		<-time.After(time.Duration(round*50) * time.Millisecond)
		s.Kill()
		s.Start()
	}
	ended := served.Poll(time.Minute, func() bool {
		answer, err := s.Owner("GET", "local/rootKeys", "")
		return err == nil && strings.Contains(string(answer), `"pending":false`)
	})
	l.end()
	if !ended {
		t.Error("the values are not sealed anew after a minute")
	}
	l.check(s)
	mustCLI(t, "vault", "rotate-key", "dev", "--socket", s.Socket()) // the last one has ended
}
