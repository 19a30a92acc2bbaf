package envelope

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	valueFormat     byte = 1
	codecAES256GCM  byte = 1 // value key by HKDF-SHA256, AES-256-GCM, random nonce
	valueHeaderSize      = 6
)

// A DataKey seals the values of one vault. It prints as [redacted] and may be shared between
// goroutines. The zero DataKey seals and opens nothing.
type DataKey struct {
	redacted
	key Value
}

// A Place is where a value stands. A value opens only there, so that a row copied over
// another, in the same vault or not, does not pass for it.
type Place struct {
	VaultID string
	Kind    string // the collection: secret, key, certificate
	Name    string // as stored: one spelling per object
	Version string
	Ordinal int64
}

func (p Place) encode() []byte {
	return encode("strongroom value v1", p.VaultID, p.Kind, p.Name, p.Version, p.Ordinal)
}

// Seal encrypts plain for its place. Sealing twice gives different bytes. The zero Value is
// sealed as an empty one.
func (k DataKey) Seal(p Place, plain Value) ([]byte, error) {
	if int64(plain.Len()) > math.MaxUint32 {
		return nil, fmt.Errorf("seal value: %d bytes are too long", plain.Len())
	}
	place := p.encode()
	aead, err := newGCM(k.key, nil, place)
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	out := make([]byte, 0, valueHeaderSize+gcmOverhead+plain.Len())
	out = binary.BigEndian.AppendUint32(append(out, valueFormat, codecAES256GCM), uint32(plain.Len()))
	return aead.Seal(out, nil, plain.Reveal(), slices.Concat(out, place)), nil
}

// Open decrypts what Seal made for the same place. ErrTampered is its only failure, whatever
// the reason.
func (k DataKey) Open(p Place, sealed []byte) (Value, error) {
	if !validValueHeader(sealed) {
		return Value{}, ErrTampered
	}
	place := p.encode()
	aead, err := newGCM(k.key, nil, place)
	if err != nil {
		return Value{}, ErrTampered
	}
	header, body := sealed[:valueHeaderSize], sealed[valueHeaderSize:]
	plain, err := aead.Open([]byte{}, nil, body, slices.Concat(header, place))
	if err != nil {
		return Value{}, ErrTampered
	}
	return NewValue(plain), nil
}

func validValueHeader(sealed []byte) bool {
	if len(sealed) < valueHeaderSize+gcmOverhead {
		return false
	}
	length := int64(binary.BigEndian.Uint32(sealed[2:valueHeaderSize]))
	return sealed[0] == valueFormat && sealed[1] == codecAES256GCM &&
		length == int64(len(sealed)-valueHeaderSize-gcmOverhead)
}

const dataKeyFormat byte = 1

// NewDataKey draws the data key of a vault. The second result is what the database stores:
// the key wrapped by the root key, bound to this deployment and vault. Whoever destroys all
// copies of it has destroyed the vault's values.
func (r *Ring) NewDataKey(vaultID string) (DataKey, []byte, error) {
	id := r.root.ID()
	if id == "" || len(id) > math.MaxUint8 {
		return DataKey{}, nil, fmt.Errorf("wrap data key: root key id of %d bytes: want 1 to 255", len(id))
	}
	key := newKey()
	header := append([]byte{dataKeyFormat, byte(len(id))}, id...)
	box, err := r.root.Wrap(key.Reveal(), r.dataKeyContext(vaultID, header))
	if err != nil {
		return DataKey{}, nil, fmt.Errorf("wrap data key: %w", err)
	}
	return DataKey{key: key}, append(header, box...), nil
}

// OpenDataKey unwraps the stored data key of a vault. It fails with ErrWrongRootKey where
// another root key wrapped it, and with ErrTampered where it is not this vault's; a provider
// out of process may fail in ways of its own.
func (r *Ring) OpenDataKey(vaultID string, sealed []byte) (DataKey, error) {
	if len(sealed) < 2 || sealed[0] != dataKeyFormat || len(sealed) < 2+int(sealed[1]) {
		return DataKey{}, fmt.Errorf("unwrap data key: %w", ErrTampered)
	}
	headerSize := 2 + int(sealed[1])
	if id := string(sealed[2:headerSize]); id != r.root.ID() {
		return DataKey{}, fmt.Errorf("unwrap data key: root key %q at hand, wrapped by %q: %w", r.root.ID(), id, ErrWrongRootKey)
	}
	key, err := r.root.Unwrap(sealed[headerSize:], r.dataKeyContext(vaultID, sealed[:headerSize]))
	if err != nil {
		return DataKey{}, fmt.Errorf("unwrap data key: %w", err)
	}
	if len(key) != keySize {
		return DataKey{}, fmt.Errorf("unwrap data key: %w", ErrTampered)
	}
	return DataKey{key: NewValue(key)}, nil
}

func (r *Ring) dataKeyContext(vaultID string, header []byte) []byte {
	return encode("strongroom data key v1", r.deployment, "vault data key", vaultID, header)
}
