package server

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"strongroom/internal/config"
	"strongroom/internal/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// eachApp runs a test once on each engine; start makes a new, initialised server without
// listeners.
func eachApp(t *testing.T, test func(t *testing.T, start func(t *testing.T) *app)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, func(t *testing.T) *app { return startApp(t, testConfig(t)) })
	})
	t.Run("postgresql", func(t *testing.T) {
		test(t, func(t *testing.T) *app {
			cfg := testConfig(t)
			cfg.Database = config.Database{Engine: "postgresql", URL: dbtest.NewDatabase(t), Connections: 8}
			return startApp(t, cfg)
		})
	})
}

// testConfig is that of dev in a temporary folder, on ports that the system picks.
func testConfig(t testing.TB) config.Config {
	t.Helper()
	c := config.Dev(filepath.Join(t.TempDir(), "data"))
	c.Listen, c.MetricsListen, c.IdentityListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return c.Complete()
}

func startApp(t testing.TB, cfg config.Config) *app {
	t.Helper()
	ctx := context.Background()
	o := Options{Config: cfg, Stderr: io.Discard, Version: "test"}
	if _, err := Init(ctx, o); err != nil {
		t.Fatal(err)
	}
	a, err := newApp(ctx, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}
