package vaults

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/resource"
)

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		v := create(t, s, d, "Payroll", standard())
		want := Vault{
			ID: v.ID, Subscription: subscription, Group: "rg", Name: "Payroll", Location: "westeurope", SKU: "standard", RBAC: true,
			RetentionDays: 90, Tags: map[string]string{}, CreatedBy: creator, Created: v.Created, UpdatedBy: creator, Updated: v.Created,
			Properties:    Properties{AccessPolicies: []AccessPolicy{}, PublicNetworkAccess: "Enabled"},
			DataKeySealed: v.DataKeySealed,
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		if _, err := s.Ring.OpenDataKeys(v.ID, v.DataKeySealed); err != nil {
			t.Errorf("data key: %v", err)
		}
		view(t, d, func(tx *db.Tx) error {
			for what, get := range map[string]func() (Vault, error){
				"Named": func() (Vault, error) { return s.Named(tx, "PAYROLL") },
				"ByID":  func() (Vault, error) { return s.ByID(tx, v.ID) },
				"Get":   func() (Vault, error) { return s.Get(tx, strings.ToUpper(subscription), "RG", "payroll") },
			} {
				got, err := get()
				if diff := cmp.Diff(v, got); err != nil || diff != "" {
					t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
				}
			}
			_, err := s.Get(tx, subscription, "other", "payroll")
			wantRefusal(t, err, apierr.NotFoundKind, "ResourceNotFound")
			_, err = s.Get(tx, db.NewGUID(), "rg", "payroll")
			wantRefusal(t, err, apierr.NotFoundKind, "ResourceNotFound")
			for _, name := range []string{"nobody", "", "a\x00b", "\xff"} {
				_, err = s.Named(tx, name)
				wantRefusal(t, err, apierr.NotFoundKind, "VaultNotFound")
			}
			return nil
		})
		_, err := tryCreate(t, s, d, "pAYROLL", standard())
		wantRefusal(t, err, apierr.ConflictKind, "VaultAlreadyExists")
	})
}

func TestNamesOfVaults(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		for _, tt := range []struct {
			name string
			ok   bool
		}{
			{"abc", true},
			{"a-b-c", true},
			{strings.Repeat("a", 24), true},
			{"ab", false},
			{strings.Repeat("a", 25), false},
			{"1abc", false},
			{"-abc", false},
			{"abc-", false},
			{"a--b", false},
			{"a_bc", false},
			{"", false},
			{"abc\x00", false},
		} {
			v, err := tryCreate(t, s, d, tt.name, standard())
			if tt.ok && (err != nil || v.Name != tt.name) {
				t.Errorf("Create(%q) = %v, want nil", tt.name, err)
			}
			if !tt.ok {
				wantRefusal(t, err, apierr.BadRequestKind, "VaultNameNotValid")
			}
		}
	})
}

func TestAvailability(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		create(t, s, d, "taken", standard())
		remove(t, s, d, create(t, s, d, "deleted", standard()))
		for _, tt := range []struct {
			name, reason string
		}{
			{"free", ""},
			{"Taken", "AlreadyExists"},
			{"DELETED", "AlreadyExists"},
			{"x", "AccountNameInvalid"},
		} {
			view(t, d, func(tx *db.Tx) error {
				free, reason, message, err := s.Availability(tx, tt.name)
				if free != (tt.reason == "") || reason != tt.reason || (message == "") != free {
					t.Errorf("Availability(%q) = %v, %q, %q, want reason %q", tt.name, free, reason, message, tt.reason)
				}
				return err
			})
		}
	})
}

func TestLifeOfAVault(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		c := standard()
		c.RetentionDays, c.Tags = new(7), &map[string]string{"a": "b"}
		v := create(t, s, d, "life", c)
		gone := remove(t, s, d, v)
		if gone.Deleted.IsZero() || gone.Purge.Sub(gone.Deleted) != 7*24*time.Hour || gone.UpdatedBy != "deleter" {
			t.Errorf("deleted at %v, purge at %v by %q, want seven days between, by deleter", gone.Deleted, gone.Purge, gone.UpdatedBy)
		}
		view(t, d, func(tx *db.Tx) error {
			_, err := s.Named(tx, "life")
			wantRefusal(t, err, apierr.NotFoundKind, "VaultNotFound")
			_, err = s.Get(tx, subscription, "rg", "life")
			wantRefusal(t, err, apierr.NotFoundKind, "ResourceNotFound")
			got, err := s.GetDeleted(tx, strings.ToUpper(subscription), "West Europe", "LIFE")
			if diff := cmp.Diff(gone, got); err != nil || diff != "" {
				t.Errorf("GetDeleted: %v (-want +got):\n%s", err, diff)
			}
			_, err = s.GetDeleted(tx, subscription, "northeurope", "life")
			wantRefusal(t, err, apierr.NotFoundKind, "DeletedVaultNotFound")
			_, err = s.GetDeleted(tx, db.NewGUID(), "westeurope", "life")
			wantRefusal(t, err, apierr.NotFoundKind, "DeletedVaultNotFound")
			return nil
		})
		_, err := tryCreate(t, s, d, "life", standard())
		wantRefusal(t, err, apierr.ConflictKind, "ConflictError")
		testRecover(t, s, d, v)
	})
}

func testRecover(t *testing.T, s *Store, d *db.DB, v Vault) {
	try := func(sub, group string, location *string) (out Vault, err error) {
		err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
			out, err = s.Recover(tx, sub, group, v.Name, location, "recoverer")
			return err
		})
		return out, err
	}
	for _, tt := range []struct {
		sub, group string
		location   *string
	}{
		{db.NewGUID(), "rg", nil}, {subscription, "other", nil}, {subscription, "rg", new("northeurope")},
	} {
		_, err := try(tt.sub, tt.group, tt.location)
		wantRefusal(t, err, apierr.NotFoundKind, "DeletedVaultNotFound")
	}
	back, err := try(strings.ToUpper(subscription), "RG", new("West Europe"))
	if err != nil {
		t.Fatal(err)
	}
	want := v
	want.UpdatedBy, want.Updated = "recoverer", back.Updated
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("recovered (-want +got):\n%s", diff)
	}
	_, err = try(subscription, "rg", nil)
	wantRefusal(t, err, apierr.NotFoundKind, "DeletedVaultNotFound") // it lives
}

func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		var purged []string
		s.Contents = []func(*db.Tx, string) error{func(_ *db.Tx, id string) error {
			purged = append(purged, id)
			return nil
		}}
		v := remove(t, s, d, create(t, s, d, "brief", standard()))
		other := create(t, s, d, "other", standard())
		update(t, d, func(tx *db.Tx) error {
			purged = nil
			return s.PurgeVault(tx, v, false)
		})
		if len(purged) != 1 || purged[0] != v.ID {
			t.Errorf("contents purged of %q, want of %q", purged, v.ID)
		}
		view(t, d, func(tx *db.Tx) error {
			_, err := s.ByID(tx, v.ID)
			wantRefusal(t, err, apierr.NotFoundKind, "VaultNotFound")
			var n int
			err = tx.QueryRow(`SELECT COUNT(*) FROM vaults WHERE data_key_sealed = $1`, v.DataKeySealed).Scan(&n)
			if n != 0 {
				t.Error("the data key is still there")
			}
			if _, err := s.ByID(tx, other.ID); err != nil {
				t.Errorf("the other vault: %v", err)
			}
			return err
		})
		if again := create(t, s, d, "brief", standard()); again.ID == v.ID {
			t.Error("a new vault of the old name has the old id")
		}

		// What can't be removed keeps the vault.
		broken := errors.New("broken")
		s.Contents = append(s.Contents, func(*db.Tx, string) error { return broken })
		other = remove(t, s, d, other)
		if err := tryUpdate(t, d, func(tx *db.Tx) error { return s.PurgeVault(tx, other, false) }); !errors.Is(err, broken) {
			t.Errorf("PurgeVault = %v, want %v", err, broken)
		}
		view(t, d, func(tx *db.Tx) error {
			_, err := s.ByID(tx, other.ID)
			return err
		})
	})
}

func TestPurgeProtection(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		c := standard()
		c.PurgeProtection, c.RetentionDays = new(true), new(7)
		v := remove(t, s, d, create(t, s, d, "locked", c))
		purge := func() error { return tryUpdate(t, d, func(tx *db.Tx) error { return s.PurgeVault(tx, v, false) }) }
		due := func() (n int) {
			view(t, d, func(tx *db.Tx) error {
				found, err := s.Due(tx, 10)
				n = len(found)
				return err
			})
			return n
		}
		wantRefusal(t, purge(), apierr.ConflictKind, "MethodNotAllowed")
		setClock(t, d, 7*24*time.Hour-time.Minute)
		wantRefusal(t, purge(), apierr.ConflictKind, "MethodNotAllowed")
		if n := due(); n != 0 {
			t.Errorf("due a minute early: %d, want 0", n)
		}
		setClock(t, d, 7*24*time.Hour)
		if n := due(); n != 1 {
			t.Errorf("due at the date: %d, want 1", n)
		}
		if err := purge(); err != nil {
			t.Errorf("purge at the date: %v, want nil", err)
		}
	})
}

// Role assignments go with a vault and do not come back.
func TestDeletionTakesRights(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		v, other := create(t, s, d, "vault1", standard()), create(t, s, d, "vault10", standard())
		var principal string
		update(t, d, func(tx *db.Tx) error {
			g, err := s.Authz.Identity.CreateGroup(tx, "group")
			principal = g.ObjectID
			return err
		})
		for _, at := range []resource.Scope{v.Scope(), v.Scope().Object("secrets", "a"), other.Scope()} {
			update(t, d, func(tx *db.Tx) error {
				a := authz.Assignment{ID: db.NewGUID(), Scope: at.Text, RoleDefinitionID: authz.RoleAdministrator, PrincipalID: principal}
				_, _, err := s.Authz.Assign(tx, a, creator)
				return err
			})
		}
		remove(t, s, d, v)
		update(t, d, func(tx *db.Tx) error {
			_, err := s.Recover(tx, subscription, "rg", "vault1", nil, creator)
			return err
		})
		view(t, d, func(tx *db.Tx) error {
			left, err := s.Authz.List(tx, resource.Root, authz.Filter{})
			if len(left) != 1 || left[0].Scope != other.Scope().Text {
				t.Errorf("assignments = %+v, want the other vault's alone", left)
			}
			return err
		})
	})
}

func TestLists(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		update(t, d, func(tx *db.Tx) error {
			_, _, err := s.PutGroup(tx, ResourceGroup{Subscription: subscription, Name: "Rg2", Location: "local"})
			return err
		})
		for i := range 5 {
			create(t, s, d, fmt.Sprintf("Vault-%d", i), standard())
		}
		update(t, d, func(tx *db.Tx) error {
			_, err := s.Create(tx, NewID(), subscription, "rg2", "zebra", standard(), creator)
			return err
		})
		remove(t, s, d, create(t, s, d, "gone", standard()))
		view(t, d, func(tx *db.Tx) error {
			for _, tt := range []struct {
				group, after, want string
				limit              int
			}{
				{"", "", "Vault-0 Vault-1 Vault-2 Vault-3 Vault-4 zebra", 10},
				{"RG", "", "Vault-0 Vault-1", 2},
				{"rg", "vault-1", "Vault-2 Vault-3 Vault-4", 10},
				{"RG2", "", "zebra", 10},
				{"", "zebra", "", 10},
			} {
				got, err := s.List(tx, strings.ToUpper(subscription), tt.group, Page{After: tt.after, Limit: tt.limit})
				if names := namesOf(got); err != nil || names != tt.want {
					t.Errorf("List(%q, after %q) = %q, %v, want %q", tt.group, tt.after, names, err, tt.want)
				}
			}
			if got, err := s.ListDeleted(tx, subscription, Page{Limit: 10}); err != nil || namesOf(got) != "gone" {
				t.Errorf("ListDeleted = %q, %v, want gone", namesOf(got), err)
			}
			if got, err := s.List(tx, db.NewGUID(), "", Page{Limit: 10}); err != nil || len(got) != 0 {
				t.Errorf("List of another subscription = %q, %v, want none", namesOf(got), err)
			}
			return nil
		})
	})
}

func namesOf(list []Vault) string {
	var names []string
	for _, v := range list {
		names = append(names, v.Name)
	}
	return strings.Join(names, " ")
}

// Every change is seen by others through the revisions of directory and vault.
func TestRevisionsRise(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		revisions := func(id string) (directory, vault int64) {
			view(t, d, func(tx *db.Tx) error {
				directory = tx.Revision(db.Directory)
				return tx.QueryRow(`SELECT COALESCE(SUM(revision), 0) FROM revisions WHERE scope = $1`, db.VaultRevision(id)).Scan(&vault)
			})
			return directory, vault
		}
		v := create(t, s, d, "counted", standard())
		for what, change := range map[string]func(tx *db.Tx) error{
			"update": func(tx *db.Tx) error { _, err := s.Update(tx, v, Change{}, creator); return err },
			"delete": func(tx *db.Tx) error { _, err := s.Delete(tx, v, creator); return err },
		} {
			directory, vault := revisions(v.ID)
			update(t, d, change)
			if d2, v2 := revisions(v.ID); d2 <= directory || v2 <= vault {
				t.Errorf("%s: revisions went from %d, %d to %d, %d, want both to rise", what, directory, vault, d2, v2)
			}
		}
	})
}
