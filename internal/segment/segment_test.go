package segment_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db/dbtest"
	"strongroom/internal/segment"
)

// made is a segment of n records from position 7 on.
func made(t testing.TB, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := segment.NewWriter(&out, segment.Index{Deployment: "d", Tenant: "t", Node: "n", First: 7, Previous: "p"})
	for i := range n {
		err = errors.Join(err, w.Add(fmt.Appendf(nil, "record %d %01000d", i, i)))
	}
	if _, _, closeErr := w.Close(dbtest.Ring(t), 1); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return out.Bytes()
}

func open(t testing.TB, b []byte) (*segment.Segment, error) {
	return segment.Open(bytes.NewReader(b), int64(len(b)), dbtest.Ring(t).VerifyKeys())
}

func TestSegmentComesBack(t *testing.T) {
	for _, n := range []int{1, 255, 1000} {
		s, err := open(t, made(t, n))
		if err != nil {
			t.Fatal(err)
		}
		if s.Index.First != 7 || s.Index.Last != int64(6+n) || s.Index.Previous != "p" || s.Index.ClosedUs != 1 {
			t.Errorf("index = %+v", s.Index)
		}
		for from := int64(7); from <= s.Index.Last; from += 61 {
			next := from
			err := s.Records(from, func(position int64, record []byte) (bool, error) {
				if want := fmt.Sprintf("record %d %01000[1]d", position-7); position != next || string(record) != want {
					t.Errorf("record %d = %.20q at %d", next, record, position)
				}
				next++
				return next < from+70, nil
			})
			if want := min(from+70, s.Index.Last+1); err != nil || next != want {
				t.Errorf("records from %d end before %d, want %d: %v", from, next, want, err)
			}
		}
	}
}

// The format is readable by standard parts alone: Ed25519, JSON, gzip.
func TestSegmentByHand(t *testing.T) {
	b := made(t, 300)
	signature := b[len(b)-64:]
	end := len(b) - 64 - 5 - 4
	index := b[end-int(binary.BigEndian.Uint32(b[end:])) : end]
	message := append([]byte("strongroom audit segment v1\n"), index...)
	if !ed25519.Verify(dbtest.Ring(t).VerifyKeys()[0], message, signature) {
		t.Error("the signature does not hold")
	}
	var x struct {
		Blocks []struct{ Offset, Size int64 } `json:"blocks"`
	}
	if err := json.Unmarshal(index, &x, json.MatchCaseInsensitiveNames(true)); err != nil || len(x.Blocks) < 2 {
		t.Fatalf("%d blocks: %v", len(x.Blocks), err)
	}
	first, last := x.Blocks[0], x.Blocks[len(x.Blocks)-1]
	z, err := gzip.NewReader(bytes.NewReader(b[first.Offset : last.Offset+last.Size])) // members one after another
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for len(plain) > 0 {
		length, w := binary.Uvarint(plain)
		if want := fmt.Sprintf("record %d %01000[1]d", n); string(plain[w:w+int(length)]) != want {
			t.Fatalf("record %d = %.20q", n, plain[w:])
		}
		plain, n = plain[w+int(length):], n+1
	}
	if n != 300 {
		t.Errorf("%d records, want 300", n)
	}
}

func TestForeignKey(t *testing.T) {
	b := made(t, 1)
	_, err := segment.Open(bytes.NewReader(b), int64(len(b)), dbtest.NewRing(t).VerifyKeys())
	if !errors.Is(err, segment.ErrForeign) {
		t.Errorf("with the key of another deployment: got %v, want %v", err, segment.ErrForeign)
	}
}

// Every byte of the file counts.
func TestEveryByteIsProven(t *testing.T) {
	b := made(t, 3)
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		s, err := open(t, changed)
		if err == nil {
			err = s.Records(1, func(int64, []byte) (bool, error) { return true, nil })
		}
		// The id of the ring key says only which key to look for; there is one.
		if isKeyID := i >= len(b)-64-4 && i < len(b)-64; !errors.Is(err, segment.ErrForeign) && !isKeyID {
			t.Fatalf("byte %d of %d changed: got %v, want %v", i, len(b), err, segment.ErrForeign)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(made(f, 2))
	f.Add([]byte("strongroom-audit-segment 1\n"))
	keys := dbtest.Ring(f).VerifyKeys()
	genuine := made(f, 2)
	signed := len(genuine) - 64 - 4 // before the id of the ring key, which only says what to look for
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := segment.Open(bytes.NewReader(b), int64(len(b)), keys)
		if err == nil {
			err = s.Records(1, func(int64, []byte) (bool, error) { return true, nil })
		}
		if err == nil && (len(b) != len(genuine) || !bytes.Equal(b[:signed], genuine[:signed])) {
			t.Errorf("%d bytes pass that nobody signed", len(b))
		}
	})
}
