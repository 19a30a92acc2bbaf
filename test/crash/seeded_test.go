//go:build linux

package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// A seed is a fault put into the server by replacing a part of one source file while it is built.
type seed struct {
	name, file, old, new string
	want                 string // the kind of fault that has to be found
	long                 bool   // in the long form only
}

// put returns the source file, and what is in it with the fault. The text to replace must be there
// exactly once, so that a seed cannot fall on stone unnoticed.
func (f seed) put(t *testing.T) (file, source string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("../..", f.file))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), f.old); n != 1 {
		t.Fatalf("%s has %d times the text that the seed %q replaces, want once", f.file, n, f.name)
	}
	return file, strings.Replace(string(b), f.old, f.new, 1)
}

// build builds a server with the fault.
func (f seed) build(t *testing.T) string {
	t.Helper()
	original, source := f.put(t)
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "strongroom")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: source, overlay: string(list)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As "make build" does, so that its cache serves.
	build := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "./cmd/strongroom")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the server with the seed %q: %v: %s", f.name, err, out)
	}
	return binary
}

const commitCall = "\terr = stx.Commit()\n\tif isRolledBack(err) {"

var seeds = []seed{
	{
		name: "acknowledged before it is stored", file: "internal/db/committer.go", want: lost,
		old: commitCall, new: "\tanswer(batch, nil)\n\ttime.Sleep(30 * time.Millisecond)\n" + commitCall,
	},
	{
		name: "a change without its entry", file: "internal/db/journal.go", want: lost, long: true,
		old: "\tif len(tx.records) == 0 {\n\t\treturn nil\n\t}\n\tsize := 0", new: "\tif len(tx.records) == 0 || time.Now().UnixMicro()%16 == 0 {\n\t\treturn nil\n\t}\n\tsize := 0",
	},
	{
		name: "one request makes two versions", file: "internal/dataplane/secrets.go", want: double, long: true,
		old: "\t\ts, err := f.secrets.Set(tx, c.Vault, n, version, d)\n",
		new: "\t\tif _, err := f.secrets.Set(tx, c.Vault, n, secrets.NewVersion(), d); err != nil {\n\t\t\treturn SecretBundle{}, err\n\t\t}\n" +
			"\t\ts, err := f.secrets.Set(tx, c.Vault, n, version, d)\n",
	},
}

// Each seeded fault must be found within a few rounds.
func TestSeededFaultsAreFound(t *testing.T) {
	for _, f := range seeds {
		if f.long && !served.IsLong() {
			f.put(t)
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			sc := newScene(t, nil, "")
			sc.s.Start()
			ground := newGround(t, sc)
			sc.s.Stop()
			sc.s.Path = f.build(t)
			for round := range 10 {
				sc.up()
				if found := sc.roundWithFaults(t, ground, round); found[f.want] > 0 {
					t.Logf("found in round %d: %v", round, found)
					return
				}
			}
			t.Error("not found in 10 rounds")
		})
	}
}

// roundWithFaults counts the faults of one round with a kill. That the server can't be asked any
// more is none of the kinds.
func (sc *scene) roundWithFaults(t *testing.T, g *ground, round int) map[string]int {
	l := g.newLoad(round)
	l.start()
	<-time.After(time.Second)
	sc.s.Kill()
	l.end()
	sc.up()
	faults, err := l.check(g.log)
	if err != nil {
		t.Logf("round %d: %v", round, err)
	}
	found := map[string]int{}
	for _, f := range faults {
		found[f.kind]++
	}
	return found
}
