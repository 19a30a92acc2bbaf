package structure

import (
	"fmt"
	"io/fs"
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
	tenantless       = regexp.MustCompile("Every row carries a tenant id, except those of ((?:`[a-z_]+`(?:, | and )?)+)")
	createTable      = regexp.MustCompile(`(?s)CREATE TABLE (\w+) \((.*?)\n\)`)
)

// revisions are the words of docs/architecture.md for the sets of internal/db/table.go.
var revisions = map[string]string{"Authorisation": "authorisation", "Directory": "directory", "Segments": "segments", `""`: "of the vault"}

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

// tablesNamedIn lists the tables that stand in the SQL of a package.
func tablesNamedIn(t *testing.T, dir string) (tables []string) {
	t.Helper()
	for name, text := range readAll(t, dir+"/*.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range tableInSQL.FindAllStringSubmatch(text, -1) {
			tables = append(tables, m[1])
		}
	}
	slices.Sort(tables)
	return slices.Compact(tables)
}

// TestTenantIDs holds what docs/architecture.md says of tenant ids to the schemas of both engines.
func TestTenantIDs(t *testing.T) {
	m := tenantless.FindStringSubmatch(read(t, "docs/architecture.md"))
	if m == nil {
		t.Fatal("docs/architecture.md does not say which rows carry no tenant id")
	}
	var said []string
	for _, name := range regexp.MustCompile("`[a-z_]+`").FindAllString(m[1], -1) {
		said = append(said, strings.Trim(name, "`"))
	}
	slices.Sort(said)
	for _, engine := range []string{"sqlite", "postgresql"} {
		if got := tablesWithoutTenant(t, engine); !slices.Equal(got, said) {
			t.Errorf("%s: no tenant id in %q; docs/architecture.md says %q", engine, got, said)
		}
	}
}

// tablesWithoutTenant reads all migrations of an engine.
func tablesWithoutTenant(t *testing.T, engine string) (names []string) {
	t.Helper()
	for _, text := range readAll(t, "internal/db/migrations/"+engine+"/*.sql") {
		for _, m := range createTable.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[2], "tenant_id") {
				names = append(names, m[1])
			}
		}
	}
	slices.Sort(names)
	return names
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readAll reads the files of a pattern, of which there must be some.
func readAll(t *testing.T, pattern string) map[string]string {
	t.Helper()
	files, err := fs.Glob(os.DirFS(root), pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	all := map[string]string{}
	for _, file := range files {
		all[file] = read(t, file)
	}
	return all
}
