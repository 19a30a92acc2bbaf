package identity

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
)

const day = 24 * time.Hour

// A key's life on a clock that is set: published before it signs, and after it did for as long
// as a token of it may hold.
func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		i := newIssuer(t, s, d) // rotates every 30 days
		at := func(ahead time.Duration, published int) (signs string, keys []string) {
			t.Helper()
			setClock(t, d, ahead)
			if err := i.EnsureSigningKey(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			signs, keys = keyState(t, i, d)
			if len(keys) != published {
				t.Errorf("%v ahead: %d keys published, want %d", ahead, len(keys), published)
			}
			if !slices.Contains(keys, signs) {
				t.Errorf("%v ahead: key %s signs and is not among %v", ahead, signs, keys)
			}
			return signs, keys
		}
		first, _ := at(0, 1)
		if again, _ := at(28*day, 1); again != first {
			t.Errorf("after 28 days %s signs, want %s", again, first)
		}
		signs, keys := at(29*day+time.Hour, 2) // a day before: published, not used
		if signs != first {
			t.Errorf("a day before its time %s signs, want %s", signs, first)
		}
		signs, _ = at(30*day+time.Hour, 2)
		if signs == first || !slices.Contains(keys, signs) {
			t.Errorf("after 30 days %s signs, want the new one of %v", signs, keys)
		}
		setClock(t, d, 30*day-time.Minute)
		old, _ := issue(t, i, d, testGrant())
		setClock(t, d, 30*day+30*time.Minute)
		if _, err := verify(t, i, d, old); err != nil {
			t.Errorf("a token of the old key: %v", err)
		}
		if rows := countKeys(t, d); rows != 2 {
			t.Errorf("%d rows, want 2", rows)
		}
		if _, keys := at(31*day+2*time.Hour, 1); slices.Contains(keys, first) {
			t.Errorf("a day after its end %s is still published", first)
		}
		if rows := countKeys(t, d); rows != 1 {
			t.Errorf("%d rows, want the drained key deleted", rows)
		}
	})
}

// A server that was off for long goes on with its old key until clients can know the new one.
func TestRotationAfterPause(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		i := newIssuer(t, s, d)
		first, _ := keyState(t, i, d)
		setClock(t, d, 200*day)
		if err := i.EnsureSigningKey(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if signs, keys := keyState(t, i, d); signs != first || len(keys) != 2 {
			t.Errorf("after the pause %s signs of %v, want %s of two", signs, keys, first)
		}
		setClock(t, d, 201*day+time.Hour)
		if signs, _ := keyState(t, i, d); signs == first {
			t.Errorf("a day later %s still signs", signs)
		}
		setClock(t, d, -day) // a clock that goes back does not stop anybody
		if signs, _ := keyState(t, i, d); signs != first {
			t.Errorf("before all keys %s signs, want %s", signs, first)
		}
	})
}

func TestShortRotation(t *testing.T) {
	s := newStore(t)
	i := NewIssuer(s, time.Hour, day)
	start := time.Now()
	set := &keySet{keys: []*signingKey{{id: "a", active: start, retire: start.Add(30 * day)}}}
	for _, tt := range []struct {
		after  time.Duration
		due    bool
		active time.Duration
	}{
		{11 * time.Hour, false, 0},
		{12 * time.Hour, true, day},
		{20 * time.Hour, true, 32 * time.Hour},
	} {
		active, due := i.successor(set, start.Add(tt.after))
		if due != tt.due || due && !active.Equal(start.Add(tt.active)) {
			t.Errorf("after %v: due %v, active %v; want %v, %v", tt.after, due, active.Sub(start), tt.due, tt.active)
		}
	}
}

// Two nodes that start at once make one key between them, and each verifies the other's tokens.
func TestTwoNodes(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		a, b := NewIssuer(s, time.Hour, 30*day), NewIssuer(s, time.Hour, 30*day)
		errs := make(chan error, 2)
		for _, i := range []*Issuer{a, b} {
			go func() { errs <- i.EnsureSigningKey(t.Context(), d) }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if rows := countKeys(t, d); rows != 1 {
			t.Errorf("%d keys, want 1", rows)
		}
		token, _ := issue(t, a, d, testGrant())
		if _, err := verify(t, b, d, token); err != nil {
			t.Errorf("the other node's token: %v", err)
		}
	})
}

// A key that came to be in a transaction that was undone must not stay in memory.
func TestKeysOfUndoneTransaction(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		i := newIssuer(t, s, d)
		first, _ := keyState(t, i, d)
		fresh, err := newSigningKey(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		undo := fmt.Errorf("undo")
		err = tryUpdate(t, d, func(tx *db.Tx) error {
			k := *fresh
			k.active, k.retire = tx.Now, tx.Now.Add(day)
			if err := s.storeKey(tx, k); err != nil {
				return err
			}
			if keys, err := i.Keys(tx); err != nil || len(keys) != 2 {
				t.Errorf("inside: %d keys, %v, want 2", len(keys), err)
			}
			return undo
		})
		if err != undo {
			t.Fatal(err)
		}
		update(t, d, func(tx *db.Tx) error { return tx.Raise(db.Directory) })
		if signs, keys := keyState(t, i, d); signs != first || len(keys) != 1 {
			t.Errorf("%s signs of %v, want %s alone", signs, keys, first)
		}
	})
}

func TestNoPrintingShowsKeys(t *testing.T) {
	fresh, err := newSigningKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{fresh.private().D.String(), fmt.Sprintf("%x", fresh.private().D), fmt.Sprint(fresh.private().Primes[0])}
	set := keySet{keys: []*signingKey{fresh}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{*fresh, fresh, set, &set, fresh.public()} {
			shown := fmt.Sprintf(verb, v)
			for _, secret := range secrets {
				if strings.Contains(shown, secret) {
					t.Errorf("%s of %T shows the private key", verb, v)
				}
			}
		}
	}
}

func keyState(t *testing.T, i *Issuer, d *db.DB) (signs string, published []string) {
	t.Helper()
	token, _ := issue(t, i, d, testGrant())
	var header struct{ Kid string }
	decodePart(t, strings.Split(token, ".")[0], &header)
	view(t, d, func(tx *db.Tx) error {
		keys, err := i.Keys(tx)
		for _, k := range keys {
			published = append(published, k.ID)
		}
		return err
	})
	return header.Kid, published
}

func countKeys(t *testing.T, d *db.DB) (n int) {
	t.Helper()
	view(t, d, func(tx *db.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM signing_keys`).Scan(&n) })
	return n
}
