package vaults

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// A writer to the database who is not us: whatever column of a vault is edited, the vault does not
// open under its name any more, nor in another's place.
func TestForeignRowsAreNoticed(t *testing.T) {
	edits := []string{
		"group_key = 'x'", "group_name = 'x'", "name = 'x'", "location = 'x'", "sku = 'x'", "rbac = NOT rbac",
		"retention_days = retention_days + 1", "purge_protection = NOT purge_protection",
		`properties = '{"publicNetworkAccess":"Enabled"}'`, `tags = '{"a":"b"}'`, "created_by = 'x'", "created_us = created_us + 1",
		"updated_by = 'x'", "updated_us = updated_us + 1", "deleted_us = 1", "purge_us = 1", "subscription_id = 'x'",
		"data_key_sealed = (SELECT o.data_key_sealed FROM vaults o WHERE o.name = 'other')",
		"row_mac = (SELECT o.row_mac FROM vaults o WHERE o.name = 'other')",
	}
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		v := create(t, s, d, "victim", standard())
		create(t, s, d, "other", standard())
		for _, edit := range edits {
			tamper(t, d, `UPDATE vaults SET `+edit+` WHERE name_key = 'victim'`, func(tx *db.Tx) error {
				_, err := s.Named(tx, "victim")
				return err
			})
		}
		read := func(name string) func(*db.Tx) error {
			return func(tx *db.Tx) error { _, err := s.Named(tx, name); return err }
		}
		tamper(t, d, `UPDATE vaults SET name_key = 'stolen' WHERE name_key = 'victim'`, read("stolen"))
		tamper(t, d, `UPDATE vaults SET vault_id = 'stolen' WHERE name_key = 'victim'`, read("victim"))
		tamper(t, d, `UPDATE vaults SET name_key = name_key || '-' WHERE name_key = 'other'`, func(tx *db.Tx) error {
			if _, err := tx.Exec(`UPDATE vaults SET name_key = 'other' WHERE name_key = 'victim'`); err != nil {
				return err
			}
			return read("other")(tx)
		})
		tamper(t, d, `UPDATE vaults SET sku = 'x'`, func(tx *db.Tx) error {
			_, err := s.List(tx, subscription, "", Page{Limit: 10})
			return err
		})
		view(t, d, func(tx *db.Tx) error {
			got, err := s.Named(tx, "victim")
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("the untouched vault (-want +got):\n%s", diff)
			}
			return err
		})
	})
}

// tamper edits rows, expects read to notice, and undoes the edit.
func tamper(t *testing.T, d *db.DB, edit string, read func(*db.Tx) error) {
	t.Helper()
	undo := errors.New("undo")
	err := tryUpdate(t, d, func(tx *db.Tx) error {
		if n, err := tx.Exec(edit); err != nil || n == 0 {
			t.Errorf("%s: %d rows, %v", edit, n, err)
			return undo
		}
		if err := read(tx); !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("%s: got %v, want ErrTampered", edit, err)
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Errorf("%s: %v", edit, err)
	}
}

func TestForeignGroupsAreNoticed(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		for _, edit := range []string{
			"name = 'x'", "location = 'x'", `tags = '{"a":"b"}'`, "created_us = 1", "updated_us = 1", "row_mac = tenant_mac.row_mac",
		} {
			q := `UPDATE resource_groups SET ` + edit
			if strings.Contains(edit, "tenant_mac") {
				create(t, s, d, "maker", standard())
				q += ` FROM (SELECT row_mac FROM vaults) AS tenant_mac`
			}
			tamper(t, d, q, func(tx *db.Tx) error { _, err := s.Group(tx, subscription, "rg"); return err })
		}
		tamper(t, d, `UPDATE resource_groups SET name_key = 'stolen'`, func(tx *db.Tx) error {
			_, err := s.Group(tx, subscription, "stolen")
			return err
		})
		tamper(t, d, `UPDATE resource_groups SET subscription_id = 'stolen'`, func(tx *db.Tx) error {
			_, err := s.Groups(tx, "stolen")
			return err
		})
	})
}

func TestResourceGroups(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		put := func(g ResourceGroup) (out ResourceGroup, created bool, err error) {
			err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
				out, created, err = s.PutGroup(tx, g)
				return err
			})
			return out, created, err
		}
		g, created, err := put(ResourceGroup{Subscription: strings.ToUpper(subscription), Name: "My.Group_(1)-a", Location: "North Europe", Tags: map[string]string{"a": "1"}})
		if err != nil || !created || g.Subscription != subscription || g.Location != "northeurope" {
			t.Errorf("PutGroup = %+v, %v, %v", g, created, err)
		}
		again, created, err := put(ResourceGroup{Subscription: subscription, Name: "MY.group_(1)-A", Location: "northeurope"})
		if err != nil || created || again.Name != g.Name || !again.Created.Equal(g.Created) {
			t.Errorf("PutGroup again = %+v, %v, %v, want the name and date of the first", again, created, err)
		}
		_, _, err = put(ResourceGroup{Subscription: subscription, Name: g.Name, Location: "westeurope"})
		wantRefusal(t, err, apierr.ConflictKind, "InvalidResourceGroupLocation")
		view(t, d, func(tx *db.Tx) error {
			got, err := s.Group(tx, strings.ToUpper(subscription), strings.ToUpper(g.Name))
			if err != nil || got.Name != g.Name || len(got.Tags) != 0 {
				t.Errorf("Group = %+v, %v, want %q without tags", got, err, g.Name)
			}
			all, err := s.Groups(tx, subscription)
			if err != nil || len(all) != 2 || all[0].Name != g.Name || all[1].Name != "rg" {
				t.Errorf("Groups = %+v, %v, want two by name", all, err)
			}
			for _, name := range []string{"none", "", "a\x00b", "\xff"} {
				_, err = s.Group(tx, subscription, name)
				wantRefusal(t, err, apierr.NotFoundKind, "ResourceGroupNotFound")
			}
			return nil
		})

		for _, tt := range []struct{ name, location, code string }{
			{"", "local", "InvalidResourceGroup"},
			{"ends.", "local", "InvalidResourceGroup"},
			{"a/b", "local", "InvalidResourceGroup"},
			{"a\x00b", "local", "InvalidResourceGroup"},
			{strings.Repeat("a", 91), "local", "InvalidResourceGroup"},
			{"fine", "", "LocationRequired"},
			{"fine", "a\x00b", "RegionNotSupported"},
		} {
			_, _, err := put(ResourceGroup{Subscription: subscription, Name: tt.name, Location: tt.location})
			wantRefusal(t, err, apierr.BadRequestKind, tt.code)
		}
		_, _, err = put(ResourceGroup{Subscription: subscription, Name: "fine", Location: "local", Tags: *manyTags(51)})
		wantRefusal(t, err, apierr.BadRequestKind, "InvalidTags")

		err = tryUpdate(t, d, func(tx *db.Tx) error {
			_, err := s.Create(tx, NewID(), subscription, "none", "vault", standard(), creator)
			return err
		})
		wantRefusal(t, err, apierr.NotFoundKind, "ResourceGroupNotFound")
	})
}
