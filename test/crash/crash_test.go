//go:build unix

// Package crash proves that what was answered survives: it kills the server, or PostgreSQL
// under it, at random moments under load, starts again, and compares what clients were told with
// what is there.
package crash

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// rounds is how often the server is killed; TEST_TORTURE=long makes it ten times as often.
func rounds(n int) int {
	if os.Getenv("TEST_TORTURE") == "long" {
		return 10 * n
	}
	return n
}

const writers = 8

func TestCrashSQLite(t *testing.T) {
	s := served.New(t, "")
	for round := range rounds(20) {
		s.Start()
		l := newLoad(t, s, round)
		l.run(func() { s.Kill() })
		s.Start()
		l.check()
		s.Kill()
		integrity(t, s)
	}
}

func TestCrashPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	if err := pg.CreateDatabase("crash"); err != nil {
		t.Fatal(err)
	}
	s := served.New(t, pg.URL("crash"))
	for round := range rounds(5) {
		s.Start()
		l := newLoad(t, s, round)
		if round%2 == 0 {
			l.run(func() {
				pg.Kill()
				if err := pg.Start(); err != nil {
					t.Error(err)
				}
				// The server has to come back by itself: the next answers show it.
				s.WaitReady()
				s.Kill()
			})
		} else {
			l.run(func() { s.Kill() })
		}
		s.Start()
		l.check()
		s.Kill()
	}
}

// A load is what clients did in one round and what they were told.
type load struct {
	t       *testing.T
	s       *served.Server
	round   int
	stop    atomic.Bool
	mu      sync.Mutex
	told    map[string]string // "name/version" → value, of acknowledged writes
	asked   map[string]string // hash of value → name, of all writes that were sent
	entries map[string]bool   // request ids of answered reads and writes
}

func newLoad(t *testing.T, s *served.Server, round int) *load {
	return &load{t: t, s: s, round: round, told: map[string]string{}, asked: map[string]string{}, entries: map[string]bool{}}
}

// run lets writers write and read until crash has crashed something.
func (l *load) run(crash func()) {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { l.write(w) })
	}
	// At least one answer, then a random moment.
	deadline := time.Now().Add(30 * time.Second)
	for l.answered() == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // a poll to a deadline
	}
	<-time.After(time.Duration(rand.IntN(300)) * time.Millisecond)
	crash()
	l.stop.Store(true)
	wg.Wait()
	if l.answered() == 0 {
		l.t.Errorf("round %d: nothing was answered before the crash", l.round)
	}
}

func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told)
}

func (l *load) write(w int) {
	name := fmt.Sprintf("s%d-%d", l.round, w)
	for n := 0; !l.stop.Load(); n++ {
		value := fmt.Sprintf("value-%d-%d-%d", l.round, w, n)
		l.note(func() { l.asked[hash(value)] = name })
		status, id, body, err := l.s.Call("PUT", served.VaultHost, "/secrets/"+name+"?api-version=7.6", fmt.Sprintf(`{"value":%q}`, value))
		if err != nil || status != http.StatusOK {
			<-time.After(10 * time.Millisecond) // as a client that retries
			continue
		}
		var bundle struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &bundle); err != nil {
			l.t.Error(err)
			return
		}
		version := bundle.ID[strings.LastIndex(bundle.ID, "/")+1:]
		l.note(func() { l.told[name+"/"+version] = value; l.entries[id] = true })
		status, id, body, err = l.s.Call("GET", served.VaultHost, "/secrets/"+name+"/"+version+"?api-version=7.6", "")
		if err != nil || status == http.StatusServiceUnavailable {
			continue
		}
		if status != http.StatusOK || !bytes.Contains(body, []byte(value)) {
			l.t.Errorf("round %d: an acknowledged version reads %d: %s", l.round, status, body)
			return
		}
		l.note(func() { l.entries[id] = true })
	}
}

func (l *load) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// integrity lets SQLite's own shell look at the file.
func integrity(t *testing.T, s *served.Server) {
	t.Helper()
	out, err := exec.Command("sqlite3", filepath.Join(s.Data(), "strongroom.db"), "PRAGMA integrity_check").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("PRAGMA integrity_check: %v: %s", err, out)
	}
}

// check compares: every acknowledged write is there with its value, every version that is there
// was asked for and can be read, and every answered request has its entry.
func (l *load) check() {
	l.t.Helper()
	found := map[string]string{}
	for w := range writers {
		name := fmt.Sprintf("s%d-%d", l.round, w)
		for _, version := range l.versions(name) {
			status, _, body, err := l.s.Call("GET", served.VaultHost, "/secrets/"+name+"/"+version+"?api-version=7.6", "")
			var bundle struct {
				Value string `json:"value"`
			}
			if err != nil || status != http.StatusOK || json.Unmarshal(body, &bundle) != nil {
				l.t.Fatalf("round %d: version %s/%s is half there: %d, %v: %s", l.round, name, version, status, err, body)
			}
			if l.asked[hash(bundle.Value)] != name {
				l.t.Errorf("round %d: %s/%s holds what nobody wrote there", l.round, name, version)
			}
			found[name+"/"+version] = bundle.Value
		}
	}
	lost := 0
	for key, value := range l.told {
		if found[key] != value {
			lost++
		}
	}
	if lost > 0 {
		l.t.Errorf("round %d: %d of %d acknowledged writes are lost", l.round, lost, len(l.told))
	}
	l.checkEntries()
	l.t.Logf("round %d: %d acknowledged writes, %d entries, %d versions found, %d lost", l.round, len(l.told), len(l.entries), len(found), lost)
}

func (l *load) versions(name string) (out []string) {
	path := "/secrets/" + name + "/versions?api-version=7.6"
	for path != "" {
		status, _, body, err := l.s.Call("GET", served.VaultHost, path, "")
		var page struct {
			Value []struct {
				ID string `json:"id"`
			} `json:"value"`
			NextLink string `json:"nextLink"`
		}
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &page) != nil {
			l.t.Fatalf("list versions: %d, %v: %s", status, err, body)
		}
		for _, v := range page.Value {
			out = append(out, v.ID[strings.LastIndex(v.ID, "/")+1:])
		}
		_, path, _ = strings.Cut(page.NextLink, served.VaultHost)
		if path != "" {
			path = path[strings.Index(path, "/"):]
		}
	}
	return out
}

// checkEntries exports the audit log and looks for every answered request.
func (l *load) checkEntries() {
	l.t.Helper()
	cmd := exec.Command(served.Binary(l.t), "audit", "export", "--socket", l.s.Socket())
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("audit export: %v", err)
	}
	have := map[string]bool{}
	position := int64(0)
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var record struct {
			Properties struct {
				RequestID string `json:"requestId"`
				Position  int64  `json:"position"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			l.t.Fatalf("audit export: %v: %s", err, lines.Bytes())
		}
		if position++; record.Properties.Position != position {
			l.t.Fatalf("audit export: position %d follows %d", record.Properties.Position, position-1)
		}
		have[record.Properties.RequestID] = true
	}
	missing := 0
	for id := range l.entries {
		if !have[id] {
			missing++
		}
	}
	if missing > 0 {
		l.t.Errorf("round %d: %d of %d answered requests have no audit entry", l.round, missing, len(l.entries))
	}
}
