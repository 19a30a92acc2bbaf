//go:build unix

// Package archive proves that the audit log leaves the database while the server runs, and that
// nothing is missing or twice afterwards, whatever kills the server meanwhile: the whole log is
// exported by way of the built server and compared with what was asked for, and its files are
// verified by the command line with the public key alone.
package archive

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// maxStored is the number of bytes that an entry may take in the database on average: the pages of the
// journal and its indexes, under the load of callers enough that entries share rows.
const maxStored = 400

const callers = 64

func TestSegmentsLeave(t *testing.T) {
	entries := served.Size(4000, 5_000_000)
	s := served.New(t, "", "--test-clock", "audit.segment_age=1m", fmt.Sprintf("audit.segment_entries=%d", served.Size(1000, 200_000)))
	s.Start()
	s.Must("PUT", served.VaultHost+"/secrets/a?api-version=7.6", `{"value":"x"}`)
	answered := fill(t, s, entries)
	s.Stop()
	per := query(t, s, `SELECT SUM(pgsize) / (SELECT SUM(entries) FROM journal) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = 'journal')`)
	t.Logf("an entry takes %d bytes of the database; %d share a row", per, query(t, s, `SELECT SUM(entries) / COUNT(*) FROM journal`))
	if per > maxStored {
		t.Errorf("an entry takes %d bytes of the database, want at most %d", per, maxStored)
	}
	before := query(t, s, `SELECT SUM(entries) FROM journal`) + archived(t, s)

	// An hour later all of it has to leave. The server is killed at any moment of that, and goes on.
	shell(t, s, `INSERT INTO meta (key, value) VALUES ('clock_offset_us', '3600000000')`)
	for round := range 4 {
		s.Start()
		time.Sleep(time.Duration(round*40) * time.Millisecond) // any moment
		s.Kill()
	}
	s.Start()
	left := func() bool {
		return archived(t, s) >= before && query(t, s, `SELECT COALESCE(SUM(entries), 0) FROM journal`) < 100
	}
	if !served.Poll(5*time.Minute, left) {
		t.Fatalf("%d of %d entries are in segments, and in the journal %d", archived(t, s), before, query(t, s, `SELECT SUM(entries) FROM journal`))
	}
	ids := checkExport(t, s, answered)
	checkFiles(t, s, ids)
}

// A requestID is a GUID without its dashes.
type requestID [16]byte

func parseRequestID(t testing.TB, text string) (id requestID) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != len(id) {
		t.Fatalf("request id %q: want a GUID", text)
	}
	return requestID(b)
}

// fill lets clients read a secret, and returns the ids that the answers had.
func fill(t *testing.T, s *served.Server, entries int) (answered []requestID) {
	var left atomic.Int64
	left.Store(int64(entries))
	var wg sync.WaitGroup
	ids := make([][]requestID, callers)
	for n := range ids {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				status, id, _, err := s.Call("GET", served.VaultHost, "/secrets/a?api-version=7.6", "")
				if err != nil || status != http.StatusOK {
					t.Errorf("GET: %d, %v", status, err)
					return
				}
				ids[n] = append(ids[n], parseRequestID(t, id))
			}
		})
	}
	wg.Wait()
	return slices.Concat(ids...)
}

// checkExport reads the whole log as an auditor does, and returns the request ids by position: each
// that was answered with is there, and none is twice.
func checkExport(t *testing.T, s *served.Server, answered []requestID) (ids []requestID) {
	t.Helper()
	eachLine(t, func(line []byte) { ids = append(ids, entryAt(t, line, int64(len(ids)+1))) },
		"audit", "export", "--socket", s.Socket())
	seen := make(map[requestID]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			t.Fatalf("request %x stands there twice", id)
		}
		seen[id] = true
	}
	missing := 0
	for _, id := range answered {
		if !seen[id] {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d requests that were answered are not in the export", missing, len(answered))
	}
	return ids
}

func entryAt(t *testing.T, line []byte, want int64) requestID {
	t.Helper()
	var record struct {
		Properties struct {
			RequestID string `json:"requestId"`
			Position  int64  `json:"position"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(line, &record); err != nil || record.Properties.Position != want {
		t.Fatalf("position %d, %v, want %d: %s", record.Properties.Position, err, want, line)
	}
	return parseRequestID(t, record.Properties.RequestID)
}

// checkFiles verifies the files without the server, and that they say the same.
func checkFiles(t *testing.T, s *served.Server, ids []requestID) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, run(t, "audit", "key", "--socket", s.Socket()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	files, err := filepath.Glob(filepath.Join(s.Data(), "audit", "*.segment"))
	if err != nil || len(files) < 2 {
		t.Fatalf("files %q, %v: want several", files, err)
	}
	n := 0
	eachLine(t, func(line []byte) {
		id := entryAt(t, line, int64(n+1))
		if n < len(ids) && id != ids[n] { // what has come since the export may have left as well
			t.Fatalf("position %d is of request %x in the file and %x in the export", n+1, id, ids[n])
		}
		n++
	}, append([]string{"audit", "verify", "--key", key, "--print"}, files...)...)
	if n < len(ids)/2 {
		t.Errorf("the files hold %d of %d entries", n, len(ids))
	}
	cut := files[len(files)-1]
	if err := os.Truncate(cut, 1000); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(served.Binary(t), append([]string{"audit", "verify", "--key", key}, files...)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), filepath.Base(cut)) {
		t.Errorf("verify of a cut file: %v, %s", err, out)
	}
}

func run(t *testing.T, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(served.Binary(t), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args[:2], " "), err, stderr.String())
	}
	return out
}

// eachLine runs the command line and looks at each line as it comes: together they may be gigabytes.
func eachLine(t *testing.T, look func(line []byte), args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), served.Binary(t), args...)
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		look(lines.Bytes())
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args[:2], " "), err, stderr.String())
	}
}

// shell runs SQL in SQLite's own shell, beside the server.
func shell(t *testing.T, s *served.Server, q string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-cmd", ".timeout 5000", filepath.Join(s.Data(), "strongroom.db"), q).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func query(t *testing.T, s *served.Server, q string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(shell(t, s, q), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return n
}

// archived is the last position that is in a segment.
func archived(t *testing.T, s *served.Server) int64 {
	return query(t, s, `SELECT COALESCE(MAX(last_position), 0) FROM audit_segments`)
}
