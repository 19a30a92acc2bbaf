package envelope

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

var here = Place{VaultID: "v-1", Kind: "secret", Name: "db", Version: "0001", Ordinal: 3}

func TestDataKeySealAndOpen(t *testing.T) {
	k := DataKey{key: newKey()}
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
	k := DataKey{key: newKey()}
	sealed, err := k.Seal(here, NewValue([]byte(hush)))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range changes(sealed) {
		if got, err := k.Open(here, bad); err != ErrTampered { //nolint:errorlint // the bare error is the promise
			t.Errorf("Open(%x) = %d bytes, %v, want %v", bad, got.Len(), err, ErrTampered)
		}
	}
	for name, other := range map[string]DataKey{"another": {key: newKey()}, "zero": {}} {
		if _, err := other.Open(here, sealed); err != ErrTampered { //nolint:errorlint // as above
			t.Errorf("%s key: %v, want %v", name, err, ErrTampered)
		}
	}
	if _, err := (DataKey{}).Seal(here, NewValue([]byte(hush))); err == nil {
		t.Error("the zero DataKey seals, want an error")
	}
}

func TestDataKeyBindsPlace(t *testing.T) {
	k := DataKey{key: newKey()}
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
	k, wrapped, err := ring.NewDataKey("v-1")
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := k.Seal(here, NewValue([]byte(hush)))
	again, err := OpenRing(root, "deployment-1", stored)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := again.OpenDataKey("v-1", wrapped)
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
	for name, open := range map[string]func() (DataKey, error){
		"other vault":      func() (DataKey, error) { return ring.OpenDataKey("v-2", wrapped) },
		"other deployment": func() (DataKey, error) { return foreign.OpenDataKey("v-1", wrapped) },
		"empty":            func() (DataKey, error) { return ring.OpenDataKey("v-1", nil) },
	} {
		if _, err := open(); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v, want %v", name, err, ErrTampered)
		}
	}
	for _, bad := range changes(wrapped) {
		if _, err := ring.OpenDataKey("v-1", bad); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrWrongRootKey) {
			t.Errorf("OpenDataKey(%x): %v, want a refusal", bad, err)
		}
	}
	otherRoot, _ := newLocalKey(make([]byte, keySize))
	if _, err := (&Ring{root: otherRoot, deployment: "deployment-1"}).OpenDataKey("v-1", wrapped); !errors.Is(err, ErrWrongRootKey) {
		t.Errorf("other root key: %v, want %v", err, ErrWrongRootKey)
	}
}

func BenchmarkDataKeyOpen(b *testing.B) {
	k := DataKey{key: newKey()}
	sealed, _ := k.Seal(here, NewValue(make([]byte, 1024)))
	b.SetBytes(1024)
	for b.Loop() {
		if _, err := k.Open(here, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
