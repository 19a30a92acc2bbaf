package envelope

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestOpenRing(t *testing.T) {
	_, stored, root := testRing(t)
	otherRoot, _ := newLocalKey(make([]byte, keySize))
	change := func(edit func(k []SealedKey) []SealedKey) []SealedKey { return edit(slices.Clone(stored)) }
	for _, tt := range []struct {
		name       string
		root       *RootKeys
		deployment string
		keys       []SealedKey
		want       error
	}{
		{"as stored", root, "deployment-1", stored, nil},
		{"another order of purposes", root, "deployment-1", change(func(k []SealedKey) []SealedKey { slices.Reverse(k); return k }), nil},
		{"another root key", NewRootKeys(otherRoot), "deployment-1", stored, ErrWrongRootKey},
		{"another deployment", root, "deployment-2", stored, ErrTampered},
		{"none", root, "deployment-1", nil, ErrTampered},
		{"one missing", root, "deployment-1", stored[1:], ErrTampered},
		{"one twice", root, "deployment-1", append(slices.Clone(stored), stored[0]), ErrTampered},
		{"purpose swapped", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].Purpose, k[1].Purpose = k[1].Purpose, k[0].Purpose; return k }), ErrTampered},
		{"unknown purpose", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].Purpose = "x"; return k }), ErrTampered},
		{"id changed", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].KeyID = "00000000"; return k }), ErrTampered},
		{"id too short", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].KeyID = "00"; return k }), ErrTampered},
		{"sealed swapped", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].Sealed, k[1].Sealed = k[1].Sealed, k[0].Sealed; return k }), ErrTampered},
		{"sealed cut", root, "deployment-1", change(func(k []SealedKey) []SealedKey { k[0].Sealed = nil; return k }), ErrTampered},
	} {
		if _, err := OpenRing(tt.root, tt.deployment, tt.keys); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, bad := range changes(stored[0].Sealed) {
		keys := change(func(k []SealedKey) []SealedKey { k[0].Sealed = bad; return k })
		if _, err := OpenRing(root, "deployment-1", keys); !errors.Is(err, ErrTampered) {
			t.Errorf("sealed key changed: %v, want %v", err, ErrTampered)
		}
	}
	if _, _, err := NewRing(root, ""); err == nil {
		t.Error("NewRing without a deployment succeeds, want an error")
	}
}

// TestRingRotation puts a second generation of keys behind the first.
func TestRingRotation(t *testing.T) {
	first, stored, root := testRing(t)
	_, second, err := NewRing(root, "deployment-1")
	if err != nil {
		t.Fatal(err)
	}
	both, err := OpenRing(root, "deployment-1", slices.Concat(stored, second))
	if err != nil {
		t.Fatal(err)
	}
	mac, blob, pepper := first.RowMAC("t", 1), mustSeal(t, first), first.Pepper("client", []byte(hush))
	if err := both.CheckRow(mac, "t", 1); err != nil {
		t.Errorf("old row: %v, want it to hold", err)
	}
	if _, err := both.OpenBackup("secret", blob); err != nil {
		t.Errorf("old backup: %v, want it to open", err)
	}
	if !both.CheckPepper("client", []byte(hush), pepper) {
		t.Error("old pepper does not hold")
	}
	if err := first.CheckRow(both.RowMAC("t", 1), "t", 1); !errors.Is(err, ErrTampered) {
		t.Errorf("new row in the old ring: %v, want %v: the last key must seal", err, ErrTampered)
	}
	again, err := OpenRing(root, "deployment-1", stored)
	if err != nil || !first.HasKeysOf(again) || first.HasKeysOf(both) || both.HasKeysOf(first) {
		t.Errorf("the first generation once more: %v; want the same keys as the first ring, and other keys than both", err)
	}
}

func mustSeal(t *testing.T, r *Ring) []byte {
	t.Helper()
	blob, err := r.SealBackup("secret", []byte(hush))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestRowMAC(t *testing.T) {
	ring, _, _ := testRing(t)
	version, until := "v1", int64(5)
	fields := []any{"a", []byte("b"), 1, int64(2), true, nil, &until, &version}
	mac := ring.RowMAC("secret_versions", fields...)
	if len(mac) != 37 || mac[0] != 1 {
		t.Errorf("MAC is %x, want 37 bytes that begin with 1", mac)
	}
	if err := ring.CheckRow(mac, "secret_versions", "a", []byte("b"), int64(1), 2, true, (*int64)(nil), 5, "v1"); err != nil {
		t.Errorf("the same row in other types: %v, want it to hold", err)
	}
	for i := range fields {
		bad := slices.Clone(fields)
		bad[i] = "changed"
		err := ring.CheckRow(mac, "secret_versions", bad...)
		if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "secret_versions") || strings.Contains(err.Error(), "changed") {
			t.Errorf("field %d changed: %v, want %v naming the table alone", i, err, ErrTampered)
		}
	}
	for _, bad := range changes(mac) {
		if err := ring.CheckRow(bad, "secret_versions", fields...); !errors.Is(err, ErrTampered) {
			t.Errorf("MAC %x: %v, want %v", bad, err, ErrTampered)
		}
	}
	if err := ring.CheckRow(mac, "secret_heads", fields...); !errors.Is(err, ErrTampered) {
		t.Errorf("another table: %v, want %v", err, ErrTampered)
	}
}

func TestPepper(t *testing.T) {
	ring, _, _ := testRing(t)
	other, _, _ := testRing(t)
	stored := ring.Pepper("client", []byte(hush))
	if !bytes.Equal(stored, ring.Pepper("client", []byte(hush))) || bytes.Contains(stored, []byte(hush)) {
		t.Errorf("Pepper = %x, want the same each time and no plaintext", stored)
	}
	for _, tt := range []struct {
		name    string
		ring    *Ring
		purpose string
		secret  string
		want    bool
	}{
		{"same", ring, "client", hush, true},
		{"other secret", ring, "client", hush + "x", false},
		{"other purpose", ring, "socket", hush, false},
		{"moved border", ring, "clienth", hush[1:], false},
		{"other ring", other, "client", hush, false},
	} {
		if got := tt.ring.CheckPepper(tt.purpose, []byte(tt.secret), stored); got != tt.want {
			t.Errorf("%s: CheckPepper = %t, want %t", tt.name, got, tt.want)
		}
	}
	for _, bad := range changes(stored) {
		if ring.CheckPepper("client", []byte(hush), bad) {
			t.Errorf("CheckPepper holds for %x", bad)
		}
	}
}

// boxes are the three pairs that seal with the ring, in one shape. The error is bare but
// for OpenSystem's, which says what was opened.
var boxes = []struct {
	name string
	seal func(r *Ring, bound string, plain []byte) ([]byte, error)
	open func(r *Ring, bound string, sealed []byte) ([]byte, error)
	want error
}{
	{
		"system", func(r *Ring, bound string, plain []byte) ([]byte, error) {
			return r.SealSystem("signing", bound, plain)
		},
		func(r *Ring, bound string, sealed []byte) ([]byte, error) {
			return r.OpenSystem("signing", bound, sealed)
		}, ErrTampered,
	},
	{"backup", (*Ring).SealBackup, (*Ring).OpenBackup, ErrForeign},
	{"token", func(r *Ring, bound string, plain []byte) ([]byte, error) { return r.Token(bound, plain), nil }, (*Ring).OpenToken, ErrForeign},
}

func TestBoxes(t *testing.T) {
	ring, stored, root := testRing(t)
	moved, _, _ := NewRing(root, "deployment-2")
	moved.keys = ring.keys // the same keys under another name
	reopened, err := OpenRing(root, "deployment-1", stored)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boxes {
		for _, plain := range []string{"", hush} {
			sealed, err := b.seal(ring, "here", []byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := b.open(reopened, "here", sealed); err != nil || got == nil || string(got) != plain {
				t.Errorf("%s: comes back as %q, %v, want %q", b.name, got, err, plain)
			}
			if len(sealed) != len(plain)+49 {
				t.Errorf("%s: %d bytes become %d, want 49 more", b.name, len(plain), len(sealed))
			}
			for _, bad := range changes(sealed) {
				refuses(t, b.name+" changed", b.want)(b.open(ring, "here", bad))
			}
			refuses(t, b.name+" elsewhere", b.want)(b.open(ring, "there", sealed))
			refuses(t, b.name+" in another deployment", b.want)(b.open(moved, "here", sealed))
		}
	}
}

func refuses(t *testing.T, name string, want error) func([]byte, error) {
	t.Helper()
	return func(got []byte, err error) {
		t.Helper()
		if !errors.Is(err, want) || got != nil {
			t.Errorf("%s: %q, %v, want %v", name, got, err, want)
		}
	}
}

// TestBoxesAreApart opens each sealed thing as each other kind: a token must not pass for a
// signing key although they share a key.
func TestBoxesAreApart(t *testing.T) {
	ring, _, _ := testRing(t)
	for _, from := range boxes {
		sealed, _ := from.seal(ring, "here", []byte(hush))
		for _, to := range boxes {
			if from.name != to.name {
				refuses(t, from.name+" as "+to.name, to.want)(to.open(ring, "here", sealed))
			}
		}
	}
	sealed, _ := ring.SealSystem("signing", "here", []byte(hush))
	refuses(t, "another purpose", ErrTampered)(ring.OpenSystem("other", "here", sealed))
}

func TestKeysAreRandom(t *testing.T) {
	a, first, _ := testRing(t)
	b, second, _ := testRing(t)
	if reflect.DeepEqual(first, second) || bytes.Equal(a.RowMAC("t"), b.RowMAC("t")) {
		t.Error("two rings share keys")
	}
	if bytes.Equal(mustSeal(t, a), mustSeal(t, a)) {
		t.Error("two seals of one text are the same")
	}
}

func TestRingIsShared(t *testing.T) {
	ring, _, _ := testRing(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if _, err := ring.OpenToken("p", ring.Token("p", []byte(hush))); err != nil {
					t.Error(err)
				}
				if err := ring.CheckRow(ring.RowMAC("t", 1), "t", 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
