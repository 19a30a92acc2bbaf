// Package dbtest gives tests a database of each engine: SQLite in a temporary folder, and a real
// PostgreSQL that is started once per test program, as an unprivileged user, on a free loopback
// port, and stopped when the program ends.
package dbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// Main is for TestMain: it runs the tests and stops PostgreSQL, if one was started.
func Main(m *testing.M) {
	code := m.Run()
	stopShared()
	os.Exit(code)
}

// Each runs a test once on each engine with an empty, migrated database. Tests that need
// PostgreSQL are in programs whose TestMain is Main.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Run("sqlite", func(t *testing.T) { test(t, Open(t, SQLiteOptions(t))) })
	t.Run("postgresql", func(t *testing.T) { test(t, Open(t, PostgreSQLOptions(t))) })
}

// EachOptions is Each for tests that open the database themselves.
func EachOptions(t *testing.T, test func(t *testing.T, o db.Options)) {
	t.Run("sqlite", func(t *testing.T) { test(t, SQLiteOptions(t)) })
	t.Run("postgresql", func(t *testing.T) { test(t, PostgreSQLOptions(t)) })
}

// Tenant is the tenant that Open binds a database to.
const Tenant = "11111111-2222-4333-8444-555555555555"

// Open opens and migrates a database, binds it to Ring, and closes it when the test ends.
func Open(t testing.TB, o db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d.Bind(Tenant, Ring(t))
	t.Cleanup(func() { d.Close() })
	return d
}

// A deployment is a keyring and the root keys that it was made with.
type deployment struct {
	ring  *envelope.Ring
	roots *envelope.RootKeys
}

var common = sync.OnceValues(newDeployment)

func newDeployment() (deployment, error) {
	dir, err := os.MkdirTemp("", "strongroom-dbtest-")
	if err != nil {
		return deployment{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "root.key")
	if err := envelope.CreateRootKeyFile(path); err != nil {
		return deployment{}, err
	}
	keys, err := envelope.OpenRootKeyFile(path, dir, true)
	if err != nil {
		return deployment{}, err
	}
	roots := envelope.NewRootKeys(keys...)
	r, _, err := envelope.NewRing(roots, "deployment")
	return deployment{r, roots}, err
}

// Ring is the keyring of the test program: a database that is opened again has the same.
func Ring(t testing.TB) *envelope.Ring {
	t.Helper()
	return must(t, common).ring
}

// NewRing is the keyring of another deployment.
func NewRing(t testing.TB) *envelope.Ring {
	t.Helper()
	return must(t, newDeployment).ring
}

// Roots are the root keys of Ring: one, unless a test adds others.
func Roots(t testing.TB) *envelope.RootKeys {
	t.Helper()
	return must(t, common).roots
}

func must(t testing.TB, make func() (deployment, error)) deployment {
	t.Helper()
	d, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// SQLiteOptions name a new file in a temporary folder.
func SQLiteOptions(t testing.TB) db.Options {
	return db.Options{Engine: db.SQLite, Path: filepath.Join(t.TempDir(), "strongroom.db"), Create: true}
}

// PostgreSQLOptions name a new, empty database on the test program's server.
func PostgreSQLOptions(t testing.TB) db.Options {
	t.Helper()
	return db.Options{Engine: db.PostgreSQL, URL: NewDatabase(t), Connections: 8, Create: true}
}

var (
	sharedOnce   sync.Once
	sharedServer *Server
	sharedErr    error
	databases    atomic.Int64
)

// NewDatabase creates an empty database on the shared server and returns its URL.
func NewDatabase(t testing.TB) string {
	t.Helper()
	sharedOnce.Do(func() { sharedServer, sharedErr = StartServer() })
	if sharedErr != nil {
		t.Fatalf("start PostgreSQL (Debian package postgresql; \"make deps\" installs it): %v", sharedErr)
	}
	name := fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))
	if err := sharedServer.CreateDatabase(name); err != nil {
		t.Fatal(err)
	}
	return sharedServer.URL(name)
}

func stopShared() {
	if sharedServer != nil {
		sharedServer.Stop()
	}
}
