//go:build unix

package nodes

import (
	"database/sql"
	"net/http"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to cut a connection

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// TestConnectionCutInTheMiddle cuts a connection while a read waits for the database over it: the
// database is out of reach then, and the next read finds another connection.
func TestConnectionCutInTheMiddle(t *testing.T) {
	url := dbtest.NewDatabase(t)
	s := served.New(t, url)
	s.Start()
	s.Must("PUT", served.VaultHost+shared, `{"value":"x"}`)
	database, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()

	lock, err := database.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`LOCK TABLE secret_versions IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		status, _, _, _ := s.Call("GET", served.VaultHost, shared, "") // 0 if none came
		answered <- status
	}()
	cut := served.Poll(time.Minute, func() bool {
		const waiting = `
			SELECT COUNT(*) FROM (
				SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'
			) AS cut`
		var n int
		return database.QueryRow(waiting).Scan(&n) == nil && n > 0
	})
	if status := <-answered; !cut || status != http.StatusServiceUnavailable {
		t.Errorf("cut: %t, answered %d, want %d", cut, status, http.StatusServiceUnavailable)
	}
	lock.Rollback()
	s.Must("GET", served.VaultHost+shared, "")
}
