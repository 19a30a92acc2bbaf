//go:build unix

package tamper

import (
	"database/sql"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"

	"strongroom/internal/db/dbtest"
)

// all are the attacks on either engine.
func all() []attack {
	return slices.Concat(secretAttacks, vaultAttacks, authorisationAttacks, journalAttacks, systemAttacks, schemaAttacks, rollbacks)
}

func TestSQLite(t *testing.T) {
	b := newBase(t, "", "")
	for _, a := range all() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			a.run(t, b)
		})
	}
}

func TestPostgreSQL(t *testing.T) {
	database := dbtest.NewDatabase(t)
	b := newBase(t, database, database)
	for _, a := range slices.Concat(all(), postgresAttacks) {
		if !a.alsoPostgreSQL {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			a.run(t, b)
		})
	}
}

var copies atomic.Int64

// copyDatabase makes a database like a template that nobody is connected to, and returns its URL.
func copyDatabase(t *testing.T, template string) string {
	t.Helper()
	u, err := url.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	from, to := u.Path[1:], fmt.Sprintf("tamper%d", copies.Add(1))
	u.Path = "/postgres"
	d, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Exec(`CREATE DATABASE ` + to + ` TEMPLATE ` + from); err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + to
	return u.String()
}
