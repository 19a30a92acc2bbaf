package envelope

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// sumSize is the length of one part of a digest.
const sumSize = sha256.Size

// A Digest stands for a set of rows: which rows it holds, whatever their order, in one or more
// parts. It changes with each row that comes or goes, without a look at the others. It is the
// sum of a keyed hash of each row's MAC (an additive multiset hash: Clarke, Devadas and others,
// "Incremental Multiset Hash Functions", 2003). Sums that an attacker could read would let him
// find other rows of the same sum, so a digest leaves the process only sealed. A Digest does not
// change; Fold returns another.
type Digest []byte

// NewDigest is the digest of no rows, in parts.
func (r *Ring) NewDigest(parts int) Digest {
	return append(r.newest(purposeDigest).header(), make([]byte, parts*sumSize)...)
}

// Parts is the number of parts of the digest; zero for a nil one.
func (d Digest) Parts() int { return max(0, len(d)-ringHeaderSize) / sumSize }

// Part is a part of the digest as a digest of its own.
func (d Digest) Part(i int) Digest {
	at := ringHeaderSize + i*sumSize
	return append(bytes.Clone(d[:ringHeaderSize]), d[at:at+sumSize]...)
}

// Equal says whether two digests stand for the same sets.
func (d Digest) Equal(other Digest) bool { return hmac.Equal(d, other) }

// Fold returns the digest after rows of one part have gone and come, given by their row MACs.
func (r *Ring) Fold(d Digest, part int, gone, come [][]byte) (Digest, error) {
	k, found := r.named(purposeDigest, d)
	if !found || part < 0 || part >= d.Parts() {
		return nil, fmt.Errorf("digest: %w", ErrTampered)
	}
	out := bytes.Clone(d)
	sum := out[ringHeaderSize+part*sumSize:][:sumSize]
	h := hmac.New(sha256.New, k.key.Reveal())
	element := make([]byte, 0, sumSize)
	fold := func(macs [][]byte, op func(x, y, carry uint64) (uint64, uint64)) {
		for _, mac := range macs {
			h.Reset()
			h.Write(mac)
			combine(sum, h.Sum(element), op)
		}
	}
	fold(gone, bits.Sub64)
	fold(come, bits.Add64)
	return out, nil
}

// Empty is the digest of no rows under the key and with one part of d, to sum up rows that are
// to be compared with a part of d.
func (d Digest) Empty() Digest {
	return append(bytes.Clone(d[:min(ringHeaderSize, len(d))]), make([]byte, sumSize)...)
}

// combine adds n to sum (bits.Add64) or takes it away (bits.Sub64), in place: 256-bit numbers,
// big-endian.
func combine(sum, n []byte, op func(x, y, carry uint64) (uint64, uint64)) {
	var carry uint64
	for at := sumSize - 8; at >= 0; at -= 8 {
		var word uint64
		word, carry = op(binary.BigEndian.Uint64(sum[at:]), binary.BigEndian.Uint64(n[at:]), carry)
		binary.BigEndian.PutUint64(sum[at:], word)
	}
}

// SealDigest seals a digest for the database, bound to what it is the digest of: the name of the
// set, the revision at which the set stood so, and the number of its rows.
func (r *Ring) SealDigest(d Digest, set string, revision, members int64) ([]byte, error) {
	sealed, err := r.seal(purposeDigest, r.digestContext(set, revision, members), d)
	if err != nil {
		return nil, fmt.Errorf("seal the digest of %s: %w", set, err)
	}
	return sealed, nil
}

// OpenDigest opens what SealDigest made of the same set, revision and number of rows.
func (r *Ring) OpenDigest(sealed []byte, set string, revision, members int64) (Digest, error) {
	d, err := r.open(purposeDigest, r.digestContext(set, revision, members), sealed)
	if err != nil {
		return nil, fmt.Errorf("digest of %s: %w", set, err)
	}
	return d, nil
}

func (r *Ring) digestContext(set string, revision, members int64) []byte {
	return encode("strongroom digest v1", r.deployment, set, revision, members)
}
