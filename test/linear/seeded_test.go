//go:build unix

package linear

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// hunt is in how many histories a fault must be found.
const hunt = 100

// faultVariable names the one fault that a sabotaged server has.
const faultVariable = "TEST_SERVER_FAULT"

// sabotage is a package of the sabotaged server alone: one binary has all faults, and a variable
// says which of them it makes.
const sabotage = `package sabotage

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

var name, kept = os.Getenv("` + faultVariable + `"), sync.Map{}

func Is(fault string) bool { return fault == name }
func Dawdle()              { time.Sleep(20 * time.Millisecond) }
func Seldom() bool         { return rand.IntN(10) == 0 }
func Often() bool          { return rand.IntN(2) == 0 }

func Keep(key string, v any) { kept.Store(key, v) }
func Recall(key string) any  { v, _ := kept.Load(key); return v }
`

// TestSeededFaultsAreFound makes mistakes in a copy of the product and plays histories with it,
// until one has no explanation: what finds nothing when there is nothing to find proves nothing
// otherwise.
func TestSeededFaultsAreFound(t *testing.T) {
	t.Setenv("TEST_SERVER_BINARY", buildSabotaged(t))
	for _, f := range faults {
		if !served.IsLong() && !slices.Contains(quick, f.name) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Setenv(faultVariable, f.name)
			found, after := f.hunt(t)
			if found == "" {
				t.Errorf("%s: not found in %d histories over %d processes", f.what, hunt, f.processes)
			}
			first, _, _ := strings.Cut(found, "\n")
			t.Logf("%s: found in history %d: %s", f.what, after, first)
		})
	}
}

// hunt plays histories until one shows the fault, and says how.
func (f fault) hunt(t *testing.T) (found string, after int) {
	c := newCluster(t, f.processes)
	for i := range hunt {
		d := none
		if i%2 == 1 {
			d = crowd
		}
		if found := c.play(rand.Uint64(), d, 0); found != "" {
			return found, i + 1
		}
		if c.deadlocks() > 0 {
			return "PostgreSQL met a deadlock", i + 1
		}
	}
	return "", hunt
}

// buildSabotaged builds the server with all faults. It fails where the product no longer has the
// text that a fault replaces.
func buildSabotaged(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replaced := map[string]string{filepath.Join(root, "internal/sabotage/sabotage.go"): write(t, dir, "sabotage.go", sabotage)}
	for file, text := range sabotagedSources(t, root) {
		replaced[filepath.Join(root, file)] = write(t, dir, strings.ReplaceAll(file, "/", "_"), text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "strongroom")
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", write(t, dir, "overlay.json", string(overlay)), "-o", binary, "./cmd/strongroom")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the sabotaged server: %v: %s", err, out)
	}
	return binary
}

// sabotagedSources are the files that have faults, by their path in the repository.
func sabotagedSources(t *testing.T, root string) map[string]string {
	t.Helper()
	sources := map[string]string{}
	for _, f := range faults {
		for _, e := range f.edits {
			text, ok := sources[e.file]
			if !ok {
				b, err := os.ReadFile(filepath.Join(root, e.file))
				if err != nil {
					t.Fatal(err)
				}
				text = substitute(t, "import of "+e.file, string(b), "\nimport (\n", "\nimport (\n\t\"strongroom/internal/sabotage\"\n")
			}
			sources[e.file] = substitute(t, f.name+" in "+e.file, text, e.old, e.new)
		}
	}
	return sources
}

func substitute(t *testing.T, what, text, from, to string) string {
	t.Helper()
	if n := strings.Count(text, from); n != 1 {
		t.Fatalf("%s: the text to replace stands there %d times: want once:\n%s", what, n, from)
	}
	return strings.Replace(text, from, to, 1)
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
