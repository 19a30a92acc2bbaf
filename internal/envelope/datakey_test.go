package envelope

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

var here = Place{VaultID: "v-1", Kind: "secret", Name: "db", Version: "0001", Ordinal: 3}

func newDataKeys() DataKeys { return DataKeys{keys: []dataKey{{1, newKey()}}} }

func TestDataKeySealAndOpen(t *testing.T) {
	k := newDataKeys()
	for _, plain := range [][]byte{{}, {0}, []byte(hush), bytes.Repeat([]byte("x"), 1<<20)} {
		sealed, err := k.Seal(here, NewValue(plain))
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Open(here, sealed)
		if err != nil || !bytes.Equal(got.Reveal(), plain) || got.Reveal() == nil {
			t.Errorf("%d bytes come back as %d, %v", len(plain), got.Len(), err)
		}
		if again, _ := k.Seal(here, NewValue(plain)); bytes.Equal(again, sealed) {
			t.Errorf("two seals of %d bytes are the same", len(plain))
		}
	}
}

// changes returns sealed with each byte changed, cut at each length, and made longer.
func changes(sealed []byte) [][]byte {
	out := [][]byte{nil, append(slices.Clone(sealed), 0)}
	for i := range sealed {
		bad := slices.Clone(sealed)
		bad[i] ^= 0x01
		out = append(out, bad, sealed[:i])
	}
	return out
}

func TestDataKeyNoticesChanges(t *testing.T) {
	k := newDataKeys()
	sealed, err := k.Seal(here, NewValue([]byte(hush)))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range changes(sealed) {
		if got, err := k.Open(here, bad); err != ErrTampered { //nolint:errorlint // the bare error is the promise
			t.Errorf("Open(%x) = %d bytes, %v, want %v", bad, got.Len(), err, ErrTampered)
		}
	}
	for name, other := range map[string]DataKeys{"another": newDataKeys(), "zero": {}} {
		if _, err := other.Open(here, sealed); err != ErrTampered { //nolint:errorlint // as above
			t.Errorf("%s key: %v, want %v", name, err, ErrTampered)
		}
	}
	if _, err := (DataKeys{}).Seal(here, NewValue([]byte(hush))); err == nil {
		t.Error("the zero DataKeys seal, want an error")
	}
}

func TestDataKeyBindsPlace(t *testing.T) {
	k := newDataKeys()
	sealed, err := k.Seal(here, NewValue([]byte(hush)))
	if err != nil {
		t.Fatal(err)
	}
	for _, there := range []Place{
		{},
		{"v-2", "secret", "db", "0001", 3},
		{"v-1", "key", "db", "0001", 3},
		{"v-1", "secret", "dc", "0001", 3},
		{"v-1", "secret", "db", "0002", 3},
		{"v-1", "secret", "db", "0001", 4},
		{"v-1", "secret", "db0", "001", 3},
		{"v-1secret", "", "db", "0001", 3},
		{"secret", "v-1", "db", "0001", 3},
	} {
		if _, err := k.Open(there, sealed); err != ErrTampered { //nolint:errorlint // the bare error is the promise
			t.Errorf("Open at %+v: %v, want %v", there, err, ErrTampered)
		}
	}
}

func TestRingDataKey(t *testing.T) {
	ring, stored, root := testRing(t)
	wrapped, err := ring.NewDataKeys("v-1", root.Newest())
	if err != nil {
		t.Fatal(err)
	}
	k, err := ring.OpenDataKeys("v-1", wrapped)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := k.Seal(here, NewValue([]byte(hush)))
	again, err := OpenRing(root, "deployment-1", stored)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := again.OpenDataKeys("v-1", wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened.Open(here, sealed); err != nil || string(got.Reveal()) != hush {
		t.Errorf("value under the reopened key: %d bytes, %v", got.Len(), err)
	}
	foreign, _, err := NewRing(root, "deployment-2")
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (DataKeys, error){
		"other vault":      func() (DataKeys, error) { return ring.OpenDataKeys("v-2", wrapped) },
		"other deployment": func() (DataKeys, error) { return foreign.OpenDataKeys("v-1", wrapped) },
		"empty":            func() (DataKeys, error) { return ring.OpenDataKeys("v-1", nil) },
	} {
		if _, err := open(); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v, want %v", name, err, ErrTampered)
		}
	}
	for _, bad := range changes(wrapped) {
		if _, err := ring.OpenDataKeys("v-1", bad); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrWrongRootKey) {
			t.Errorf("OpenDataKeys(%x): %v, want a refusal", bad, err)
		}
	}
	otherRoot, _ := newLocalKey(make([]byte, keySize))
	if _, err := (&Ring{roots: NewRootKeys(otherRoot), deployment: "deployment-1"}).OpenDataKeys("v-1", wrapped); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("other root key: %v, want %v", err, ErrWrongRootKey)
	}
}

// The steps of changing a vault's data key: a second one seals, both open, then one is left.
func TestDataKeyIsChanged(t *testing.T) {
	ring, _, root := testRing(t)
	first, err := ring.NewDataKeys("v-1", root.Newest())
	if err != nil {
		t.Fatal(err)
	}
	open := func(sealed []byte) DataKeys {
		t.Helper()
		k, err := ring.OpenDataKeys("v-1", sealed)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	old, _ := open(first).Seal(here, NewValue([]byte(hush)))
	second, err := ring.AddDataKey("v-1", first, root.Newest())
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := open(second).Seal(here, NewValue([]byte(hush)))
	if k := open(second); k.SealedByNewest(old) || !k.SealedByNewest(fresh) {
		t.Error("the second key does not seal")
	}
	third, err := OnlyNewestDataKey(second)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		keys, sealed []byte
		opens        bool
	}{
		"old by the first": {first, old, true}, "new by the first": {first, fresh, false},
		"old by both": {second, old, true}, "new by both": {second, fresh, true},
		"old by the last": {third, old, false}, "new by the last": {third, fresh, true},
	} {
		got, err := open(tt.keys).Open(here, tt.sealed)
		if (err == nil) != tt.opens || err == nil && string(got.Reveal()) != hush {
			t.Errorf("%s: %v, want it to open: %v", name, err, tt.opens)
		}
	}
	for n := range maxDataKeys {
		if second, err = ring.AddDataKey("v-1", second, root.Newest()); err != nil && n < maxDataKeys-2 {
			t.Fatal(err)
		}
	}
	if err == nil {
		t.Error("data keys without end, want a bound")
	}
}

// What a root key wrapped is wrapped by another, and is the same afterwards.
func TestRootKeyIsChanged(t *testing.T) {
	ring, stored, roots := testRing(t)
	wrapped, err := ring.NewDataKeys("v-1", roots.Newest())
	if err != nil {
		t.Fatal(err)
	}
	k, _ := ring.OpenDataKeys("v-1", wrapped)
	sealed, _ := k.Seal(here, NewValue([]byte(hush)))
	mac := ring.RowMAC("t", "a")

	next, _ := newLocalKey(bytes.Repeat([]byte("n"), keySize))
	roots.Add(next)
	rewrapped, changed, err := ring.RewrapDataKeys("v-1", wrapped, next.ID())
	if err != nil || !changed {
		t.Fatalf("rewrap: %v, %v", changed, err)
	}
	for i, s := range stored {
		if stored[i], err = ring.Rewrap(s, next.ID()); err != nil {
			t.Fatal(err)
		}
	}
	if _, changed, err := ring.RewrapDataKeys("v-1", rewrapped, next.ID()); changed || err != nil {
		t.Errorf("a second time: %v, %v, want nothing to do", changed, err)
	}
	again, err := OpenRing(NewRootKeys(next), "deployment-1", stored)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CheckRow(mac, "t", "a"); err != nil {
		t.Errorf("a row from before: %v", err)
	}
	k, err = again.OpenDataKeys("v-1", rewrapped)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(here, sealed); err != nil || string(got.Reveal()) != hush {
		t.Errorf("a value from before: %v", err)
	}
	if _, err := again.OpenDataKeys("v-1", wrapped); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("what the old root key wraps: %v, want %v", err, ErrWrongRootKey)
	}
	if _, _, err := again.RewrapDataKeys("v-1", rewrapped, "0123456789abcdef"); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("by a root key that is not at hand: %v, want %v", err, ErrWrongRootKey)
	}
}

func BenchmarkDataKeyOpen(b *testing.B) {
	k := newDataKeys()
	sealed, _ := k.Seal(here, NewValue(make([]byte, 1024)))
	b.SetBytes(1024)
	for b.Loop() {
		if _, err := k.Open(here, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
