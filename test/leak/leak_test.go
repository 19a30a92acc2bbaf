//go:build unix

// Package leak looks for what must be nowhere but where it belongs: values of secrets, access tokens,
// client secrets, secrets of runs, the root key, its passphrase and private keys. A built server is
// taken through every operation and every kind of fault at the most talkative log level; then all
// that it and its database wrote or said is searched, in every encoding that text commonly gets.
//
// A search that finds nothing proves nothing by itself. So a secret is planted in every kind of
// artefact, where it has to be found, and in every encoding.
package leak

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// values is how many values are stored.
func values() int {
	if served.IsLong() {
		return 1000
	}
	return 100
}

func TestNothingLeaksSQLite(t *testing.T) { nothingLeaks(t, "", "") }

func TestNothingLeaksPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	if err := pg.CreateDatabase("leak"); err != nil {
		t.Fatal(err)
	}
	nothingLeaks(t, pg.URL("leak"), pg.Dir())
}

// nothingLeaks takes a server through everything, and searches while it runs and after it stopped.
func nothingLeaks(t *testing.T, postgresURL, postgresDir string) {
	c := newCourse(t, postgresURL)
	c.everyOperation()
	n := values()
	if postgresURL != "" && !served.IsLong() {
		n = 30 // the short form is about the other database
	}
	c.values(n)
	c.allCovered()
	c.report(c.artefacts(postgresDir)) // before the database tidies up after itself
	c.closeSegments(postgresURL)
	running := c.artefacts(postgresDir)
	c.report(running)
	c.Stop()
	stopped := readAll(t, append([]string{c.Dir}, c.databaseDirs(postgresDir)...)...)
	stopped["log"] = []byte(c.Log())
	c.report(stopped)
	c.plant(running, postgresURL, postgresDir)
	t.Logf("%d needles in %d places, %d bytes", c.secrets.count, len(running)+len(stopped), size(running)+size(stopped))
}

// closeSegments has all entries leave the database: the server starts again an hour later.
func (c *course) closeSegments(postgresURL string) {
	c.t.Helper()
	c.Stop()
	c.store(postgresURL, "clock_offset_us", fmt.Sprint(time.Hour.Microseconds()))
	c.Start()
	c.Must("PUT", vault+"secrets/kept"+version, `{"value":"harmless"}`)
	closed := served.Poll(3*time.Minute, func() bool { // the task comes once a minute
		files, err := filepath.Glob(filepath.Join(c.Data(), "audit", "*"))
		return err == nil && len(files) > 0
	})
	if !closed {
		c.t.Errorf("no audit segment was closed: %.2000s", c.Log())
	}
}

func (c *course) databaseDirs(postgresDir string) []string {
	if postgresDir == "" {
		return nil
	}
	return []string{postgresDir}
}

// artefacts are all that can be read of a server while it runs.
func (c *course) artefacts(postgresDir string) map[string][]byte {
	c.t.Helper()
	all := readAll(c.t, append([]string{c.Dir}, c.databaseDirs(postgresDir)...)...)
	all["log"], all["answers"] = []byte(c.Log()), c.answers.Bytes()
	all["metrics"] = []byte(c.ReadMetrics())
	all["audit log"] = c.auditLog()
	all["dump"] = c.good("POST", served.ManagementHost+"/dump", "")
	for _, profile := range []string{"heap", "goroutine", "allocs", "mutex", "block", "cmdline"} {
		all["profile "+profile] = c.profile(profile)
	}
	for _, file := range []string{"cmdline", "environ", "limits", "status"} { // where the system has them
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.PID(), file)); err == nil {
			all["process "+file] = b
		}
	}
	if !bytes.Contains(all["metrics"], []byte(`operation="SecretSet"`)) || bytes.Contains(all["metrics"], []byte("leak-")) {
		c.t.Error("the metrics do not count SecretSet, or name a secret")
	}
	return all
}

// profile reads one of Go's profiles; with debug=1 they are text.
func (c *course) profile(name string) []byte {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+c.debugListen+"/debug/pprof/"+name+"?debug=2", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, b, err := served.Do(http.DefaultClient, req)
	if name != "cmdline" && (err != nil || resp.StatusCode != http.StatusOK || len(b) == 0) {
		c.t.Fatalf("profile %s: %v, %v", name, resp, err)
	}
	return b
}

func (c *course) report(haystacks map[string][]byte) {
	c.t.Helper()
	for place, hay := range haystacks {
		for _, found := range c.secrets.in(place, hay) {
			c.t.Errorf("leak: %s", found)
		}
	}
}

// plant puts a secret into every kind of artefact and wants it found there: the search reads what it
// says it reads.
func (c *course) plant(artefacts map[string][]byte, postgresURL, postgresDir string) {
	c.t.Helper()
	planted := newSecret()
	c.secrets.add("planted", planted, "")
	c.store(postgresURL, "planted", planted)
	if err := os.WriteFile(filepath.Join(c.Data(), "planted.gz"), []byte("x"+packed(c.t, planted)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	found := map[string]bool{}
	for place, hay := range readAll(c.t, append([]string{c.Dir}, c.databaseDirs(postgresDir)...)...) {
		if len(c.secrets.in(place, hay)) > 0 {
			found[kind(place)] = true
		}
	}
	for place, hay := range artefacts {
		if !strings.HasPrefix(place, "/") && len(c.secrets.in(place, slices.Concat(hay, []byte(planted)))) > 0 {
			found[place] = true
		}
	}
	want := []string{"log", "answers", "metrics", "audit log", "profile heap", ".gz", "database"}
	for _, kind := range want {
		if !found[kind] {
			c.t.Errorf("what was planted in %s was not found", kind)
		}
	}
}

// kind is a file's suffix, or that it is one of the database.
func kind(place string) string {
	if filepath.Ext(place) == ".gz" {
		return ".gz"
	}
	return "database"
}

func newSecret() string {
	var b [30]byte
	rand.Read(b[:])
	return strings.NewReplacer("+", "x", "/", "y").Replace(base64.StdEncoding.EncodeToString(b[:]))
}

func readAll(t *testing.T, dirs ...string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // files come and go while the server runs
			}
			if b, err := os.ReadFile(path); err == nil {
				out[path] = b
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func size(m map[string][]byte) (n int) {
	for _, b := range m {
		n += len(b)
	}
	return n
}
