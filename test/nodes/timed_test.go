//go:build unix

package nodes

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
)

// Nobody can have signing keys, the list of audit segments and the settings of the keyring changed
// hundreds of times: the scheduler changes them at most once a day or once a minute, or a change of
// root keys does. So two nodes' stores are put over one database here, without their processes.

// pair opens one database twice. With a clock that can be set, time passes by a row.
func pair(t *testing.T, settable bool) [2]*db.DB {
	t.Helper()
	o := dbtest.PostgreSQLOptions(t)
	first := dbtest.Open(t, o)
	if settable {
		err := first.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta(db.MetaTestClock, "yes") })
		if err != nil {
			t.Fatal(err)
		}
		first = dbtest.Open(t, o)
	}
	return [2]*db.DB{first, dbtest.Open(t, o)}
}

// changeSigningKeys lets one node make the next key, and the other publish it.
func changeSigningKeys(t *testing.T, changes int) {
	nodes := pair(t, false)
	var issuers [2]*identity.Issuer
	for n := range issuers {
		// A key's time is over as soon as it has begun, so that each look makes another one.
		issuers[n] = identity.NewIssuer(&identity.Store{Ring: dbtest.Ring(t), Tenant: dbtest.Tenant}, time.Hour, time.Microsecond)
	}
	keys := func(n int) (ids []string) {
		err := nodes[n].View(t.Context(), func(tx *db.Tx) error {
			all, err := issuers[n].Keys(tx)
			for _, k := range all {
				ids = append(ids, k.ID)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for i := range changes {
		on, at := i%2, 1-i%2
		before := keys(on)
		if err := issuers[on].EnsureSigningKey(t.Context(), nodes[on]); err != nil {
			t.Fatal(err)
		}
		made := keys(on)
		if got := keys(at); !slices.Equal(got, made) || len(got) != len(before)+1 {
			t.Fatalf("change %d: the other node publishes %d keys, this one %d after %d", i, len(got), len(made), len(before))
		}
	}
}

// changeSegments lets one node move an entry of the audit log out of the database, and the other
// read it.
func changeSegments(t *testing.T, changes int) {
	nodes := pair(t, true)
	folder := filepath.Join(t.TempDir(), "segments")
	for i := range changes {
		on, at := nodes[i%2], nodes[1-i%2]
		name, position := "Entry"+strconv.Itoa(i), int64(i+1)
		if err := on.Append(t.Context(), audit.Entry{Operation: name}.Encode()); err != nil {
			t.Fatal(err)
		}
		err := on.Update(t.Context(), audit.NumberingLocks(), func(tx *db.Tx) error {
			if _, err := audit.Number(tx); err != nil {
				return err
			}
			// An hour passes: what has just been stored does not leave.
			const q = `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2`
			_, err := tx.Exec(q, db.MetaClockOffset, fmt.Sprint(position*time.Hour.Microseconds()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		archive := &audit.Archive{
			Folder: folder, Node: strconv.Itoa(i % 2), Deployment: "0123456789abcdef", Tenant: dbtest.Tenant, MaxAge: time.Minute, MaxEntries: 1,
		}
		if err := archive.Close(t.Context(), on); err != nil {
			t.Fatal(err)
		}
		checkMoved(t, at, archive, position, name)
	}
}

// checkMoved wants an entry to be read from a segment: it is not in the journal any more.
func checkMoved(t *testing.T, at *db.DB, archive *audit.Archive, position int64, name string) {
	t.Helper()
	err := at.View(t.Context(), func(tx *db.Tx) error {
		var left int
		if err := tx.QueryRow(`SELECT COUNT(*) FROM journal`).Scan(&left); err != nil {
			return err
		}
		got, err := archive.Read(tx, position, 10)
		if err == nil && (left != 0 || len(got) != 1 || got[0].Entry.Operation != name) {
			err = fmt.Errorf("%d rows in the journal, and %d entries from position %d on: want none, and %s", left, len(got), position, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// changeSettings lets one node say that keys are being changed, and that they are not, and asks the
// other.
func changeSettings(t *testing.T, changes int) {
	nodes := pair(t, false)
	for i := range changes {
		on, at, want := nodes[i/2%2], nodes[1-i/2%2], i%2 == 0
		err := on.Update(t.Context(), keyring.ChangeLocks(), func(tx *db.Tx) error {
			return keyring.SetPending(tx, dbtest.Tenant, want)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = at.View(t.Context(), func(tx *db.Tx) error {
			got, err := keyring.Pending(tx)
			if err == nil && got != want {
				err = fmt.Errorf("the other node says %t, want %t", got, want)
			}
			return err
		})
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}
