package structure

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	tableDeclaration = regexp.MustCompile(`newTable\("(\w+)", (\w+|""),`)
	tableInSQL       = regexp.MustCompile(`(?:FROM|JOIN|INTO|UPDATE) ([a-z_]+)`)
	tableInDocs      = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\|")
)

// revisions are the words of docs/architecture.md for the sets of internal/db/table.go.
var revisions = map[string]string{"Authorisation": "authorisation", "Directory": "directory", `""`: "of the vault"}

// TestInputsOfDecisions holds the table of what decisions and answers read: every table that the
// packages name which decide is a sealed one, whose rows are covered by a revision, and
// docs/architecture.md says by which. Answers from memory rest on it.
func TestInputsOfDecisions(t *testing.T) {
	covered := map[string]string{}
	for _, m := range tableDeclaration.FindAllStringSubmatch(read(t, "internal/db/table.go"), -1) {
		covered[m[1]] = revisions[m[2]]
	}
	if len(covered) < 10 {
		t.Fatalf("found %d declarations of tables: want all", len(covered))
	}
	for _, dir := range []string{"identity", "authz", "vaults", "secrets"} {
		for _, table := range tablesNamedIn(t, "internal/"+dir) {
			if _, ok := covered[table]; !ok && table != "events" { // the outbox is written and never decides
				t.Errorf("internal/%s reads %s: no revision covers it; declare it in internal/db/table.go", dir, table)
			}
		}
	}
	documented := map[string]string{}
	_, section, _ := strings.Cut(read(t, "docs/architecture.md"), "## What a decision reads")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range tableInDocs.FindAllStringSubmatch(section, -1) {
		documented[m[1]] = m[2]
	}
	if got, want := fmt.Sprint(documented), fmt.Sprint(covered); got != want {
		t.Errorf("docs/architecture.md lists %s\nwant %s", got, want)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tablesNamedIn lists the tables that stand in the SQL of a package.
func tablesNamedIn(t *testing.T, dir string) (tables []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range tableInSQL.FindAllStringSubmatch(string(b), -1) {
			tables = append(tables, m[1])
		}
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}
