package authz

import (
	"errors"
	"strings"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

// A right holds at its scope and below, by whole segments and in any letter case.
func TestScopesOfADecision(t *testing.T) {
	secret := vault.Object("secrets", "a")
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		for _, tt := range []struct {
			at   string
			want bool
		}{
			{"/", true},
			{"/providers/Microsoft.Management/managementGroups/corp", true},
			{"/subscriptions/" + subscription, true},
			{"/SUBSCRIPTIONS/" + strings.ToUpper(subscription), true},
			{"/subscriptions/99999999-2222-4333-8444-555555555555", false},
			{resource.Group(subscription, "RG1").Text, true},
			{resource.Group(subscription, "rg10").Text, false},
			{resource.Group(subscription, "rg").Text, false},
			{strings.ToUpper(vault.Text), true},
			{resource.VaultScope(subscription, "rg1", "vault10").Text, false},
			{resource.VaultScope(subscription, "rg10", "vault1").Text, false},
			{vault.Object("secrets", "A").Text, true},
			{vault.Object("secrets", "ab").Text, false},
			{vault.Object("keys", "a").Text, false},
		} {
			principal := newPrincipal(t, s, d)
			a := assign(t, s, d, principal, secretsUser, tt.at)
			got := decide(t, s, d, principal, Need{Action: getSecret, Data: true, Scope: secret})
			if got.Allowed != tt.want || tt.want && got.Assignment != a.ID || got.Revision == 0 {
				t.Errorf("assigned at %q: got %+v, want allowed %v", tt.at, got, tt.want)
			}
		}
		onOne := newPrincipal(t, s, d)
		assign(t, s, d, onOne, secretsUser, secret.Text)
		if mayRead(t, s, d, onOne, vault) {
			t.Error("a right to one secret holds at the vault")
		}
	})
}

// Data and control actions are apart, and a stranger has nothing.
func TestKindsOfActionsAreApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		owner, administrator := newPrincipal(t, s, d), newPrincipal(t, s, d)
		assign(t, s, d, owner, RoleOwner, "/")
		assign(t, s, d, administrator, RoleAdministrator, "/")
		for _, tt := range []struct {
			who    string
			action string
			data   bool
			want   bool
		}{
			{owner, "Microsoft.KeyVault/vaults/write", false, true},
			{owner, "Microsoft.KeyVault/vaults/write", true, false},
			{administrator, getSecret, true, true},
			{administrator, getSecret, false, false},
			{db.NewGUID(), getSecret, true, false},
			{"", getSecret, true, false},
			{identity.LocalOwnerID, getSecret, true, true},
			{identity.LocalOwnerID, "Microsoft.KeyVault/vaults/write", false, true},
			{identity.SystemID, "Microsoft.KeyVault/vaults/secrets/purge/action", true, true},
		} {
			if got := decide(t, s, d, tt.who, Need{Action: tt.action, Data: tt.data, Scope: vault}); got.Allowed != tt.want {
				t.Errorf("%s: %s (data %v) = %v, want %v", tt.who, tt.action, tt.data, got.Allowed, tt.want)
			}
		}
	})
}

// NotActions are a subtraction, not a deny: another role can still grant.
func TestNotActionsAreNoDeny(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		need := Need{Action: "Microsoft.Authorization/roleAssignments/write", Scope: vault}
		contributor, _ := roleByName("Contributor")
		administrator, _ := roleByName("User Access Administrator")
		assign(t, s, d, principal, contributor.ID, "/")
		if decide(t, s, d, principal, need).Allowed {
			t.Error("Contributor may assign roles")
		}
		assign(t, s, d, principal, administrator.ID, vault.Text)
		if !decide(t, s, d, principal, need).Allowed {
			t.Error("Contributor and User Access Administrator together may not assign roles")
		}
	})
}

// Key Vault Data Access Administrator may assign the eight roles of its condition, no others.
func TestAssignableRoles(t *testing.T) {
	eight := map[string]bool{
		"00482a5a-887f-4fb3-b363-3b7fe8e74483": true, "a4417e6f-fecd-4de8-b567-7b0420556985": true,
		"14b46e9e-c2b7-41b4-b07b-48a6ebf60603": true, "e147488a-f6f5-4113-8e2d-b22465e65bf6": true,
		"12338af0-0e69-4776-bea7-57ae8d297424": true, "21090545-7ca7-4776-b22c-e363652d74d2": true,
		"b86a8fe4-44ce-4948-aee5-eccb2c155cd7": true, "4633458b-17de-408a-b874-0445c86b69e6": true,
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		limited, owner := newPrincipal(t, s, d), newPrincipal(t, s, d)
		assign(t, s, d, limited, "8b54135c-b56d-4d72-a534-26097cfdc8d8", vault.Text)
		assign(t, s, d, owner, RoleOwner, vault.Text)
		for _, action := range []string{"write", "delete"} {
			need := Need{Action: "Microsoft.Authorization/roleAssignments/" + action, Scope: vault}
			for _, role := range BuiltIn {
				need.Role = strings.ToUpper(role.ID)
				if got := decide(t, s, d, limited, need).Allowed; got != eight[role.ID] {
					t.Errorf("%s of %s by Data Access Administrator = %v, want %v", action, role.Name, got, eight[role.ID])
				}
				if !decide(t, s, d, owner, need).Allowed {
					t.Errorf("%s of %s by Owner is refused", action, role.Name)
				}
			}
			need.Role = ""
			if !decide(t, s, d, limited, need).Allowed {
				t.Errorf("%s before the role is known is refused", action)
			}
		}
	})
}

func TestGroupsAreTransitive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		member, stranger := newPrincipal(t, s, d), newPrincipal(t, s, d)
		inner := newGroup(t, s, d, member)
		middle := newGroup(t, s, d, inner)
		outer := newGroup(t, s, d, middle)
		update(t, d, func(tx *db.Tx) error { return s.Identity.AddMember(tx, inner, outer) }) // a circle
		a := assign(t, s, d, outer, secretsUser, vault.Text)
		need := Need{Action: getSecret, Data: true, Scope: vault}
		if got := decide(t, s, d, member, need); !got.Allowed || got.Assignment != a.ID {
			t.Errorf("member of a group in a group in the group: got %+v, want allowed by %s", got, a.ID)
		}
		if decide(t, s, d, stranger, need).Allowed {
			t.Error("a stranger is allowed")
		}
		update(t, d, func(tx *db.Tx) error { return s.Identity.RemoveMember(tx, inner, member) })
		if decide(t, s, d, member, need).Allowed {
			t.Error("a former member is allowed")
		}
	})
}

// A grant and its removal count for the next transaction; a snapshot that nothing has changed is
// kept.
func TestChangesCountAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		for range 3 {
			if mayRead(t, s, d, principal, vault) {
				t.Fatal("allowed before the assignment")
			}
			a := assign(t, s, d, principal, secretsUser, vault.Text)
			if !mayRead(t, s, d, principal, vault) {
				t.Fatal("refused after the assignment")
			}
			kept := s.current.Load()
			if mayRead(t, s, d, principal, vault); s.current.Load() != kept {
				t.Error("a snapshot was compiled anew although nothing had changed")
			}
			update(t, d, func(tx *db.Tx) error {
				_, err := s.Remove(tx, vault, a.ID)
				return err
			})
		}
		assign(t, s, d, principal, secretsUser, vault.Text)
		update(t, d, func(tx *db.Tx) error { return s.RemoveBelow(tx, resource.Group(subscription, "rg1")) })
		if mayRead(t, s, d, principal, vault) {
			t.Error("allowed after the removal of everything below the group")
		}
	})
}

// What a transaction sees of its own is not kept: it may be undone.
func TestUncommittedSnapshotIsNotKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		mayRead(t, s, d, principal, vault) // fills the cache
		kept, undone := s.current.Load(), errors.New("undone")
		err := tryUpdate(t, d, func(tx *db.Tx) error {
			a := Assignment{ID: db.NewGUID(), Scope: vault.Text, RoleDefinitionID: secretsUser, PrincipalID: principal}
			if _, _, err := s.Assign(tx, a, creator); err != nil {
				return err
			}
			snap, err := s.Current(tx)
			if err != nil {
				return err
			}
			if !snap.Decide(principal, Need{Action: getSecret, Data: true, Scope: vault}).Allowed {
				t.Error("the transaction does not see its own assignment")
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		if s.current.Load() != kept || mayRead(t, s, d, principal, vault) {
			t.Error("an assignment that was undone counts")
		}
		// The next change has the number that the undone one had.
		assign(t, s, d, newPrincipal(t, s, d), secretsUser, vault.Text)
		if mayRead(t, s, d, principal, vault) {
			t.Error("an assignment that was undone counts after the next change")
		}
	})
}

// A writer to the database who is not us: whatever is edited, inserted or copied makes the
// snapshot fail as a whole.
func TestForeignRowsAreNoticed(t *testing.T) {
	tampering := map[string]string{
		"tenant_id":          `UPDATE role_assignments SET tenant_id = $1, scope_key = '/x'`, // another's: see below
		"assignment_id":      `UPDATE role_assignments SET assignment_id = $1`,
		"scope_key":          `UPDATE role_assignments SET scope_key = '/' WHERE $1 <> ''`,
		"scope":              `UPDATE role_assignments SET scope = '/' WHERE $1 <> ''`,
		"role_definition_id": `UPDATE role_assignments SET role_definition_id = '00482a5a-887f-4fb3-b363-3b7fe8e74483' WHERE $1 <> ''`,
		"principal_id":       `UPDATE role_assignments SET principal_id = $1`,
		"principal_type":     `UPDATE role_assignments SET principal_type = 'User' WHERE $1 <> ''`,
		"description":        `UPDATE role_assignments SET description = $1`,
		"created_by":         `UPDATE role_assignments SET created_by = $1`,
		"created_us":         `UPDATE role_assignments SET created_us = created_us + 1 WHERE $1 <> ''`,
		"updated_by":         `UPDATE role_assignments SET updated_by = $1`,
		"updated_us":         `UPDATE role_assignments SET updated_us = updated_us + 1 WHERE $1 <> ''`,
		"row copied to another principal": `
			INSERT INTO role_assignments (tenant_id, assignment_id, scope_key, scope, role_definition_id, principal_id,
				principal_type, description, created_by, created_us, updated_by, updated_us, row_mac)
			SELECT tenant_id, $1, scope_key, scope, role_definition_id, $1,
				principal_type, description, created_by, created_us, updated_by, updated_us, row_mac FROM role_assignments`,
		"row_mac": `UPDATE role_assignments SET row_mac = tenant_mac.row_mac
			FROM (SELECT row_mac FROM principals LIMIT 1) AS tenant_mac WHERE $1 <> ''`,
		"principal made":    `INSERT INTO group_members (tenant_id, group_id, member_id, created_us, row_mac) SELECT tenant_id, object_id, $1, 0, row_mac FROM principals`,
		"principal edited":  `UPDATE principals SET enabled = NOT enabled WHERE $1 <> ''`,
		"principal renamed": `UPDATE principals SET display_name = $1`,
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		assign(t, s, d, principal, secretsUser, vault.Text)
		undo := errors.New("undo")
		for what, q := range tampering {
			err := tryUpdate(t, d, func(tx *db.Tx) error {
				n, err := tx.Exec(q, db.NewGUID())
				if err != nil || n == 0 {
					t.Errorf("%s: %d rows, %v", what, n, err)
				}
				if err := tx.Raise(db.Authorisation); err != nil {
					return err
				}
				snap, err := s.Current(tx)
				if what == "tenant_id" { // a row of another tenant is no row of ours
					if err != nil || snap.Decide(principal, Need{Action: getSecret, Data: true, Scope: vault}).Allowed {
						t.Errorf("%s: the right still counts, or %v", what, err)
					}
				} else if !errors.Is(err, envelope.ErrTampered) {
					t.Errorf("%s: got %v, want ErrTampered", what, err)
				}
				return undo
			})
			if !errors.Is(err, undo) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if !mayRead(t, s, d, principal, vault) {
			t.Error("the untouched rows do not count any more")
		}
	})
}
