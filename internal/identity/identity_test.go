package identity

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const testTenant = "11111111-2222-4333-8444-555555555555"

var (
	family   = resource.NewFamily("default", "example.org", 8443)
	other    = resource.NewFamily("other", "example.net", 443)
	families = resource.Families{family, other}
)

func newStore(t testing.TB) *Store {
	t.Helper()
	ring := dbtest.Ring(t)
	return &Store{Ring: ring, Tenant: testTenant}
}

// each runs a test on both engines with a database whose clock can be set.
func each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		update(t, d, func(tx *db.Tx) error { return tx.SetMeta("test_clock", "1") })
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		test(t, dbtest.Open(t, o))
	})
}

// setClock puts the database's clock ahead of the host's.
func setClock(t testing.TB, d *db.DB, ahead time.Duration) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error {
		return tx.SetMeta("clock_offset_us", strconv.FormatInt(ahead.Microseconds(), 10))
	})
}

func tryUpdate(t testing.TB, d *db.DB, fn func(*db.Tx) error) error {
	t.Helper()
	return d.Update(t.Context(), []string{db.Authorisation, db.Directory}, fn)
}

func update(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := tryUpdate(t, d, fn); err != nil {
		t.Fatal(err)
	}
}

func tryView(t testing.TB, d *db.DB, fn func(*db.Tx) error) error {
	t.Helper()
	return d.View(t.Context(), fn)
}

func view(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := tryView(t, d, fn); err != nil {
		t.Fatal(err)
	}
}

func wantRefusal(t testing.TB, err error, kind apierr.Kind, code string) {
	t.Helper()
	refusal, ok := apierr.As(err)
	if !ok || refusal.Kind != kind || refusal.Code != code {
		t.Errorf("got error %v, want a refusal of kind %d with code %s", err, kind, code)
	}
}

// newApp makes an application with a service principal.
func newApp(t testing.TB, s *Store, d *db.DB, name string) (app Application, sp Principal) {
	t.Helper()
	update(t, d, func(tx *db.Tx) (err error) {
		if app, err = s.CreateApplication(tx, name); err != nil {
			return err
		}
		sp, err = s.CreateServicePrincipal(tx, app.AppID)
		return err
	})
	return app, sp
}

func TestApplications(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, sp := newApp(t, s, d, "payroll")
		_, _ = newApp(t, s, d, "other")
		view(t, d, func(tx *db.Tx) error {
			for _, id := range []string{app.ID, app.AppID, strings.ToUpper(app.AppID)} {
				if got, err := s.GetApplication(tx, id); err != nil || got != app {
					t.Errorf("GetApplication(%q) = %v, %v, want %v", id, got, err, app)
				}
			}
			if got, err := s.ByAppID(tx, app.AppID); err != nil || !reflect.DeepEqual(got, sp) {
				t.Errorf("ByAppID = %v, %v, want %v", got, err, sp)
			}
			if got, err := s.ListApplications(tx, ""); err != nil || len(got) != 2 {
				t.Errorf("ListApplications = %v, %v, want 2", got, err)
			}
			if got, err := s.ListApplications(tx, app.AppID); err != nil || len(got) != 1 || got[0] != app {
				t.Errorf("ListApplications(appID) = %v, %v, want %v", got, err, app)
			}
			if got, err := s.ListApplications(tx, "no guid"); err != nil || len(got) != 0 {
				t.Errorf("ListApplications(no guid) = %v, %v, want none", got, err)
			}
			return nil
		})
		wantRefusal(t, tryUpdate(t, d, func(tx *db.Tx) error {
			_, err := s.CreateServicePrincipal(tx, app.AppID)
			return err
		}), apierr.ConflictKind, codeDuplicate)
		wantRefusal(t, tryUpdate(t, d, func(tx *db.Tx) error {
			_, err := s.CreateServicePrincipal(tx, app.ID) // the wrong one of its two ids
			return err
		}), apierr.BadRequestKind, codeBadRequest)

		secret, _ := NewClientSecret()
		update(t, d, func(tx *db.Tx) error {
			if _, err := s.AddSecret(tx, app.AppID, "", secret, time.Time{}, time.Time{}); err != nil {
				return err
			}
			return s.DeleteApplication(tx, app.ID)
		})
		view(t, d, func(tx *db.Tx) error {
			_, err := s.GetApplication(tx, app.ID)
			wantRefusal(t, err, apierr.NotFoundKind, codeNotFound)
			_, err = s.Principal(tx, sp.ObjectID)
			wantRefusal(t, err, apierr.NotFoundKind, codeNotFound)
			if got, err := s.ListCredentials(tx, app.AppID); err != nil || len(got) != 0 {
				t.Errorf("ListCredentials after deletion = %v, %v, want none", got, err)
			}
			return nil
		})
	})
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		ok   bool
	}{
		{"payroll", true},
		{"Lohn für März", true},
		{strings.Repeat("ü", maxName), true},
		{strings.Repeat("ü", maxName+1), false},
		{"", false},
		{"  ", false},
		{"a\x00b", false},
		{"a\nb", false},
		{"a\u2028b", false},
		{"a\xffb", false},
	} {
		if err := checkName(tt.name); (err == nil) != tt.ok {
			t.Errorf("checkName(%q) = %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}

// Ids come from callers: none of these may reach the database as a fault.
func TestForeignIDs(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		for _, id := range []string{"", "x", "\x00", "\xff\xfe", strings.Repeat("a", 1<<16), LocalOwnerID, SystemID} {
			view(t, d, func(tx *db.Tx) error {
				_, err := s.Principal(tx, id)
				wantRefusal(t, err, apierr.NotFoundKind, codeNotFound)
				_, err = s.ByAppID(tx, id)
				wantRefusal(t, err, apierr.NotFoundKind, codeNotFound)
				_, err = s.GetApplication(tx, id)
				wantRefusal(t, err, apierr.NotFoundKind, codeNotFound)
				_, err = s.GetByResource(tx, id)
				wantRefusal(t, err, apierr.NotFoundKind, "ResourceNotFound")
				_, _, err = s.CheckSecret(tx, id, envelope.NewValue([]byte("\x00")))
				wantSignIn(t, err, CodeUnknownApplication)
				return nil
			})
		}
	})
}

func TestManagedIdentities(t *testing.T) {
	const group = "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/RG"
	const id = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Web"
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		put := func(id, location string, tags map[string]string) (p Principal, created bool, err error) {
			err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
				p, created, err = s.PutManagedIdentity(tx, id, "Web", location, tags)
				return err
			})
			return p, created, err
		}
		first, created, err := put(id, "local", map[string]string{"a": "1"})
		if err != nil || !created {
			t.Fatalf("first put: created %v, %v", created, err)
		}
		second, created, err := put(strings.ToUpper(id), "LOCAL", map[string]string{"b": "2"})
		if err != nil || created || second.ObjectID != first.ObjectID || second.ResourceID != id {
			t.Errorf("second put = %v, %v, %v, want the first identity", second, created, err)
		}
		_, _, err = put(id, "elsewhere", nil)
		wantRefusal(t, err, apierr.ConflictKind, "InvalidResourceLocation")
		_, _, err = put(id+"\x00", "local", nil)
		wantRefusal(t, err, apierr.BadRequestKind, "InvalidResourceName")
		view(t, d, func(tx *db.Tx) error {
			got, err := s.GetByResource(tx, strings.ToLower(id))
			if err != nil || got.Tags["b"] != "2" || len(got.Tags) != 1 || got.Kind != ManagedIdentity {
				t.Errorf("GetByResource = %v, %v, want the new tags", got, err)
			}
			for scope, want := range map[string]int{"": 1, "/": 1, group: 1, strings.ToLower(group): 1, group + "2": 0, group[:len(group)-1]: 0} {
				if got, err := s.ListManagedIdentities(tx, scope); err != nil || len(got) != want {
					t.Errorf("ListManagedIdentities(%q) = %v, %v, want %d", scope, got, err, want)
				}
			}
			return nil
		})
		update(t, d, func(tx *db.Tx) error { return s.DeletePrincipal(tx, first.ObjectID) })
		if again, created, err := put(id, "local", nil); err != nil || !created || again.ObjectID == first.ObjectID {
			t.Errorf("put after deletion = %v, %v, %v, want a new object id", again, created, err)
		}
	})
}

func TestUsersAndEnabled(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		var user, group Principal
		update(t, d, func(tx *db.Tx) (err error) {
			if user, err = s.CreateUser(tx, "ann@example.org"); err != nil {
				return err
			}
			group, err = s.CreateGroup(tx, "staff")
			return err
		})
		for _, upn := range []string{"ANN@example.org", "ann", "@example.org", "a b@example.org"} {
			if err := tryUpdate(t, d, func(tx *db.Tx) error { _, err := s.CreateUser(tx, upn); return err }); err == nil {
				t.Errorf("CreateUser(%q) passed", upn)
			}
		}
		before := revision(t, d)
		update(t, d, func(tx *db.Tx) error { return s.SetEnabled(tx, user.ObjectID, false) })
		view(t, d, func(tx *db.Tx) error {
			if p, err := s.Principal(tx, user.ObjectID); err != nil || p.Enabled {
				t.Errorf("Principal = %v, %v, want it disabled", p, err)
			}
			return nil
		})
		if after := revision(t, d); after <= before {
			t.Errorf("authorisation revision went from %d to %d, want more", before, after)
		}
		wantRefusal(t, tryUpdate(t, d, func(tx *db.Tx) error { return s.SetEnabled(tx, group.ObjectID, false) }),
			apierr.BadRequestKind, codeBadRequest)
	})
}

func revision(t testing.TB, d *db.DB) (n int64) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error { n = tx.Revision(db.Authorisation); return nil })
	return n
}

// Every column of every table is under the MAC: a change of any is noticed at the next read.
func TestTamperedRows(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, sp := newApp(t, s, d, "payroll")
		i := newIssuer(t, s, d)
		secret, _ := NewClientSecret()
		var group Principal
		update(t, d, func(tx *db.Tx) (err error) {
			if _, err = s.AddSecret(tx, app.AppID, "", secret, time.Time{}, time.Time{}); err != nil {
				return err
			}
			if group, err = s.CreateGroup(tx, "staff"); err != nil {
				return err
			}
			return s.AddMember(tx, group.ObjectID, sp.ObjectID)
		})
		readApp := func(tx *db.Tx) error { _, err := s.ListApplications(tx, ""); return err }
		readPrincipal := func(tx *db.Tx) error { _, err := s.LoadDirectory(tx); return err }
		signIn := func(tx *db.Tx) error { _, err := s.ListCredentials(tx, app.AppID); return err }
		readKeys := func(tx *db.Tx) error { _, err := NewIssuer(s, time.Hour, time.Hour).Keys(tx); return err }
		for _, tt := range []struct {
			statement string
			read      func(*db.Tx) error
		}{
			{`UPDATE applications SET app_id = 'x'`, readApp},
			{`UPDATE applications SET display_name = 'x'`, readApp},
			{`UPDATE principals SET enabled = NOT enabled`, readPrincipal},
			{`UPDATE principals SET kind = 'User'`, readPrincipal},
			{`UPDATE principals SET tags = '{}'`, readPrincipal},
			{`UPDATE principals SET app_id = NULL`, readPrincipal},
			{`UPDATE principals SET location = ''`, readPrincipal},
			{`UPDATE group_members SET member_id = 'x'`, readPrincipal},
			{`UPDATE group_members SET created_us = created_us + 1`, readPrincipal},
			{`UPDATE credentials SET expires_us = expires_us + 1`, signIn},
			{`UPDATE credentials SET kind = 'Certificate'`, signIn},
			{`UPDATE credentials SET secret_hmac = NULL`, signIn},
			{`UPDATE signing_keys SET active_us = active_us + 1`, readKeys},
			{`UPDATE signing_keys SET retire_us = retire_us + 1`, readKeys},
			{`UPDATE signing_keys SET private_sealed = row_mac`, readKeys},
		} {
			var got error
			undo := errors.New("undo")
			err := tryUpdate(t, d, func(tx *db.Tx) error {
				if n, err := tx.Exec(tt.statement); err != nil || n == 0 {
					return fmt.Errorf("%s changed %d rows: %w", tt.statement, n, err)
				}
				got = tt.read(tx)
				return undo
			})
			if !errors.Is(err, undo) {
				t.Fatal(err)
			}
			if _, refusal := apierr.As(got); !errors.Is(got, envelope.ErrTampered) || refusal {
				t.Errorf("%s: got error %v, want ErrTampered", tt.statement, got)
			}
		}
		view(t, d, func(tx *db.Tx) error { _, err := i.Keys(tx); return err })
	})
}
