package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/arm"
	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/dataplane"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/event"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	tenant       = "11111111-2222-4333-8444-555555555555"
	subscription = "22222222-2222-4333-8444-555555555555"
)

// each runs a test on both engines with a scheduler over real faces, and a clock that can be set.
func each(t *testing.T, test func(t *testing.T, s *Scheduler)) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d, err := db.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		d.Bind(dbtest.Tenant, dbtest.Ring(t))
		err = d.Update(t.Context(), nil, func(tx *db.Tx) error {
			return errors.Join(tx.SetMeta("test_clock", "1"), keyring.Create(tx, tenant, dbtest.Roots(t).Newest(), nil))
		})
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
		test(t, newScheduler(t, dbtest.Open(t, o)))
	})
}

func newScheduler(t *testing.T, d *db.DB) *Scheduler {
	ring := dbtest.Ring(t)
	families := resource.Families{resource.NewFamily("default", "example.org", 443)}
	directory := &identity.Store{Ring: ring, Tenant: tenant}
	rights := &authz.Store{Tenant: tenant, Identity: directory}
	s := &Scheduler{
		DB: d, Log: slog.New(slog.DiscardHandler), Node: "node1",
		Vaults: &vaults.Store{Ring: ring, Tenant: tenant, Authz: rights}, Secrets: &secrets.Store{Ring: ring, Tenant: tenant},
		Issuer: identity.NewIssuer(directory, time.Hour, 30*24*time.Hour), ScrubEvery: time.Minute,
		Renewed:  func(*db.Tx) error { return nil },
		RootKeys: func(context.Context) ([]string, error) { return dbtest.Roots(t).IDs(), nil },
		Archive:  &audit.Archive{Folder: t.TempDir(), Deployment: "deployment", Tenant: tenant, MaxAge: time.Hour, MaxEntries: 1000},
	}
	s.Vaults.Contents = []func(*db.Tx, string) error{s.Secrets.PurgeAll}
	s.Pipeline = &operation.Pipeline{
		DB: d, Authz: rights, Issuer: s.Issuer, Families: families, Counter: &audit.Counter{}, Log: s.Log, Node: s.Node,
		Observe: func(string, string, int, time.Duration) {}, OnTampered: func() {},
	}
	s.DataPlane = dataplane.New(dataplane.Options{Ring: ring, Vaults: s.Vaults, Secrets: s.Secrets, ChallengeTenant: tenant})
	s.Management = arm.New(arm.Options{
		Skip: ring, Vaults: s.Vaults, Authz: rights, Identity: directory, Tenant: tenant, Subscription: subscription, Number: s.Number,
		Audit: s.Archive,
	})
	return s
}

func (s *Scheduler) update(t testing.TB, fn func(*db.Tx) error) {
	t.Helper()
	if err := s.DB.Update(t.Context(), []string{db.Authorisation, db.Directory}, fn); err != nil {
		t.Fatal(err)
	}
}

func (s *Scheduler) setClock(t testing.TB, ahead time.Duration) {
	t.Helper()
	s.update(t, func(tx *db.Tx) error {
		return tx.SetMeta("clock_offset_us", strconv.FormatInt(ahead.Microseconds(), 10))
	})
}

func (s *Scheduler) newVault(t testing.TB, name string) (v vaults.Vault) {
	t.Helper()
	s.update(t, func(tx *db.Tx) (err error) {
		if _, _, err := s.Vaults.PutGroup(tx, vaults.ResourceGroup{Subscription: subscription, Name: "rg", Location: "local"}); err != nil {
			return err
		}
		c := vaults.Change{Location: new("local"), TenantID: new(tenant), SKUName: new("standard"), RBAC: new(true), RetentionDays: new(7)}
		v, err = s.Vaults.Create(tx, vaults.NewID(), subscription, "rg", name, c, "creator")
		return err
	})
	return v
}

func (s *Scheduler) newDeletedSecret(t testing.TB, v vaults.Vault, name string) {
	t.Helper()
	s.update(t, func(tx *db.Tx) error {
		_, err := s.Secrets.Set(tx, v, name, secrets.NewVersion(), secrets.Draft{Value: envelope.NewValue([]byte("x"))})
		if err != nil {
			return err
		}
		_, err = s.Secrets.Delete(tx, v, name)
		return err
	})
}

// left lists the names that a query finds.
func (s *Scheduler) left(t testing.TB, q string) string {
	t.Helper()
	var names []string
	err := s.DB.View(t.Context(), func(tx *db.Tx) error {
		return tx.Query(func(row db.Scanner) error {
			var name string
			err := row.Scan(&name)
			names = append(names, name)
			return err
		}, q)
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// One row that does not verify must not keep what is due behind it alive.
func TestBrokenRowDoesNotStopThePurges(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		plain, broken := s.newVault(t, "plain"), s.newVault(t, "broken")
		s.newDeletedSecret(t, plain, "a")
		s.newDeletedSecret(t, broken, "b")
		s.newDeletedSecret(t, plain, "c")
		for _, name := range []string{"gone1", "gone2", "gone3"} {
			v := s.newVault(t, name)
			s.update(t, func(tx *db.Tx) error { _, err := s.Vaults.Delete(tx, v, "deleter"); return err })
		}
		s.update(t, func(tx *db.Tx) error {
			for _, q := range []string{
				`UPDATE secrets SET generation = generation + 1 WHERE name = 'a'`,
				`UPDATE vaults SET sku = 'x' WHERE name IN ('broken', 'gone1')`,
			} {
				if _, err := tx.Exec(q); err != nil {
					return err
				}
			}
			return nil
		})
		if err := errors.Join(s.purgeSecrets(t.Context()), s.purgeVaults(t.Context())); err != nil {
			t.Errorf("before the date: %v, want nil", err)
		}
		s.setClock(t, 8*24*time.Hour)
		if err := s.purgeSecrets(t.Context()); err == nil || !strings.Contains(err.Error(), "secret a") || !strings.Contains(err.Error(), "secret b") {
			t.Errorf("purgeSecrets = %v, want both that failed", err)
		}
		if err := s.purgeVaults(t.Context()); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("purgeVaults = %v, want the one that failed", err)
		}
		if got := s.left(t, `SELECT name FROM secrets ORDER BY name`); got != "a b" {
			t.Errorf("secrets left: %q, want the broken ones", got)
		}
		if got := s.left(t, `SELECT name FROM vaults ORDER BY name`); got != "broken gone1 plain" {
			t.Errorf("vaults left: %q, want the living and the broken ones", got)
		}
	})
}

func TestOneNodeDoesATask(t *testing.T) {
	each(t, func(t *testing.T, first *Scheduler) {
		second := *first
		second.Node = "node2"
		var ran []string
		job := func(node string) task {
			return task{"job", 10 * time.Second, true, func(context.Context) error {
				ran = append(ran, node)
				return nil
			}}
		}
		first.once(t.Context(), job("first"))
		second.once(t.Context(), job("second")) // the lease is the first's
		first.once(t.Context(), job("first"))
		first.setClock(t, 2*time.Minute) // it is silent for longer than its lease
		second.once(t.Context(), job("second"))
		first.once(t.Context(), job("first"))
		if got := strings.Join(ran, " "); got != "first first second" {
			t.Errorf("ran %q, want the first until its lease ran out, then the second", got)
		}
	})
}

// A task that lasts longer than its lease keeps it, and ends when another node has it all the same.
func TestLeaseIsKept(t *testing.T) {
	const ttl = 2 * time.Second
	each(t, func(t *testing.T, first *Scheduler) {
		second := *first
		second.Node = "node2"
		var log bytes.Buffer
		first.Log = slog.New(slog.NewTextHandler(&log, nil))
		ran := ""
		job := func(run func(context.Context) error) task { return task{"job", (ttl - time.Minute) / 3, true, run} }
		other := job(func(context.Context) error { ran += "second "; return nil })
		first.once(t.Context(), job(func(ctx context.Context) error {
			for range 8 {
				if err := db.Rest(ctx, ttl/4); err != nil {
					return err
				}
				second.once(t.Context(), other)
			}
			ran += "first "
			return nil
		}))
		first.once(t.Context(), job(func(ctx context.Context) error {
			err := first.DB.Update(t.Context(), nil, func(tx *db.Tx) error {
				_, err := tx.Exec(`UPDATE leases SET holder = 'node2', expires_us = $1 WHERE name = 'job'`, tx.Now.Add(ttl).UnixMicro())
				return err
			})
			if err != nil {
				return err
			}
			return db.Rest(ctx, time.Minute)
		}))
		if ran != "first " || !strings.Contains(log.String(), errLeaseLost.Error()) {
			t.Errorf("ran %q and logged %q, want the first alone, and that it lost the lease then", ran, log.String())
		}
	})
}

func TestFailedTaskIsLogged(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		var log bytes.Buffer
		s.Log = slog.New(slog.NewTextHandler(&log, nil))
		s.once(t.Context(), task{"job", time.Second, true, func(context.Context) error { return apierr.BadRequest("Code", "text") }})
		if !strings.Contains(log.String(), "task=job") || !strings.Contains(log.String(), "Code: text") {
			t.Errorf("log = %q, want the task and its error", log.String())
		}
	})
}

// Number goes on until nothing is left, however much has piled up.
func TestNumberEverything(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		const rows = 1100
		s.update(t, func(tx *db.Tx) error {
			for i := range rows {
				const q = `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac) VALUES ($1, '', $2, 1, $3, $4)`
				record, id := audit.Entry{Operation: "Test"}.Encode(), fmt.Sprintf("%032d", i)
				records := append([]byte{byte(len(record))}, record...)
				if _, err := tx.Exec(q, id, i, records, tx.Ring().RowMAC(db.JournalTable, id, "", i, 1, records)); err != nil {
					return err
				}
			}
			return nil
		})
		if err := s.Number(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := s.DB.View(t.Context(), func(tx *db.Tx) error {
			if last, err := audit.Last(tx); err != nil || last != rows {
				t.Errorf("last position = %d, %v, want %d", last, err, rows)
			}
			waiting, err := audit.Waiting(tx)
			if waiting {
				t.Error("entries still wait for a position")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestEventsArePruned(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		add := func(subject string) {
			s.update(t, func(tx *db.Tx) error {
				return event.Add(tx, tenant, "v", event.SecretNewVersionCreated, event.Data{ObjectName: subject})
			})
		}
		add("old")
		s.setClock(t, 2*time.Hour)
		add("new")
		if err := s.pruneEvents(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.left(t, `SELECT subject FROM events`); got != "new" {
			t.Errorf("events left: %q, want the new one", got)
		}
	})
}

// Run does everything at once, and ends with its context.
func TestRun(t *testing.T) {
	each(t, func(t *testing.T, s *Scheduler) {
		if err := s.DB.Append(t.Context(), audit.Entry{Operation: "Test"}.Encode()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		deadline := time.NewTimer(10 * time.Second)
		defer deadline.Stop()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		leases := []string{"close-segments", "node/node1", "number", "prune-events", "purge-secrets", "purge-vaults", "renew-keys", "signing-keys"}
		for _, id := range dbtest.Roots(t).IDs() {
			leases = append(leases, "root-key/"+id+"/node1")
		}
		slices.Sort(leases)
		for s.left(t, `SELECT name FROM leases ORDER BY name`) != strings.Join(leases, " ") ||
			s.left(t, `SELECT scope FROM revisions WHERE scope = 'audit' AND members > 0`) == "" || s.left(t, `SELECT key_id FROM signing_keys`) == "" {
			select {
			case <-deadline.C:
				t.Fatal("waited ten seconds for the first round of tasks")
			case <-tick.C:
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}
