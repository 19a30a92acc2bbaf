//go:build linux

package disk

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// A ledger is what clients were told, for the comparison with what is there afterwards. Any goroutine
// may use it.
type ledger struct {
	t *testing.T
	s *served.Server

	mu     sync.Mutex
	n      int
	told   map[string]string // guarded by mu: name/version → value, of acknowledged writes
	ids    map[string]bool   // guarded by mu: request ids of what was answered with 200
	others map[string]int    // guarded by mu: how often there was another answer
}

func newLedger(t *testing.T, s *served.Server) *ledger {
	return &ledger{t: t, s: s, told: map[string]string{}, ids: map[string]bool{}, others: map[string]int{}}
}

const version = "?api-version=7.6"

// write stores a new value. The status is 0 if there was no answer.
func (l *ledger) write(name string) int {
	l.mu.Lock()
	l.n++
	value := fmt.Sprintf("value %d of %s", l.n, name)
	l.mu.Unlock()
	status, id, answer, err := l.s.Call("PUT", served.VaultHost, "/secrets/"+name+version, fmt.Sprintf(`{"value":%q}`, value))
	l.note("PUT", status, id, err)
	if err != nil || status != http.StatusOK {
		return status
	}
	var bundle struct{ ID string }
	if err := served.Decode(answer, &bundle); err != nil {
		l.t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[name+bundle.ID[strings.LastIndexByte(bundle.ID, '/'):]] = value
	return status
}

// read reads the latest version of a secret.
func (l *ledger) read(name string) int {
	status, id, _, err := l.s.Call("GET", served.VaultHost, "/secrets/"+name+version, "")
	l.note("GET", status, id, err)
	return status
}

func (l *ledger) note(method string, status int, id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && status == http.StatusOK {
		l.ids[id] = true
		return
	}
	l.others[fmt.Sprintf("%s %d", method, status)]++
	if err == nil && status != http.StatusServiceUnavailable {
		l.t.Errorf("%s was answered with %d; want 200 or 503", method, status)
	}
}

// answered is the number of requests that were answered with 200.
func (l *ledger) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

// count is how often there was an answer with a status.
func (l *ledger) count(status string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for what, times := range l.others {
		if strings.HasSuffix(what, " "+status) {
			n += times
		}
	}
	return n
}

// readers is how many clients read at once.
const readers = 16

// readUntil has many clients read until stop says so of an answer, or until there were most reads. It
// returns how many were answered with 200.
func (l *ledger) readUntil(most int64, stop func(status int) bool) int64 {
	var wg sync.WaitGroup
	var n, good atomic.Int64
	var ended atomic.Bool
	for range readers {
		wg.Go(func() {
			for !ended.Load() && n.Add(1) <= most {
				status := l.read("kept")
				if status == http.StatusOK {
					good.Add(1)
				}
				if stop(status) {
					ended.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return good.Load()
}

// check compares: every acknowledged write is there with its value, and everything that was answered
// has its audit entry.
func (l *ledger) check() {
	l.t.Helper()
	l.mu.Lock()
	told := maps.Clone(l.told)
	ids := maps.Clone(l.ids)
	others := maps.Clone(l.others)
	l.mu.Unlock()
	for key, value := range told {
		status, _, answer, err := l.s.Call("GET", served.VaultHost, "/secrets/"+key+version, "")
		var bundle struct{ Value string }
		if err != nil || status != http.StatusOK || served.Decode(answer, &bundle) != nil || bundle.Value != value {
			l.t.Errorf("the acknowledged version %s is lost: %d, %v: %s", key, status, err, answer)
		}
	}
	have := l.entries()
	missing := 0
	for id := range ids {
		if !have[id] {
			missing++
		}
	}
	if missing > 0 {
		l.t.Errorf("%d of %d answered requests have no audit entry", missing, len(ids))
	}
	l.t.Logf("%d acknowledged writes and %d answers are there; other answers: %v", len(told), len(ids), others)
}

// entries are the request ids of the audit log, whose positions have no gap.
func (l *ledger) entries() map[string]bool {
	l.t.Helper()
	out, err := exec.Command(served.Binary(l.t), "audit", "export", "--socket", l.s.Socket()).Output()
	if err != nil {
		l.t.Fatalf("audit export: %v", err)
	}
	have := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for position := int64(1); lines.Scan(); position++ {
		var record struct {
			Properties struct {
				RequestID string `json:"requestId"`
				Position  int64  `json:"position"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			l.t.Fatalf("audit export: %v: %s", err, lines.Bytes())
		}
		if record.Properties.Position != position {
			l.t.Fatalf("audit export: position %d, want %d", record.Properties.Position, position)
		}
		have[record.Properties.RequestID] = true
	}
	return have
}
