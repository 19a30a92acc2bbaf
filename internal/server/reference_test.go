package server

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write generated documents")

// TestAPIReferenceIsCurrent holds docs/api.md to the operations as they are declared and as they answer.
func TestAPIReferenceIsCurrent(t *testing.T) {
	const file = "../../docs/api.md"
	want := []byte(apiReference(startApp(t, testConfig(t)), observed(t)))
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the declarations say; run \"make generate\"", file)
	}
}
