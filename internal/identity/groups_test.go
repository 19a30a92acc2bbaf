package identity

import (
	"errors"
	"slices"
	"testing"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

func TestGroups(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		_, sp := newApp(t, s, d, "payroll")
		ids := map[string]string{"sp": sp.ObjectID}
		update(t, d, func(tx *db.Tx) error {
			for _, name := range []string{"a", "b", "c", "lonely"} {
				g, err := s.CreateGroup(tx, name)
				if err != nil {
					return err
				}
				ids[name] = g.ObjectID
			}
			// sp is in a, a in b, b in c, and c in a again.
			for _, m := range [][2]string{{"a", "sp"}, {"b", "a"}, {"c", "b"}, {"a", "c"}} {
				if err := s.AddMember(tx, ids[m[0]], ids[m[1]]); err != nil {
					return err
				}
			}
			return nil
		})
		wantGroups(t, s, d, ids, map[string][]string{"sp": {"a", "b", "c"}, "a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}, "lonely": nil})
		for _, tt := range []struct {
			group, member string
			kind          apierr.Kind
			code          string
		}{
			{"a", "a", apierr.BadRequestKind, codeBadRequest},
			{"a", "sp", apierr.BadRequestKind, codeBadRequest},
			{"sp", "a", apierr.NotFoundKind, codeNotFound},
			{"a", "nobody", apierr.NotFoundKind, codeNotFound},
		} {
			err := tryUpdate(t, d, func(tx *db.Tx) error { return s.AddMember(tx, ids[tt.group], ids[tt.member]) })
			wantRefusal(t, err, tt.kind, tt.code)
		}
		view(t, d, func(tx *db.Tx) error {
			members, err := s.ListMembers(tx, ids["a"])
			var got []string
			for _, m := range members {
				got = append(got, m.ObjectID)
			}
			want := []string{ids["c"], ids["sp"]}
			slices.Sort(want)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("ListMembers = %v, %v, want %v", got, err, want)
			}
			return nil
		})
		update(t, d, func(tx *db.Tx) error { return s.DeletePrincipal(tx, ids["b"]) })
		wantGroups(t, s, d, ids, map[string][]string{"sp": {"a"}, "c": {"a"}, "a": nil})
		update(t, d, func(tx *db.Tx) error { return s.RemoveMember(tx, ids["a"], ids["sp"]) })
		wantGroups(t, s, d, ids, map[string][]string{"sp": nil})
		wantRefusal(t, tryUpdate(t, d, func(tx *db.Tx) error { return s.RemoveMember(tx, ids["a"], ids["sp"]) }),
			apierr.NotFoundKind, codeNotFound)
	})
}

// The row of a group that somebody deleted past us is missed, and nothing is decided without it.
func TestGroupWithoutRow(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		_, sp := newApp(t, s, d, "payroll")
		update(t, d, func(tx *db.Tx) error {
			g, err := s.CreateGroup(tx, "staff")
			if err != nil {
				return err
			}
			if err := s.AddMember(tx, g.ObjectID, sp.ObjectID); err != nil {
				return err
			}
			_, err = tx.Exec(`DELETE FROM principals WHERE object_id = $1`, g.ObjectID)
			return err
		})
		err := d.View(t.Context(), func(tx *db.Tx) error {
			_, err := s.LoadDirectory(tx)
			return err
		})
		if !errors.Is(err, envelope.ErrTampered) {
			t.Errorf("got %v, want ErrTampered", err)
		}
	})
}

func wantGroups(t *testing.T, s *Store, d *db.DB, ids map[string]string, want map[string][]string) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error {
		dir, err := s.LoadDirectory(tx)
		if err != nil {
			return err
		}
		for member, names := range want {
			var groups []string
			for _, n := range names {
				groups = append(groups, ids[n])
			}
			slices.Sort(groups)
			if got := dir.Groups[ids[member]]; !slices.Equal(got, groups) {
				t.Errorf("groups of %s = %v, want %v", member, got, groups)
			}
		}
		return nil
	})
}
