package envelope

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// The purposes of ring keys. A key serves one of them.
const (
	purposeMAC    = "mac"
	purposeBackup = "backup"
	purposePepper = "pepper"
	purposeSystem = "system"
	purposeDigest = "digest"
	purposeSign   = "sign"
)

var purposes = []string{purposeMAC, purposeBackup, purposePepper, purposeSystem, purposeDigest, purposeSign}

const (
	ringFormat     byte = 1
	keyIDSize           = 4
	ringHeaderSize      = 1 + keyIDSize
)

// A SealedKey is a ring key as the database stores it. No field is secret.
type SealedKey struct {
	KeyID     string // 8 lower-case hex characters, random
	Purpose   string // mac, backup, pepper, system, digest or sign
	RootKeyID string // the root key that wrapped it
	Sealed    []byte // bound to deployment, purpose and KeyID
}

// A Ring holds the keys of a deployment, opened. It does not change, is safe for concurrent
// use and prints as [redacted]. An outdated key still opens what it sealed; the newest of its
// purpose seals.
type Ring struct {
	redacted
	roots      *RootKeys
	deployment string
	keys       map[string][]ringKey // by purpose, the newest last, at least one each
}

type ringKey struct {
	id  [keyIDSize]byte
	key Value
}

// NewRing draws a key for each purpose, wrapped by the newest root key. The caller stores the sealed
// keys in the order given. The deployment is a random id that is fixed at init: nothing sealed in one
// opens in another.
func NewRing(roots *RootKeys, deployment string) (*Ring, []SealedKey, error) {
	r, err := newRing(roots, deployment)
	if err != nil {
		return nil, nil, err
	}
	var stored []SealedKey
	for _, purpose := range purposes {
		k := ringKey{key: newKey()}
		_, _ = rand.Read(k.id[:])
		s, err := r.wrap(SealedKey{KeyID: hex.EncodeToString(k.id[:]), Purpose: purpose}, roots.Newest(), k.key.Reveal())
		if err != nil {
			return nil, nil, err
		}
		r.keys[purpose] = append(r.keys[purpose], k)
		stored = append(stored, s)
	}
	return r, stored, nil
}

// OpenRing unwraps the stored keys, given in the order in which they were made: the last of
// each purpose seals, all open. It fails with ErrWrongRootKey where a root key that is not at hand
// wrapped one, and with ErrTampered where one does not open as what its row says.
func OpenRing(roots *RootKeys, deployment string, keys []SealedKey) (*Ring, error) {
	r, err := newRing(roots, deployment)
	if err != nil {
		return nil, err
	}
	for _, s := range keys {
		if err := r.add(s); err != nil {
			return nil, fmt.Errorf("open %q key %q: %w", s.Purpose, s.KeyID, err)
		}
	}
	for _, purpose := range purposes {
		if len(r.keys[purpose]) == 0 {
			return nil, fmt.Errorf("open keyring: no %s key is stored: %w", purpose, ErrTampered)
		}
	}
	return r, nil
}

// HasKeysOf says whether two rings hold the same keys, in the same order.
func (r *Ring) HasKeysOf(other *Ring) bool {
	for _, purpose := range purposes {
		if !slices.EqualFunc(r.keys[purpose], other.keys[purpose], func(a, b ringKey) bool { return a.id == b.id }) {
			return false
		}
	}
	return true
}

// Rewrap wraps a ring key by another root key. It is the same key afterwards.
func (r *Ring) Rewrap(s SealedKey, rootKeyID string) (SealedKey, error) {
	key, err := r.unwrap(s)
	if err != nil {
		return SealedKey{}, err
	}
	defer clear(key)
	return r.wrap(s, rootKeyID, key)
}

func (r *Ring) wrap(s SealedKey, rootKeyID string, key []byte) (SealedKey, error) {
	root, err := r.roots.find(rootKeyID)
	if err == nil {
		s.RootKeyID = rootKeyID
		s.Sealed, err = root.Wrap(key, r.keyContext(s))
	}
	if err != nil {
		return SealedKey{}, fmt.Errorf("wrap %s key: %w", s.Purpose, err)
	}
	return s, nil
}

func (r *Ring) unwrap(s SealedKey) ([]byte, error) {
	root, err := r.roots.find(s.RootKeyID)
	if err != nil {
		return nil, err
	}
	return root.Unwrap(s.Sealed, r.keyContext(s))
}

func newRing(roots *RootKeys, deployment string) (*Ring, error) {
	if deployment == "" {
		return nil, errors.New("open keyring: the deployment has no id")
	}
	return &Ring{roots: roots, deployment: deployment, keys: make(map[string][]ringKey)}, nil
}

func (r *Ring) add(s SealedKey) error {
	id, err := hex.DecodeString(s.KeyID)
	if err != nil || len(id) != keyIDSize || !slices.Contains(purposes, s.Purpose) {
		return ErrTampered
	}
	if _, twice := r.byID(s.Purpose, id); twice {
		return ErrTampered
	}
	key, err := r.unwrap(s)
	if err != nil {
		return err
	}
	if len(key) != keySize {
		return ErrTampered
	}
	r.keys[s.Purpose] = append(r.keys[s.Purpose], ringKey{id: [keyIDSize]byte(id), key: NewValue(key)})
	return nil
}

func (r *Ring) keyContext(s SealedKey) []byte {
	return encode("strongroom ring key v1", r.deployment, s.Purpose, s.KeyID, s.RootKeyID)
}

func (r *Ring) byID(purpose string, id []byte) (ringKey, bool) {
	for _, k := range r.keys[purpose] {
		if string(k.id[:]) == string(id) {
			return k, true
		}
	}
	return ringKey{}, false
}

// newest is the key that seals. A Ring has one for each purpose from its making on.
func (r *Ring) newest(purpose string) ringKey {
	keys := r.keys[purpose]
	return keys[len(keys)-1]
}

// named finds the key whose id stands in the header of a sealed thing or a MAC.
func (r *Ring) named(purpose string, sealed []byte) (ringKey, bool) {
	if len(sealed) < ringHeaderSize || sealed[0] != ringFormat {
		return ringKey{}, false
	}
	return r.byID(purpose, sealed[1:ringHeaderSize])
}

func (k ringKey) header() []byte { return append([]byte{ringFormat}, k.id[:]...) }

// mac is the header and an HMAC-SHA256 over it and the message.
func (k ringKey) mac(message []byte) []byte {
	out := k.header()
	h := hmac.New(sha256.New, k.key.Reveal())
	h.Write(out)
	h.Write(message)
	return h.Sum(out)
}

// check compares in constant time, by the key that the MAC itself names.
func (r *Ring) check(purpose string, mac, message []byte) bool {
	k, found := r.named(purpose, mac)
	return found && hmac.Equal(mac, k.mac(message))
}

func (r *Ring) seal(purpose string, context, plain []byte) ([]byte, error) {
	k := r.newest(purpose)
	return sealBox(k.key, k.header(), context, plain)
}

func (r *Ring) open(purpose string, context, sealed []byte) ([]byte, error) {
	k, found := r.named(purpose, sealed)
	if !found {
		return nil, ErrTampered
	}
	return openBox(k.key, ringHeaderSize, context, sealed)
}
