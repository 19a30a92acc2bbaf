package secrets

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
)

// sameData compares what callers see of a secret, but for its value.
var sameData = cmp.Options{cmpopts.IgnoreFields(Secret{}, "Value"), cmpopts.IgnoreUnexported(Secret{})}

func TestSetAndGet(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := draft("first")
		d.NotBefore, d.Expires, d.ContentType = new(int64(1)), new(int64(MaxDate)), new("text/plain")
		d.Tags = map[string]string{"a": "1"}
		first, err := f.trySet(f.vault, "Db-1", d)
		if err != nil {
			t.Fatal(err)
		}
		want := Secret{
			Name: "Db-1", Version: first.Version, Enabled: true, NotBefore: d.NotBefore, Expires: d.Expires,
			Created: first.Created, Updated: first.Created, ContentType: d.ContentType, Tags: d.Tags,
		}
		if diff := cmp.Diff(want, first, sameData); diff != "" {
			t.Errorf("set (-want +got):\n%s", diff)
		}
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first.Version) || first.Created.IsZero() {
			t.Errorf("version %q created %v", first.Version, first.Created)
		}
		f.wantValue("DB-1", "", "first")
		f.view(func(tx *db.Tx) error {
			got, err := f.Get(tx, f.vault, "db-1", strings.ToUpper(first.Version))
			if diff := cmp.Diff(want, got, sameData); diff != "" {
				t.Errorf("get (-want +got):\n%s", diff)
			}
			return err
		})

		// Nothing is inherited, and the name keeps its first spelling.
		second := f.set("dB-1", "second")
		want = Secret{Name: "Db-1", Version: second.Version, Enabled: true, Created: second.Created, Updated: second.Created}
		if diff := cmp.Diff(want, second, sameData); diff != "" {
			t.Errorf("second version (-want +got):\n%s", diff)
		}
		f.wantValue("db-1", "", "second")
		f.wantValue("db-1", first.Version, "first")
		f.set("empty", "")
		f.wantValue("empty", "", "")
		f.set("bytes", "a\x00\n\xff")
		f.wantValue("bytes", "", "a\x00\n\xff")

		for _, tt := range []struct{ name, version string }{
			{"none", ""}, {"db", ""}, {"db-1", NewVersion()}, {"empty", first.Version}, {"db-1", "x"}, {"db-1", "a\x00"}, {"db-1", first.Version + "\n"},
		} {
			_, err := f.get(tt.name, tt.version)
			wantNoSecret(t, err)
		}
		other := f.newVault("vault2", subscription, "westeurope", false)
		other.DataKeySealed = f.vault.DataKeySealed // another vault finds nothing, though it brings this one's key
		f.view(func(tx *db.Tx) error {
			_, err := f.Get(tx, other, "db-1", "")
			wantNoSecret(t, err)
			return nil
		})
	})
}

// A disabled version has no value to give, and a disabled latest one hides older ones.
func TestDisabledVersions(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first := f.set("a", "first")
		d := draft("second")
		d.Enabled = new(false)
		second, err := f.trySet(f.vault, "a", d)
		if err != nil || second.Enabled || string(second.Value.Reveal()) != "second" {
			t.Errorf("set a disabled version: %v, enabled %v", err, second.Enabled)
		}
		_, err = f.get("a", "")
		wantRefusal(t, err, apierr.ForbiddenKind, "SecretDisabled")
		_, err = f.get("a", second.Version)
		wantRefusal(t, err, apierr.ForbiddenKind, "SecretDisabled")
		f.wantValue("a", first.Version, "first")
		f.patch("a", "", Patch{Enabled: new(true)})
		f.wantValue("a", "", "second")
		f.patch("a", "", Patch{Enabled: new(false)})
		f.set("a", "third") // works on a disabled one
		f.wantValue("a", "", "third")
	})
}

// Dates do not keep a value from being read.
func TestDatesAreInformation(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := draft("x")
		d.Expires = new(int64(1))
		if _, err := f.trySet(f.vault, "expired", d); err != nil {
			t.Fatal(err)
		}
		d.Expires, d.NotBefore = nil, new(int64(MaxDate))
		if _, err := f.trySet(f.vault, "early", d); err != nil {
			t.Fatal(err)
		}
		f.wantValue("expired", "", "x")
		f.wantValue("early", "", "x")
	})
}

func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first, second := f.set("a", "first"), f.set("a", "second")
		f.setClock(time.Hour)
		got := f.patch("A", first.Version, Patch{
			NotBefore: Date{true, new(int64(5))}, Expires: Date{true, new(int64(6))}, ContentType: new("t"), Tags: &map[string]string{"x": "y"},
		})
		want := first
		want.NotBefore, want.Expires, want.ContentType, want.Tags = new(int64(5)), new(int64(6)), new("t"), map[string]string{"x": "y"}
		want.Updated = got.Updated
		if diff := cmp.Diff(want, got, sameData); diff != "" || got.Updated.Sub(first.Updated) < time.Hour {
			t.Errorf("updated at %v (-want +got):\n%s", got.Updated, diff)
		}
		got = f.patch("a", strings.ToUpper(first.Version), Patch{Enabled: new(false), Expires: Date{Given: true}, Tags: &map[string]string{}})
		want.Enabled, want.Expires, want.Tags, want.Updated = false, nil, map[string]string{}, got.Updated
		if diff := cmp.Diff(want, got, sameData); diff != "" {
			t.Errorf("updated again (-want +got):\n%s", diff)
		}
		f.patch("a", first.Version, Patch{Enabled: new(true)})
		f.wantValue("a", first.Version, "first")

		// Without a version it is the latest, and an empty patch moves its date alone.
		got = f.patch("a", "", Patch{})
		want = second
		want.Updated = got.Updated
		if diff := cmp.Diff(want, got, sameData); diff != "" || !got.Updated.After(second.Updated) {
			t.Errorf("empty patch (-want +got):\n%s", diff)
		}
		f.wantValue("a", "", "second")
		for _, tt := range []struct{ name, version string }{{"none", ""}, {"a", NewVersion()}} {
			_, err := f.tryPatch(tt.name, tt.version, Patch{})
			wantNoSecret(t, err)
		}
	})
}

// "Latest" is the highest ordinal: a clock that was put back changes nothing.
func TestLatestWhenTheClockGoesBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.setClock(48 * time.Hour)
		first := f.set("a", "first")
		f.setClock(-48 * time.Hour)
		second := f.set("a", "second")
		if !second.Created.Before(first.Created) {
			t.Fatalf("the clock did not go back: %v, then %v", first.Created, second.Created)
		}
		f.wantValue("a", "", "second")
		f.view(func(tx *db.Tx) error {
			list, err := f.List(tx, f.vault, Page{Limit: 10})
			if len(list) != 1 || list[0].Version != second.Version {
				t.Errorf("list = %+v, want version %s alone", list, second.Version)
			}
			return err
		})
		f.remove("a")
		recovered, err := f.tryRecover("a")
		if err != nil || recovered.Version != second.Version {
			t.Errorf("recovered %q, %v, want the latest, %q", recovered.Version, err, second.Version)
		}
		blob := f.backup("a")
		target := f.newVault("vault2", subscription, "westeurope", false)
		restored, err := f.tryRestore(target, blob)
		if err != nil || restored.Version != second.Version {
			t.Errorf("restored %q, %v, want the latest, %q", restored.Version, err, second.Version)
		}
	})
}

func TestLifeOfASecret(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first := f.set("Life", "first")
		second := f.set("life", "second")
		gone := f.remove("LIFE")
		if diff := cmp.Diff(second, gone.Secret, sameData); diff != "" || gone.Value.Len() != 0 {
			t.Errorf("deleted (-want +got), value of %d bytes:\n%s", gone.Value.Len(), diff)
		}
		if gone.At.IsZero() || gone.Purge.Sub(gone.At) != 7*24*time.Hour {
			t.Errorf("deleted at %v, purge at %v, want seven days between", gone.At, gone.Purge)
		}
		for what, err := range map[string]error{
			"get":            third(f.get("life", "")),
			"get by version": third(f.get("life", first.Version)),
			"update":         third(f.tryPatch("life", "", Patch{})),
			"delete":         third(f.tryRemove(f.vault, "life")),
			"backup":         third(f.tryBackup("life")),
		} {
			t.Run(what, func(t *testing.T) { wantNoSecret(t, err) })
		}
		_, err := f.trySet(f.vault, "life", draft("x"))
		wantRefusal(t, err, apierr.ConflictKind, "ObjectIsDeletedButRecoverable")
		f.view(func(tx *db.Tx) error {
			got, err := f.GetDeleted(tx, f.vault, "life")
			if diff := cmp.Diff(gone, got, sameData); diff != "" {
				t.Errorf("get deleted (-want +got):\n%s", diff)
			}
			if list, err := f.Versions(tx, f.vault, "life", Page{Limit: 10}); err != nil || len(list) != 0 {
				t.Errorf("versions of a deleted secret = %d, %v, want none", len(list), err)
			}
			return err
		})

		back, err := f.tryRecover("lIFE")
		if diff := cmp.Diff(second, back, sameData); err != nil || diff != "" {
			t.Errorf("recovered: %v (-want +got):\n%s", err, diff)
		}
		f.wantValue("life", "", "second")
		f.wantValue("life", first.Version, "first")
		_, err = f.tryRecover("life")
		wantNoSecret(t, err)
		wantNoSecret(t, f.tryPurge(f.vault, "life")) // it lives
		testPurge(t, f, first.Version)
	})
}

func testPurge(t *testing.T, f *fixture, version string) {
	f.remove("life")
	if err := f.tryPurge(f.vault, "Life"); err != nil {
		t.Fatal(err)
	}
	wantNoSecret(t, f.tryPurge(f.vault, "life"))
	_, err := f.tryRecover("life")
	wantNoSecret(t, err)
	var rows int
	f.view(func(tx *db.Tx) error {
		return tx.QueryRow(`SELECT (SELECT COUNT(*) FROM secrets) + (SELECT COUNT(*) FROM secret_versions)`).Scan(&rows)
	})
	if rows != 0 {
		t.Errorf("a purge left %d rows", rows)
	}
	f.set("LIFE", "new")
	f.wantValue("life", "", "new")
	_, err = f.get("life", version)
	wantNoSecret(t, err)
}

// third drops what comes before an error.
func third[T any](_ T, err error) error { return err }

// Recorded of the service: a deleted secret whose latest version is disabled is not shown.
func TestDeletedAndDisabled(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set("a", "x")
		f.patch("a", "", Patch{Enabled: new(false)})
		f.remove("a")
		f.view(func(tx *db.Tx) error {
			_, err := f.GetDeleted(tx, f.vault, "a")
			wantRefusal(t, err, apierr.ForbiddenKind, "AccessDenied")
			_, err = f.GetDeleted(tx, f.vault, "none")
			wantNoSecret(t, err)
			return nil
		})
		if _, err := f.tryRecover("a"); err != nil {
			t.Errorf("recover: %v, want nil", err)
		}
	})
}

func TestPurgeProtection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		locked := f.newVault("locked", subscription, "westeurope", true)
		if _, err := f.trySet(locked, "a", draft("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.tryRemove(locked, "a"); err != nil {
			t.Fatal(err)
		}
		due := func() (out []Due) {
			f.view(func(tx *db.Tx) (err error) {
				out, err = f.Due(tx, 10)
				return err
			})
			return out
		}
		wantRefusal(t, f.tryPurge(locked, "a"), apierr.ForbiddenKind, "ForbiddenByPolicy")
		f.setClock(7*24*time.Hour - time.Minute)
		wantRefusal(t, f.tryPurge(locked, "a"), apierr.ForbiddenKind, "ForbiddenByPolicy")
		if got := due(); len(got) != 0 {
			t.Errorf("due a minute early: %v, want none", got)
		}
		f.setClock(7 * 24 * time.Hour)
		if got := due(); len(got) != 1 || got[0] != (Due{locked.ID, "a"}) {
			t.Errorf("due at the date: %v, want the secret", got)
		}
		if err := f.tryPurge(locked, "a"); err != nil {
			t.Errorf("purge at the date: %v, want nil", err)
		}
	})
}

// A vault's purge takes what it holds with it, and the secrets of a deleted vault wait for that.
func TestPurgeOfAVault(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		other := f.newVault("other", subscription, "westeurope", false)
		if _, err := f.trySet(other, "stays", draft("x")); err != nil {
			t.Fatal(err)
		}
		f.set("a", "x")
		f.set("b", "x")
		f.remove("b")
		f.update(func(tx *db.Tx) (err error) {
			f.vault, err = f.vaults.Delete(tx, f.vault, "deleter")
			return err
		})
		f.setClock(100 * 24 * time.Hour)
		f.update(func(tx *db.Tx) error {
			if due, err := f.Due(tx, 10); err != nil || len(due) != 0 {
				t.Errorf("due in a deleted vault: %v, %v, want none", due, err)
			}
			return f.vaults.PurgeVault(tx, f.vault, false)
		})
		f.view(func(tx *db.Tx) error {
			for _, table := range []string{"secrets", "secret_versions", "events"} {
				var mine, others int
				q := `SELECT COUNT(CASE WHEN vault_id = $1 THEN 1 END), COUNT(CASE WHEN vault_id <> $1 THEN 1 END) FROM ` + table
				if err := tx.QueryRow(q, f.vault.ID).Scan(&mine, &others); err != nil || mine != 0 || others != 1 {
					t.Errorf("%s: %d rows of the purged vault, %d of the other, %v, want 0 and 1", table, mine, others, err)
				}
			}
			return nil
		})
	})
}

func TestLists(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var versions []string
		for i := range 5 {
			f.set(fmt.Sprint("Name-", i), "x")
			versions = append(versions, f.set("Name-0", "x").Version)
		}
		f.remove("name-3")
		f.remove("name-4")
		slices.Sort(versions)
		f.view(func(tx *db.Tx) error {
			for _, tt := range []struct {
				after string
				limit int
				want  string
			}{
				{"", 10, "Name-0 Name-1 Name-2"},
				{"", 2, "Name-0 Name-1"},
				{"name-0", 1, "Name-1"},
				{"name-2", 10, ""},
			} {
				got, err := f.List(tx, f.vault, Page{tt.after, tt.limit})
				if names := namesOf(got); err != nil || names != tt.want {
					t.Errorf("List(%q, %d) = %q, %v, want %q", tt.after, tt.limit, names, err, tt.want)
				}
				for _, v := range got {
					if v.Value.Len() != 0 {
						t.Error("a list holds a value")
					}
				}
			}
			deleted, err := f.ListDeleted(tx, f.vault, Page{"name-3", 10})
			if err != nil || len(deleted) != 1 || deleted[0].Name != "Name-4" || deleted[0].At.IsZero() {
				t.Errorf("ListDeleted = %+v, %v, want Name-4", deleted, err)
			}
			all, err := f.Versions(tx, f.vault, "NAME-0", Page{Limit: 100})
			if err != nil || len(all) != 6 {
				t.Fatalf("Versions = %d, %v, want 6", len(all), err)
			}
			if !slices.IsSortedFunc(all, func(a, b Secret) int { return strings.Compare(a.Version, b.Version) }) {
				t.Error("versions are not in the order of their ids")
			}
			rest, err := f.Versions(tx, f.vault, "name-0", Page{all[2].Version, 2})
			if err != nil || len(rest) != 2 || rest[0].Version != all[3].Version {
				t.Errorf("Versions after the third: %d, %v, want the next two", len(rest), err)
			}
			if none, err := f.Versions(tx, f.vault, "none", Page{Limit: 10}); err != nil || none == nil || len(none) != 0 {
				t.Errorf("Versions of an unknown name = %v, %v, want an empty list", none, err)
			}
			return nil
		})
	})
}

func namesOf(list []Secret) string {
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

// The outbox has one event for each new version, and none for anything else.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		v := f.set("a", "x")
		f.patch("a", "", Patch{Enabled: new(false)})
		f.remove("a")
		var n int
		var data string
		f.view(func(tx *db.Tx) error {
			if err := tx.QueryRow(`SELECT COUNT(*) FROM events`).Scan(&n); err != nil {
				return err
			}
			return tx.QueryRow(`SELECT data FROM events WHERE vault_id = $1`, f.vault.ID).Scan(&data)
		})
		if n != 1 || !strings.Contains(data, v.Version) {
			t.Errorf("%d events, one with %s, want 1 with version %s", n, data, v.Version)
		}
	})
}
