package authz

import (
	"slices"
	"strings"
	"testing"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/resource"
)

func TestAssign(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		id := db.NewGUID()
		want := Assignment{
			ID: id, Scope: vault.Text, RoleDefinitionID: secretsUser, PrincipalID: principal,
			PrincipalType: "ServicePrincipal", Description: "first", CreatedBy: creator, UpdatedBy: creator,
		}
		in := Assignment{
			ID: strings.ToUpper(id), Scope: vault.Text, PrincipalID: strings.ToUpper(principal), Description: "first",
			RoleDefinitionID: "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/" + strings.ToUpper(secretsUser),
		}
		put := func(in Assignment, by string) (out Assignment, created bool, err error) {
			err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
				out, created, err = s.Assign(tx, in, by)
				return err
			})
			return out, created, err
		}
		got, created, err := put(in, creator)
		want.Created, want.Updated = got.Created, got.Updated
		if err != nil || !created || got != want || got.Created.IsZero() {
			t.Errorf("Assign = %+v, %v, %v, want %+v, true", got, created, err, want)
		}
		if got, created, err = put(in, "another"); err != nil || created || got != want {
			t.Errorf("Assign again = %+v, %v, %v, want %+v, false", got, created, err, want)
		}
		in.Description = "second"
		got, created, err = put(in, "another")
		if err != nil || created || got.Description != "second" || got.UpdatedBy != "another" || got.CreatedBy != creator || got.Updated.Before(want.Updated) {
			t.Errorf("Assign with another description = %+v, %v, %v", got, created, err)
		}
		view(t, d, func(tx *db.Tx) error {
			if stored, err := s.Assignment(tx, resource.Scope{Text: strings.ToUpper(vault.Text)}, strings.ToUpper(id)); err != nil || stored != got {
				t.Errorf("Assignment = %+v, %v, want %+v", stored, err, got)
			}
			return nil
		})

		_, _, err = put(Assignment{ID: id, Scope: vault.Text, RoleDefinitionID: reader, PrincipalID: principal}, creator)
		wantRefusal(t, err, apierr.BadRequestKind, "RoleAssignmentUpdateNotPermitted")
		_, _, err = put(Assignment{ID: db.NewGUID(), Scope: strings.ToUpper(vault.Text), RoleDefinitionID: secretsUser, PrincipalID: principal}, creator)
		wantRefusal(t, err, apierr.ConflictKind, "RoleAssignmentExists")
	})
}

func TestAssignRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal, group := newPrincipal(t, s, d), newGroup(t, s, d)
		for _, tt := range []struct {
			change func(*Assignment)
			kind   apierr.Kind
			code   string
		}{
			{func(a *Assignment) { a.RoleDefinitionID = db.NewGUID() }, apierr.NotFoundKind, "RoleDefinitionDoesNotExist"},
			{func(a *Assignment) { a.RoleDefinitionID = "" }, apierr.NotFoundKind, "RoleDefinitionDoesNotExist"},
			{func(a *Assignment) { a.PrincipalID = db.NewGUID() }, apierr.BadRequestKind, "PrincipalNotFound"},
			{func(a *Assignment) { a.PrincipalID = "\x00" }, apierr.BadRequestKind, "PrincipalNotFound"},
			{func(a *Assignment) { a.PrincipalType = "User" }, apierr.BadRequestKind, "UnmatchedPrincipalType"},
			{func(a *Assignment) { a.PrincipalID, a.PrincipalType = group, "ServicePrincipal" }, apierr.BadRequestKind, "UnmatchedPrincipalType"},
			{func(a *Assignment) { a.Description = strings.Repeat("é", 1025) }, apierr.BadRequestKind, "BadRequestFormat"},
			{func(a *Assignment) { a.Description = "a\x00b" }, apierr.BadRequestKind, "BadRequestFormat"},
		} {
			a := Assignment{ID: db.NewGUID(), Scope: vault.Text, RoleDefinitionID: secretsUser, PrincipalID: principal}
			tt.change(&a)
			err := tryUpdate(t, d, func(tx *db.Tx) error {
				_, _, err := s.Assign(tx, a, creator)
				return err
			})
			wantRefusal(t, err, tt.kind, tt.code)
		}
		fits := Assignment{
			ID: db.NewGUID(), Scope: vault.Text, RoleDefinitionID: secretsUser, PrincipalID: group,
			PrincipalType: "group", Description: strings.Repeat("é", 1024),
		}
		update(t, d, func(tx *db.Tx) error {
			got, _, err := s.Assign(tx, fits, creator)
			if got.PrincipalType != "Group" {
				t.Errorf("principal type = %q, want Group", got.PrincipalType)
			}
			return err
		})
	})
}

func TestRemove(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		a := assign(t, s, d, newPrincipal(t, s, d), secretsUser, vault.Text)
		remove := func(scope resource.Scope, id string) (out Assignment, err error) {
			err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
				out, err = s.Remove(tx, scope, id)
				return err
			})
			return out, err
		}
		_, err := remove(resource.Group(subscription, "rg1"), a.ID) // the scope is part of the name
		wantRefusal(t, err, apierr.NotFoundKind, "RoleAssignmentNotFound")
		_, err = remove(vault, "a\x00b")
		wantRefusal(t, err, apierr.NotFoundKind, "RoleAssignmentNotFound")
		if got, err := remove(vault, a.ID); err != nil || got != a {
			t.Errorf("Remove = %+v, %v, want %+v", got, err, a)
		}
		_, err = remove(vault, a.ID)
		wantRefusal(t, err, apierr.NotFoundKind, "RoleAssignmentNotFound")
	})
}

// RemoveBelow takes what lies at and below a scope, not what only begins alike.
func TestRemoveBelow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal := newPrincipal(t, s, d)
		gone := []string{vault.Text, vault.Object("secrets", "a").Text}
		stay := []string{
			"/", resource.Group(subscription, "rg1").Text, resource.VaultScope(subscription, "rg1", "vault10").Text,
			resource.VaultScope(subscription, "rg10", "vault1").Text,
		}
		for _, scope := range append(gone, stay...) {
			assign(t, s, d, principal, secretsUser, scope)
		}
		update(t, d, func(tx *db.Tx) error { return s.RemoveBelow(tx, resource.Scope{Text: strings.ToUpper(vault.Text)}) })
		view(t, d, func(tx *db.Tx) error {
			left, err := s.List(tx, resource.Root, Filter{})
			wantScopes(t, left, stay)
			return err
		})
	})
}

func wantScopes(t testing.TB, got []Assignment, want []string) {
	t.Helper()
	var scopes []string
	for _, a := range got {
		scopes = append(scopes, a.Scope)
	}
	slices.Sort(scopes)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(scopes, want) {
		t.Errorf("assignments at %q, want %q", scopes, want)
	}
}

func TestList(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		principal, other := newPrincipal(t, s, d), newPrincipal(t, s, d)
		group := newGroup(t, s, d, principal)
		rg, secret := resource.Group(subscription, "rg1").Text, vault.Object("secrets", "a").Text
		elsewhere := resource.Group(subscription, "rg2").Text
		assign(t, s, d, principal, secretsUser, "/")
		assign(t, s, d, group, secretsUser, rg)
		assign(t, s, d, other, secretsUser, vault.Text)
		assign(t, s, d, principal, secretsUser, secret)
		assign(t, s, d, principal, secretsUser, elsewhere)
		for _, tt := range []struct {
			scope  string
			filter Filter
			want   []string
		}{
			{vault.Text, Filter{}, []string{"/", rg, vault.Text, secret}},
			{strings.ToUpper(vault.Text), Filter{AtScope: true}, []string{"/", rg, vault.Text}},
			{"/", Filter{}, []string{"/", rg, vault.Text, secret, elsewhere}},
			{vault.Text, Filter{Principal: strings.ToUpper(principal)}, []string{"/", secret}},
			{vault.Text, Filter{AssignedTo: strings.ToUpper(principal)}, []string{"/", rg, secret}},
			{vault.Text, Filter{AssignedTo: principal, AtScope: true}, []string{"/", rg}},
			{vault.Text, Filter{Principal: db.NewGUID()}, nil},
		} {
			view(t, d, func(tx *db.Tx) error {
				got, err := s.List(tx, resource.Scope{Text: tt.scope}, tt.filter)
				wantScopes(t, got, tt.want)
				return err
			})
		}
	})
}
