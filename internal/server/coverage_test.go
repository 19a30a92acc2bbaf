package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"strongroom/internal/operation"
)

// TestEveryOperationHasATranscript plays the transcripts and asks, of every operation that a face
// declares, for one line that succeeded. What counts is what the pipeline saw, not what a file
// says; requests that only prepare a transcript do not count.
func TestEveryOperationHasATranscript(t *testing.T) {
	files, err := fs.Glob(os.DirFS("testdata/transcripts"), "*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{} // by face and operation
	var declared []string
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("testdata/transcripts", file))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(file, func(t *testing.T) {
			a := startApp(t, testConfig(t))
			tr := newTranscript(t, a)
			a.pipeline.Observe = func(face, operation string, status int, _ time.Duration) {
				if status >= 200 && status < 300 {
					seen[face+" "+operation] = true
				}
			}
			tr.play(string(text))
			declared = declaredOperations(a)
		})
	}
	for _, op := range declared {
		if !seen[op] {
			t.Errorf("no transcript has an answer of 2xx of %s", op)
		}
	}
}

// declaredOperations lists the operations of all faces as "face operation".
func declaredOperations(a *app) []string {
	var out []string
	add := func(table *operation.Table) {
		for _, op := range table.Ops {
			out = append(out, table.Face.Name()+" "+op.Name)
		}
	}
	for _, table := range a.faces {
		add(table)
	}
	add(a.managed)
	slices.Sort(out)
	return out
}
