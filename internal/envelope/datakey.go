package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	valueFormat     byte = 1
	codecAES256GCM  byte = 1 // value key by HKDF-SHA256, AES-256-GCM, random nonce
	valueHeaderSize      = 8
)

// DataKeys seal the values of one vault. Each has a number, which stands with what it seals; the
// newest seals, all open. They print as [redacted] and may be shared between goroutines. The zero
// DataKeys seal and open nothing.
type DataKeys struct {
	redacted
	keys []dataKey // the newest last
}

type dataKey struct {
	number uint16
	key    Value
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
func (d DataKeys) Seal(p Place, plain Value) ([]byte, error) {
	if len(d.keys) == 0 {
		return nil, errors.New("seal value: there is no data key")
	}
	k := d.keys[len(d.keys)-1]
	if int64(plain.Len()) > math.MaxUint32 {
		return nil, fmt.Errorf("seal value: %d bytes are too long", plain.Len())
	}
	place := p.encode()
	aead, err := newGCM(k.key, nil, place)
	if err != nil {
		return nil, fmt.Errorf("seal value: %w", err)
	}
	out := make([]byte, 0, valueHeaderSize+gcmOverhead+plain.Len())
	out = binary.BigEndian.AppendUint16(append(out, valueFormat, codecAES256GCM), k.number)
	out = binary.BigEndian.AppendUint32(out, uint32(plain.Len()))
	return aead.Seal(out, nil, plain.Reveal(), slices.Concat(out, place)), nil
}

// Open decrypts what Seal made for the same place. ErrTampered is its only failure, whatever
// the reason.
func (d DataKeys) Open(p Place, sealed []byte) (Value, error) {
	if !validValueHeader(sealed) {
		return Value{}, ErrTampered
	}
	i := slices.IndexFunc(d.keys, func(k dataKey) bool { return k.number == valueKey(sealed) })
	if i < 0 {
		return Value{}, ErrTampered
	}
	place := p.encode()
	aead, err := newGCM(d.keys[i].key, nil, place)
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

// SealedByNewest says whether a value has been sealed by the newest key.
func (d DataKeys) SealedByNewest(sealed []byte) bool {
	return validValueHeader(sealed) && len(d.keys) > 0 && valueKey(sealed) == d.keys[len(d.keys)-1].number
}

func valueKey(sealed []byte) uint16 { return binary.BigEndian.Uint16(sealed[2:]) }

func validValueHeader(sealed []byte) bool {
	if len(sealed) < valueHeaderSize+gcmOverhead {
		return false
	}
	length := int64(binary.BigEndian.Uint32(sealed[4:valueHeaderSize]))
	return sealed[0] == valueFormat && sealed[1] == codecAES256GCM &&
		length == int64(len(sealed)-valueHeaderSize-gcmOverhead)
}

const (
	dataKeysFormat byte = 1
	// maxDataKeys bounds how many data keys a vault has at a time: two while values are sealed anew,
	// one otherwise.
	maxDataKeys = 8
)

// A wrappedKey is a data key as the database stores it.
type wrappedKey struct {
	number    uint16
	rootKeyID string
	box       []byte
}

// NewDataKeys draws the first data key of a vault and returns what the database stores: the key
// wrapped by a root key, bound to this deployment and vault. Whoever destroys all copies of it has
// destroyed the vault's values.
func (r *Ring) NewDataKeys(vaultID, rootKeyID string) ([]byte, error) {
	return r.addDataKey(vaultID, nil, rootKeyID)
}

// AddDataKey draws a new data key beside those that a vault has. It seals from then on.
func (r *Ring) AddDataKey(vaultID string, sealed []byte, rootKeyID string) ([]byte, error) {
	keys, err := splitDataKeys(sealed)
	if err != nil {
		return nil, err
	}
	return r.addDataKey(vaultID, keys, rootKeyID)
}

func (r *Ring) addDataKey(vaultID string, keys []wrappedKey, rootKeyID string) ([]byte, error) {
	number := uint16(1)
	if n := len(keys); n > 0 {
		number = keys[n-1].number + 1
	}
	if len(keys) == maxDataKeys || number == 0 {
		return nil, fmt.Errorf("make a data key: the vault has %d, the last of number %d", len(keys), number-1)
	}
	k, err := r.wrapDataKey(vaultID, number, rootKeyID, newKey().Reveal())
	if err != nil {
		return nil, err
	}
	return joinDataKeys(append(keys, k)), nil
}

// OnlyNewestDataKey leaves out all data keys but the newest: what they sealed is lost.
func OnlyNewestDataKey(sealed []byte) ([]byte, error) {
	keys, err := splitDataKeys(sealed)
	if err != nil {
		return nil, err
	}
	return joinDataKeys(keys[len(keys)-1:]), nil
}

// RewrapDataKeys wraps the data keys of a vault by another root key. They are the same keys
// afterwards. changed is false where that root key had wrapped them all.
func (r *Ring) RewrapDataKeys(vaultID string, sealed []byte, rootKeyID string) (out []byte, changed bool, err error) {
	keys, err := splitDataKeys(sealed)
	if err != nil {
		return nil, false, err
	}
	for i, k := range keys {
		if k.rootKeyID == rootKeyID {
			continue
		}
		key, err := r.unwrapDataKey(vaultID, k)
		if err != nil {
			return nil, false, err
		}
		if keys[i], err = r.wrapDataKey(vaultID, k.number, rootKeyID, key.Reveal()); err != nil {
			return nil, false, err
		}
		changed = true
	}
	return joinDataKeys(keys), changed, nil
}

// OpenDataKeys unwraps the stored data keys of a vault. It fails with ErrWrongRootKey where a root
// key that is not at hand wrapped one, and with ErrTampered where they are not this vault's; a
// provider out of process may fail in ways of its own.
func (r *Ring) OpenDataKeys(vaultID string, sealed []byte) (DataKeys, error) {
	wrapped, err := splitDataKeys(sealed)
	if err != nil {
		return DataKeys{}, err
	}
	var d DataKeys
	for _, w := range wrapped {
		key, err := r.unwrapDataKey(vaultID, w)
		if err != nil {
			return DataKeys{}, err
		}
		d.keys = append(d.keys, dataKey{w.number, key})
	}
	return d, nil
}

func (r *Ring) wrapDataKey(vaultID string, number uint16, rootKeyID string, key []byte) (wrappedKey, error) {
	root, err := r.roots.find(rootKeyID)
	if err == nil && len(rootKeyID) > math.MaxUint8 {
		err = fmt.Errorf("root key id of %d bytes: want 1 to 255", len(rootKeyID))
	}
	k := wrappedKey{number: number, rootKeyID: rootKeyID}
	if err == nil {
		k.box, err = root.Wrap(key, r.dataKeyContext(vaultID, k))
	}
	if err != nil {
		return wrappedKey{}, fmt.Errorf("wrap data key: %w", err)
	}
	return k, nil
}

func (r *Ring) unwrapDataKey(vaultID string, k wrappedKey) (Value, error) {
	root, err := r.roots.find(k.rootKeyID)
	if err != nil {
		return Value{}, fmt.Errorf("unwrap data key: %w", err)
	}
	key, err := root.Unwrap(k.box, r.dataKeyContext(vaultID, k))
	if err == nil && len(key) != keySize {
		err = ErrTampered
	}
	if err != nil {
		return Value{}, fmt.Errorf("unwrap data key: %w", err)
	}
	return NewValue(key), nil
}

func (r *Ring) dataKeyContext(vaultID string, k wrappedKey) []byte {
	return encode("strongroom data key v1", r.deployment, "vault data key", vaultID, int64(k.number), k.rootKeyID)
}

func joinDataKeys(keys []wrappedKey) []byte {
	out := []byte{dataKeysFormat, byte(len(keys))}
	for _, k := range keys {
		out = binary.BigEndian.AppendUint16(out, k.number)
		out = append(append(out, byte(len(k.rootKeyID))), k.rootKeyID...)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(k.box))), k.box...)
	}
	return out
}

// splitDataKeys fails with ErrTampered. There is at least one key.
func splitDataKeys(sealed []byte) ([]wrappedKey, error) {
	fault := fmt.Errorf("unwrap data key: %w", ErrTampered)
	if len(sealed) < 2 || sealed[0] != dataKeysFormat || sealed[1] == 0 || sealed[1] > maxDataKeys {
		return nil, fault
	}
	keys := make([]wrappedKey, sealed[1])
	rest := sealed[2:]
	for i := range keys {
		if len(rest) < 3 {
			return nil, fault
		}
		end := 3 + int(rest[2]) // of the id
		if len(rest) < end+2 {
			return nil, fault
		}
		id, after := rest[3:end], rest[end:]
		length := int(binary.BigEndian.Uint16(after))
		if len(after) < 2+length {
			return nil, fault
		}
		keys[i] = wrappedKey{binary.BigEndian.Uint16(rest), string(id), after[2 : 2+length]}
		rest = after[2+length:]
	}
	if len(rest) > 0 {
		return nil, fault
	}
	return keys, nil
}

// DataKeyRoots lists the root keys that wrap the data keys of a vault, one for each, without opening
// any.
func DataKeyRoots(sealed []byte) (rootKeyIDs []string, err error) {
	keys, err := splitDataKeys(sealed)
	for _, k := range keys {
		rootKeyIDs = append(rootKeyIDs, k.rootKeyID)
	}
	return rootKeyIDs, err
}
