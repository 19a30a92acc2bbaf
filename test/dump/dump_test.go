//go:build unix

package dump

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db/dbtest"
	"strongroom/internal/dump"
	"strongroom/test/served"
)

func decode(answer []byte, to any) error {
	if err := json.Unmarshal(answer, to, json.MatchCaseInsensitiveNames(true)); err != nil {
		return fmt.Errorf("%w in %.300s", err, answer)
	}
	return nil
}

// secretsToMake is how many there are; 100,000 in the long form.
func secretsToMake() int {
	if served.IsLong() {
		return 100_000
	}
	return 150
}

// header reads the header of a dump.
func header(t *testing.T, b []byte) dump.Header {
	t.Helper()
	r, err := dump.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return r.Header()
}

// TestRoundTrip moves a deployment from SQLite to PostgreSQL and back to SQLite. Each time everything
// that callers can see is what it was, the audit log goes on without a gap, and who could sign in
// can.
func TestRoundTrip(t *testing.T) {
	began := time.Now()
	first := newDeployment(t, "")
	first.fill(secretsToMake())
	t.Logf("filled after %s", time.Since(began).Round(time.Second))
	operators := newPair(t)
	second := move(t, first, first.emptyPlace(dbtest.NewDatabase(t)), operators)
	second.Must("PUT", "dev.vault.localhost/secrets/made-on-postgresql?api-version=7.6", `{"value":"later"}`)
	move(t, second, second.emptyPlace(""), operators)
	t.Logf("all after %s", time.Since(began).Round(time.Second))
}

// move dumps one deployment, stops it, restores the dump in another place, starts it there, and
// compares.
func move(t *testing.T, from, to *deployment, operators pair) *deployment {
	t.Helper()
	before := from.look()
	began := time.Now()
	file := from.dump(operators)
	dumped := time.Now()
	inside := readWithAge(t, file, operators)
	h := header(t, inside)
	checkHidden(t, from, file, inside)
	log := from.audit(h.Entries)
	from.Stop()
	carrySegments(t, from, to)

	restoring := time.Now()
	printed := to.restore(file, operators)
	t.Logf("%d bytes: dumped in %s, restored in %s", len(inside), dumped.Sub(began).Round(time.Millisecond), time.Since(restoring).Round(time.Millisecond))
	if want := fmt.Sprintf("%d", h.Entries); !strings.Contains(printed, "audit entries") || !strings.Contains(printed, want) {
		t.Errorf("restore printed %s, want a comparison with %s audit entries", printed, want)
	}
	to.Start()
	same(t, before, to.look())

	after := to.audit(h.Entries + 1)
	if i := firstDifference(log, after); i >= 0 {
		t.Errorf("audit entry %d is %s\nwant %s", i+1, after[i], log[i])
	}
	if !strings.Contains(log[len(log)-1], `"operationName":"Dump"`) || !strings.Contains(after[h.Entries], `"operationName":"RestoreConfirm"`) {
		t.Errorf("the log goes on with %s after %s, want RestoreConfirm after Dump", after[h.Entries], log[len(log)-1])
	}
	_, token, err := to.SignIn(to.about.Tenant, to.app.AppID, to.app.Secret.SecretText, served.VaultResource)
	if err != nil {
		t.Fatalf("sign in after the restore: %v", err)
	}
	if status, err := to.Get(served.VaultHost, "/secrets/secret-2?api-version=7.6", token); status != 200 {
		t.Errorf("read with a token after the restore: %d, %v, want 200", status, err)
	}
	return to
}

// carrySegments copies the files of the audit log's segments, which are not in the dump: docs/operations.md
// says so.
func carrySegments(t *testing.T, from, to *deployment) {
	t.Helper()
	here, there := filepath.Join(from.Data(), "audit"), filepath.Join(to.Data(), "audit")
	if _, err := os.Stat(here); os.IsNotExist(err) {
		return // none has left
	}
	if err := os.CopyFS(there, os.DirFS(here)); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(want, got []string) int {
	for i := range want {
		if want[i] != got[i] {
			return i
		}
	}
	return -1
}

// checkHidden looks for plaintext: in the dump nothing stands open, in its inside no value of a
// secret does. That names are found there proves the search.
func checkHidden(t *testing.T, d *deployment, file string, inside []byte) {
	t.Helper()
	sealed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range d.plain {
		for _, text := range []string{plain, base64.StdEncoding.EncodeToString([]byte(plain)), fmt.Sprintf("%x", plain)} {
			if bytes.Contains(sealed, []byte(text)) || bytes.Contains(inside, []byte(text)) {
				t.Errorf("the dump shows %q", text)
			}
		}
	}
	for _, name := range d.names {
		if bytes.Contains(sealed, []byte(name)) {
			t.Errorf("the encrypted dump shows the name %q", name)
		}
		if !bytes.Contains(inside, []byte(name)) {
			t.Errorf("the decrypted dump does not have the name %q", name)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the dump has mode %v, %v, want 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("beside the dump there is %v, %v", left, err)
	}
}

// TestDumpWhileOthersWrite: what was acknowledged before is in the dump, and of what each writer made
// one after the other there is a beginning without a gap.
func TestDumpWhileOthersWrite(t *testing.T) {
	for engine, url := range map[string]string{"sqlite": "", "postgresql": dbtest.NewDatabase(t)} {
		t.Run(engine, func(t *testing.T) {
			d := newDeployment(t, url)
			const writers, most = 6, 400
			var wg sync.WaitGroup
			stop, wrote := make(chan struct{}), make(chan struct{}, writers*most)
			for w := range writers {
				wg.Go(func() {
					for i := range most {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := d.Owner("PUT", fmt.Sprintf("dev.vault.localhost/secrets/w%d-%d?api-version=7.6", w, i), `{"value":"x"}`); err != nil {
							t.Errorf("write beside a dump: %v", err)
							return
						}
						wrote <- struct{}{}
					}
				})
			}
			for range 50 {
				<-wrote
			}
			operators := newPair(t)
			file := d.dump(operators)
			close(stop)
			wg.Wait()
			d.Stop()
			to := d.emptyPlace("")
			to.restore(file, operators)
			to.Start()
			found := map[string]bool{}
			for _, i := range to.list(&state{answers: map[string]string{}}, "dev.vault.localhost/secrets?api-version=7.6") {
				found[last(i.ID)] = true
			}
			total := 0
			for w := range writers {
				n := 0
				for found[fmt.Sprintf("w%d-%d", w, n)] {
					n++
				}
				total += n
			}
			if total != len(found) || total < 50 {
				t.Errorf("the dump has %d secrets, of which %d follow each other; want all, and 50 at least", len(found), total)
			}
		})
	}
}

// TestKilledRestore kills a restore that has half of the dump: the place is empty then, no server
// starts on it, and the dump can be restored into it.
func TestKilledRestore(t *testing.T) {
	d := newDeployment(t, "")
	d.fill(30)
	operators := newPair(t)
	inside := readWithAge(t, d.dump(operators), operators)
	d.Stop()
	for engine, url := range map[string]string{"sqlite": "", "postgresql": dbtest.NewDatabase(t)} {
		t.Run(engine, func(t *testing.T) {
			to := d.emptyPlace(url)
			for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
				cmd := newCommand(t, append([]string{"restore", "--from", "-"}, to.place()...)...)
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if _, err := in.Write(inside[:len(inside)-1000]); err != nil { // more than a pipe holds: most was read
					t.Fatal(err)
				}
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				if signal == syscall.SIGINT {
					in.Close() // what it waits for cannot be interrupted
				}
				if err := cmd.Wait(); err == nil {
					t.Fatalf("the restore that got %v has ended well", signal)
				}
				in.Close()
			}
			file := filepath.Join(t.TempDir(), "plain")
			if err := os.WriteFile(file, inside, 0o600); err != nil {
				t.Fatal(err)
			}
			command(t, append([]string{"restore", "--from", file, "--confirm"}, to.place()...)...)
			to.Start()
		})
	}
}

// TestRefused: each has one clear error, and nothing is changed.
func TestRefused(t *testing.T) {
	d := newDeployment(t, "")
	d.fill(10)
	operators, others := newPair(t), newPair(t)
	file := d.dump(operators)
	to := d.emptyPlace("")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := func(name string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	changed := slices.Clone(whole)
	changed[len(changed)/2] ^= 1
	restore := func(file, identity string, more ...string) []string {
		return append(append([]string{"restore", "--from", file, "--identity", identity}, to.place()...), more...)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a file that is there", []string{"dump", "--socket", d.Socket(), "--to", file, "--recipient", operators.recipient}, "it is there already"},
		{"a folder that is not", []string{"dump", "--socket", d.Socket(), "--to", "/nowhere/x", "--recipient", operators.recipient}, "no such file or directory"},
		{"no recipient", []string{"dump", "--socket", d.Socket(), "--to", "x"}, "want whom the dump is encrypted to"},
		{"another's identity", restore(file, others.identityFile), "it was encrypted to others"},
		{"no identity", append([]string{"restore", "--from", file}, to.place()...), "want the file with the age identity"},
		{"a dump as identity", restore(file, file), "want a file with AGE-SECRET-KEY"},
		{"cut short", restore(broken("short", whole[:len(whole)-1]), operators.identityFile), "cut short, or changed"},
		{"cut in the middle", restore(broken("half", whole[:len(whole)/2]), operators.identityFile), "cut short, or changed"},
		{"a bit changed", restore(broken("bit", changed), operators.identityFile), "cut short, or changed"},
		{"a byte more", restore(broken("more", append(slices.Clone(whole), 0)), operators.identityFile), "cut short, or changed"},
		{"no dump", restore(broken("other", []byte("a text of more than a few letters")), operators.identityFile), "something else than a file of age"},
		{"an empty file", restore(broken("empty", nil), operators.identityFile), "the dump is empty"},
		{"a server that runs", append([]string{"restore", "--from", file, "--identity", operators.identityFile}, d.place()...), "in use by process"},
		{"nothing to do", append([]string{"restore"}, to.place()...), "nothing was done"},
	} {
		_, errs, code := run(t, tt.args...)
		if code == 0 || !strings.Contains(errs, tt.want) || strings.Contains(errs, "AGE-SECRET-KEY-1") {
			t.Errorf("%s: exit code %d and %q, want %q", tt.name, code, errs, tt.want)
		}
		if _, err := os.Stat(filepath.Join(to.Data(), "strongroom.db")); err == nil {
			t.Fatalf("%s: a database was left", tt.name)
		}
	}
	fullDisk(t, d)
	d.Stop()
	_, errs, code := run(t, append([]string{"restore", "--from", file, "--identity", operators.identityFile}, d.place()...)...)
	if code == 0 || !strings.Contains(errs, "secret_versions (") {
		t.Errorf("restore over a deployment: exit code %d and %q, want what is there", code, errs)
	}
	to.restore(file, operators) // the place is as good as ever
}

// fullDisk dumps to where there is no room.
func fullDisk(t *testing.T, d *deployment) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Logf("this system has no /dev/full: %v", err)
		return
	}
	defer full.Close()
	cmd := newCommand(t, "dump", "--socket", d.Socket(), "--to", "-", "--recipient", newPair(t).recipient)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &errs
	err = cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "no space left on device") || strings.Contains(errs.String(), "recipient") {
		t.Errorf("a full disk: got %v and %q, want exit code 1, and that there is no space", err, errs.String())
	}
}

// TestPipe: a dump goes through pipes in both directions, to more than one recipient.
func TestPipe(t *testing.T) {
	d := newDeployment(t, "")
	d.fill(10)
	one, two := newPair(t), newPair(t)
	list := filepath.Join(t.TempDir(), "recipients.txt")
	if err := os.WriteFile(list, []byte("# operators\n\n"+one.recipient+"\n"+two.recipient+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, errs, code := run(t, "dump", "--socket", d.Socket(), "--to", "-", "--recipients-file", list)
	if code != 0 || strings.Count(errs, "\n") != 1 {
		t.Fatalf("dump to a pipe: exit code %d and %q, want one line", code, errs)
	}
	d.Stop()
	for _, with := range []pair{one, two} {
		to := d.emptyPlace("")
		cmd := newCommand(t, append([]string{"restore", "--from", "-", "--identity", with.identityFile, "-o", "json"}, to.place()...)...)
		cmd.Stdin = strings.NewReader(sealed)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("restore from a pipe: %v", err)
		}
		var report struct {
			Compared []struct{ InDump, Restored int64 }
		}
		if err := decode(out, &report); err != nil || len(report.Compared) < 10 {
			t.Errorf("restore printed %s, %v, want a comparison", out, err)
		}
	}
}
