package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The sums are those that math/big makes of crypto/hmac, whatever the order of coming and going.
func TestDigestIsASum(t *testing.T) {
	ring, _, _ := testRing(t)
	rows := make([][]byte, 50)
	for i := range rows {
		rows[i] = fmt.Appendf(nil, "row %d", i)
	}
	want := new(big.Int)
	for _, row := range rows[10:] {
		h := hmac.New(sha256.New, ring.newest(purposeDigest).key.Reveal())
		h.Write(row)
		want.Add(want, new(big.Int).SetBytes(h.Sum(nil)))
	}
	want.Mod(want, new(big.Int).Lsh(big.NewInt(1), 256))

	d := ring.NewDigest(3)
	if d.Parts() != 3 {
		t.Fatalf("parts = %d, want 3", d.Parts())
	}
	order := rand.Perm(len(rows))
	for _, i := range order {
		d = fold(t, ring, d, 1, nil, rows[i])
	}
	for i := range 10 {
		d = fold(t, ring, d, 1, rows[i], nil)
	}
	if got := new(big.Int).SetBytes(d.Part(1)[ringHeaderSize:]); got.Cmp(want) != 0 {
		t.Errorf("sum = %x, want %x", got, want)
	}
	if empty := d.Empty(); !d.Part(0).Equal(empty) || !d.Part(2).Equal(empty) || d.Part(1).Equal(empty) {
		t.Error("another part has changed, or part 1 has not")
	}
}

func fold(t *testing.T, r *Ring, d Digest, part int, gone, come []byte) Digest {
	t.Helper()
	var out, in [][]byte
	if gone != nil {
		out = [][]byte{gone}
	}
	if come != nil {
		in = [][]byte{come}
	}
	d, err := r.Fold(d, part, out, in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A sealed digest opens only as that of its set, revision and number of rows, in its deployment.
func TestSealedDigests(t *testing.T) {
	ring, _, _ := testRing(t)
	foreign, _, _ := testRing(t)
	d := fold(t, ring, ring.NewDigest(1), 0, nil, []byte("a"))
	sealed, err := ring.SealDigest(d, "set", 7, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.OpenDigest(sealed, "set", 7, 1); err != nil || !got.Equal(d) {
		t.Errorf("opened %x, %v; want %x", got, err, d)
	}
	for what, open := range map[string]func() (Digest, error){
		"another set":        func() (Digest, error) { return ring.OpenDigest(sealed, "sets", 7, 1) },
		"another revision":   func() (Digest, error) { return ring.OpenDigest(sealed, "set", 8, 1) },
		"another count":      func() (Digest, error) { return ring.OpenDigest(sealed, "set", 7, 2) },
		"another deployment": func() (Digest, error) { return foreign.OpenDigest(sealed, "set", 7, 1) },
		"nothing":            func() (Digest, error) { return ring.OpenDigest(nil, "set", 7, 1) },
	} {
		if _, err := open(); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: got %v, want ErrTampered", what, err)
		}
	}
	for _, bad := range []Digest{nil, {}, d[:4], foreign.NewDigest(1)} {
		if _, err := ring.Fold(bad, 0, nil, nil); !errors.Is(err, ErrTampered) {
			t.Errorf("fold of %x: got %v, want ErrTampered", bad, err)
		}
	}
}
