package structure

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	tenantless  = regexp.MustCompile("Every row carries a tenant id, except those of ((?:`[a-z_]+`(?:, | and )?)+)")
	createTable = regexp.MustCompile(`(?s)CREATE TABLE (\w+) \((.*?)\n\)`)
)

// TestTenantIDs holds what docs/architecture.md says of tenant ids to the schemas of both engines.
func TestTenantIDs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := tenantless.FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/architecture.md does not say which rows carry no tenant id")
	}
	var said []string
	for _, name := range regexp.MustCompile("`[a-z_]+`").FindAllString(string(m[1]), -1) {
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
	files, err := filepath.Glob(filepath.Join(root, "internal/db/migrations", engine, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations of %s: %d files, %v", engine, len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range createTable.FindAllSubmatch(text, -1) {
			if !strings.Contains(string(m[2]), "tenant_id") {
				names = append(names, string(m[1]))
			}
		}
	}
	slices.Sort(names)
	return names
}
