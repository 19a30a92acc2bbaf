package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
)

// keySize is the length of every key here: root, ring, data and derived.
const keySize = 32

// saltSize is the length of the random salt that gives each box a key of its own.
const saltSize = 16

// gcmOverhead is the nonce before and the tag behind a ciphertext.
const gcmOverhead = 12 + 16

// newKey draws a random key. It cannot fail: crypto/rand ends the process instead.
func newKey() Value {
	b := make([]byte, keySize)
	_, _ = rand.Read(b)
	return NewValue(b)
}

// derive is HKDF-SHA256 (RFC 5869) with context as info.
func derive(key Value, salt, context []byte, size int) ([]byte, error) {
	if key.Len() != keySize {
		// An empty key would derive without complaint, and anyone could do the same.
		return nil, fmt.Errorf("derive key: found a key of %d bytes: want %d", key.Len(), keySize)
	}
	out, err := hkdf.Key(sha256.New, key.Reveal(), salt, string(context), size)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return out, nil
}

// newGCM returns AES-256-GCM under a key derived for one context. It draws its own nonces and
// puts them before the ciphertext.
func newGCM(key Value, salt, context []byte) (cipher.AEAD, error) {
	derived, err := derive(key, salt, context, keySize)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	return gcm(derived)
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher mode: %w", err)
	}
	return aead, nil
}

// sealBox seals plain under a key derived from key, a fresh salt and the context, and puts
// header and salt before it.
func sealBox(key Value, header, context, plain []byte) ([]byte, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	aead, err := newGCM(key, salt, context)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(header)+saltSize+gcmOverhead+len(plain))
	out = append(append(out, header...), salt...)
	return aead.Seal(out, nil, plain, slices.Concat(out, context)), nil
}

// openBox opens what sealBox made under the same key, context and length of header. Which
// header is acceptable is for the caller to say. Every failure is ErrTampered.
func openBox(key Value, headerSize int, context, sealed []byte) ([]byte, error) {
	prefix := headerSize + saltSize
	if len(sealed) < prefix+gcmOverhead {
		return nil, ErrTampered
	}
	aead, err := newGCM(key, sealed[headerSize:prefix], context)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open([]byte{}, nil, sealed[prefix:], slices.Concat(sealed[:prefix], context))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}
