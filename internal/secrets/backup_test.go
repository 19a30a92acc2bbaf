package secrets

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/vaults"
)

func TestBackupAndRestore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		d := draft("first-needle")
		d.NotBefore, d.Expires, d.ContentType, d.Tags = new(int64(0)), new(int64(5)), new(""), map[string]string{"a": "é"}
		d.Enabled = new(false)
		first, err := f.trySet(f.vault, "Copy", d)
		if err != nil {
			t.Fatal(err)
		}
		second := f.set("copy", "second-needle")
		blob := f.backup("COPY")
		if bytes.Contains(blob, []byte("needle")) || bytes.Contains(blob, []byte("Copy")) {
			t.Error("the blob shows what is in it")
		}
		a, err := f.OpenArchive(blob)
		if shown := fmt.Sprintf("%v %+v %#v", a, a, a); err != nil || strings.Contains(shown, "needle") {
			t.Errorf("the archive prints values, or %v", err)
		}

		f.setClock(time.Hour)
		target := f.newVault("vault2", strings.ToUpper(subscription), "West Europe", false)
		restored, err := f.tryRestore(target, blob)
		if diff := cmp.Diff(second, restored, sameData); err != nil || diff != "" {
			t.Errorf("restored: %v (-want +got):\n%s", err, diff)
		}
		f.vault = target
		f.wantValue("copy", "", "second-needle")
		f.view(func(tx *db.Tx) error {
			all, err := f.Versions(tx, target, "copy", Page{Limit: 10})
			if err != nil || len(all) != 2 {
				t.Fatalf("restored %d versions, %v, want 2", len(all), err)
			}
			for _, v := range all {
				want := second
				if v.Version == first.Version {
					want = first
				}
				if diff := cmp.Diff(want, v, sameData); diff != "" {
					t.Errorf("restored version (-want +got):\n%s", diff)
				}
			}
			return nil
		})
		f.patch("copy", first.Version, Patch{Enabled: new(true)})
		f.wantValue("copy", first.Version, "first-needle")
		if third := f.set("copy", "third"); third.Name != "Copy" {
			t.Errorf("name = %q, want it as it was first written", third.Name)
		}
		f.wantValue("copy", "", "third")
	})
}

func TestRestoreRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.set("a", "x")
		blob := f.backup("a")
		for what, vault := range map[string]vaults.Vault{
			"another subscription": f.newVault("vault2", otherSubscription, "westeurope", false),
			"another location":     f.newVault("vault3", subscription, "northeurope", false),
		} {
			t.Run(what, func(t *testing.T) {
				_, err := f.tryRestore(vault, blob)
				wantRefusal(t, err, apierr.BadRequestKind, "BadParameter")
			})
		}
		_, err := f.tryRestore(f.vault, blob)
		wantRefusal(t, err, apierr.ConflictKind, "Conflict")
		f.remove("a")
		_, err = f.tryRestore(f.vault, blob)
		wantRefusal(t, err, apierr.ConflictKind, "ObjectIsDeletedButRecoverable")
		if err := f.tryPurge(f.vault, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.tryRestore(f.vault, blob); err != nil { // its own vault, once the name is free
			t.Errorf("restore after a purge: %v, want nil", err)
		}
		f.wantValue("a", "", "x")
		_, err = f.tryBackup("none")
		wantNoSecret(t, err)
	})
}

// All faults of a blob are one refusal, which says nothing about the blob.
func TestForeignBlobs(t *testing.T) {
	ring, other := dbtest.Ring(t), dbtest.NewRing(t)
	s := &Store{Ring: ring, Tenant: tenant}
	good, err := s.sealArchive(Archive{Format: 1, Name: "a", Versions: []archivedVersion{{Version: NewVersion()}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenArchive(good); err != nil {
		t.Fatalf("the control does not open: %v", err)
	}
	seal := func(kind string, plain string) []byte {
		blob, err := ring.SealBackup(kind, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		return blob
	}
	foreign, err := (&Store{Ring: other, Tenant: tenant}).sealArchive(Archive{Format: 1, Name: "a", Versions: []archivedVersion{{}}})
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"empty": {}, "nil": nil, "text": []byte("AzureKeyVaultSecretBackupV1.microsoft.com"),
		"of another deployment": foreign, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
		"of a key":             seal("key", `{"format":1,"name":"a","versions":[{"version":"x"}]}`),
		"without versions":     seal("secret", `{"format":1,"name":"a","versions":[]}`),
		"of a later format":    seal("secret", `{"format":2,"name":"a","versions":[{"version":"x"}]}`),
		"no archive":           seal("secret", `[]`),
		"value of a bad value": seal("secret", `{"format":1,"name":"a","versions":[{"version":"x","value":"%"}]}`),
	}
	for i := 0; i < len(good); i += 7 {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		bad[fmt.Sprint("flipped at ", i)] = flipped
	}
	want := badBlob().Error()
	for what, blob := range bad {
		if _, err := s.OpenArchive(blob); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %q", what, err, want)
		}
	}
}

// 500 past versions beside the latest can be backed up, one more cannot. The rows are written in
// one transaction, as Set would write them one by one.
func TestBackupLimit(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		fill := func(n int) {
			f.update(func(tx *db.Tx) error {
				for range n {
					if _, err := f.Set(tx, f.vault, "many", NewVersion(), draft("x")); err != nil {
						return err
					}
				}
				return nil
			})
		}
		fill(501)
		blob := f.backup("many")
		a, err := f.OpenArchive(blob)
		if err != nil || len(a.Versions) != 501 {
			t.Errorf("archive of %d versions, %v, want 501", len(a.Versions), err)
		}
		fill(1)
		_, err = f.tryBackup("many")
		wantRefusal(t, err, apierr.BadRequestKind, "BadParameter")
		target := f.newVault("vault2", subscription, "westeurope", false)
		if restored, err := f.tryRestore(target, blob); err != nil || restored.Version != a.Versions[500].Version {
			t.Errorf("restored %q, %v, want the newest of 501", restored.Version, err)
		}
	})
}
