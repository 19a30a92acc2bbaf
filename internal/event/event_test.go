package event

import (
	"errors"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// The members and their spelling are those of Event Grid's Key Vault events; numbers are whole
// seconds, and a date that is not set is null.
func TestAdd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		data := Data{VaultName: "v1", ObjectType: "Secret", ObjectName: "db\"-1", Version: "0123", EXP: new(int64(1893456000))}
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			return Add(tx, "tenant", "vault", SecretNewVersionCreated, data)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = d.View(t.Context(), func(tx *db.Tx) error {
			var id, tenant, vault, kind, subject, text string
			var created int64
			const q = `SELECT event_id, tenant_id, vault_id, type, subject, data, created_us FROM events`
			err := tx.QueryRow(q).Scan(&id, &tenant, &vault, &kind, &subject, &text, &created)
			if len(id) != 36 || tenant != "tenant" || vault != "vault" || subject != data.ObjectName || kind != "Microsoft.KeyVault.SecretNewVersionCreated" {
				t.Errorf("event %q of %q %q, type %q, subject %q", id, tenant, vault, kind, subject)
			}
			const want = `{"VaultName":"v1","ObjectType":"Secret","ObjectName":"db\"-1","Version":"0123","NBF":null,"EXP":1893456000}`
			if text != want {
				t.Errorf("data = %s, want %s", text, want)
			}
			if at := time.UnixMicro(created); time.Since(at).Abs() > time.Minute {
				t.Errorf("created %s, want now", at)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// An event stands or falls with the change that it tells of.
func TestAddIsPartOfTheTransaction(t *testing.T) {
	undone := errors.New("undone")
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			if err := Add(tx, "tenant", "vault", SecretNewVersionCreated, Data{}); err != nil {
				return err
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatalf("got %v, want the job's own error", err)
		}
		if n := rows(t, d); n != 0 {
			t.Errorf("events = %d, want none of an undone change", n)
		}
	})
}

func TestPrune(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			now := tx.Now
			for _, age := range []time.Duration{3 * time.Hour, time.Hour + time.Millisecond, time.Hour, 0} {
				tx.Now = now.Add(-age)
				if err := Add(tx, "tenant", "vault", SecretNewVersionCreated, Data{}); err != nil {
					return err
				}
			}
			tx.Now = now
			n, err := Prune(tx, time.Hour)
			if n != 2 {
				t.Errorf("pruned %d, want the 2 older than an hour", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := rows(t, d); n != 2 {
			t.Errorf("events = %d, want 2", n)
		}
	})
}

func rows(t testing.TB, d *db.DB) (n int) {
	t.Helper()
	err := d.View(t.Context(), func(tx *db.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM events`).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}
