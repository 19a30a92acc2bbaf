// Package envelope seals what the database keeps and proves what the database says.
//
// The threat is a stolen database file, dump or backup blob, and a writer to the database who
// is not us. The first must learn no value and no key. The second must not be able to insert,
// edit, swap or move anything without being noticed when it is read: rows carry MACs. Nor to
// delete a row or bring back an old one: sets of rows carry digests. What no row can tell is
// the return of a whole old database: each node remembers how far it had come. Whoever holds
// the root key and the database has it all.
//
// # Keys
//
//	root key            from a RootKey provider, never in the database
//	├── ring keys       random, one or more a purpose, wrapped by the root key
//	│   ├── mac         row MACs
//	│   ├── backup      backup blobs; outlives root keys and vaults
//	│   ├── pepper      HMAC of generated client secrets
//	│   ├── system      our own secrets (signing keys) and opaque tokens
//	│   ├── digest      digests of sets of rows
//	│   └── sign        Ed25519 seed: signs what leaves, such as audit segments
//	└── data keys       random, one a vault, wrapped by the root key; two while values are sealed anew
//	    └── value keys  HKDF-SHA256 from the data key, one a version of an object
//
// # Formats
//
// Numbers are big-endian, the figures under the parts are bytes.
//
//	value       format=1 │ codec=1 │ number of data key │ length of plaintext │ nonce │ ciphertext │ tag
//	            1          1         2                    4                     12                   16
//
//	box         header │ salt │ nonce │ ciphertext │ tag
//	            h        16     12                   16
//	  of a root key     header = format=1
//	  of the ring       header = format=1 │ ring key id (4)
//
//	data keys   format=1 │ count, then of each: number │ length of id │ root key id │ length of box │ box
//	            1          1                    2        1                            2
//
//	row MAC     format=1 │ ring key id │ HMAC-SHA256
//	pepper      1          4             32, over the two parts before and the encoded fields
//
//	signature   format=1 │ ring key id │ Ed25519 signature
//	            1          4             64
//
//	digest      a box of the ring over: format=1 │ ring key id │ a sum (32) for each part
//	            of the set; a sum is that of HMAC-SHA256(row MAC │ where it stands) over
//	            the part's rows, modulo 2^256
//
// Everything is AES-256-GCM under a key that HKDF-SHA256 derives with the context (what the
// thing is and where it stands) as info. Header, salt and context are associated data too: the
// derivation alone would do, this keeps the binding if someone mends the derivation.
//
// # Limits of use
//
// Random 96-bit nonces allow 2^32 seals under one key (NIST SP 800-38D, 8.3). A value key seals
// one version, hence once, or a few times when a transaction is tried again. A box has a key of
// its own through its 128-bit salt, so no count of boxes comes near: two of 2^64 boxes may
// share a key, and then still need the same nonce to do harm. One seal holds less than 2^32
// bytes, well under the 2^36-32 of the same document, 5.2.1.1.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrTampered is all that is said when something from the database does not open or a row
// does not match its MAC: it was changed, cut, moved, or sealed under another key.
var ErrTampered = errors.New("stored data does not match its seal")

// ErrForeign is all that is said when bytes that a caller brought (a backup blob, a token) do
// not open: they are not ours, not of this kind, or were changed. It is no sign of an attack
// on the database; the caller's face turns it into a refusal.
var ErrForeign = errors.New("not sealed here for this purpose")

// ErrWrongRootKey means that the root key at hand is not the one that wrapped the stored
// keys. Nothing is broken: the operator gave another file or database.
var ErrWrongRootKey = errors.New("the root key is not the one that wrapped this data")

// redacted gives a type that holds plaintext or keys its printed form, in every way of
// printing that asks the type. Where fmt cannot ask (unexported fields), it is the closure
// in Value that keeps the bytes out of sight.
type redacted struct{}

const redaction = "[redacted]"

// Format prints [redacted] for every verb.
func (redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redaction) }

// LogValue logs [redacted].
func (redacted) LogValue() slog.Value { return slog.StringValue(redaction) }

// MarshalText writes [redacted]; JSON, XML and YAML encoders use it.
func (redacted) MarshalText() ([]byte, error) { return []byte(redaction), nil }

// Tags of encoded fields. They are part of stored MACs and of derived keys: append only.
const (
	tagNull byte = iota
	tagString
	tagBytes
	tagInteger
	tagBool
)

// encode joins a label and fields so that different lists never give the same bytes: each
// part stands behind its type and its length ("ab","c" and "a","bc" must differ, and so must
// NULL, "" and 0). The types are those of a database row: string, []byte, int, int64, bool,
// nil, *string, *int64. A nil pointer is NULL. A nil []byte is an empty one, because the
// SQLite driver gives an empty blob back as nil. Another type is a mistake of the programmer
// and panics.
func encode(label string, fields ...any) []byte {
	size := 256
	for _, f := range fields {
		if long, ok := f.([]byte); ok {
			size += len(long)
		}
	}
	b := appendPart(make([]byte, 0, size), tagString, label)
	for _, f := range fields {
		b = appendField(b, f)
	}
	return b
}

func appendField(b []byte, field any) []byte {
	switch f := field.(type) {
	case nil:
		return appendPart(b, tagNull, "")
	case string:
		return appendPart(b, tagString, f)
	case []byte:
		return appendPart(b, tagBytes, f)
	case int:
		return appendInteger(b, int64(f))
	case int64:
		return appendInteger(b, f)
	case bool:
		if f {
			return appendPart(b, tagBool, "\x01")
		}
		return appendPart(b, tagBool, "\x00")
	case *string:
		if f == nil {
			return appendPart(b, tagNull, "")
		}
		return appendPart(b, tagString, *f)
	case *int64:
		if f == nil {
			return appendPart(b, tagNull, "")
		}
		return appendInteger(b, *f)
	}
	panic(fmt.Sprintf("envelope: field of type %T cannot be encoded", field))
}

func appendInteger(b []byte, n int64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, tagInteger), 8)
	return binary.BigEndian.AppendUint64(b, uint64(n))
}

func appendPart[T string | []byte](b []byte, tag byte, part T) []byte {
	b = binary.BigEndian.AppendUint64(append(b, tag), uint64(len(part)))
	return append(b, part...)
}
