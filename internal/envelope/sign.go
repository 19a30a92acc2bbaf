package envelope

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
)

// ErrBadSignature means that a signature is not that of the key at hand over this content.
var ErrBadSignature = errors.New("the signature does not hold")

// SignatureSize is the length of what Sign returns: the header of a ring key, and an Ed25519
// signature (RFC 8032).
const SignatureSize = ringHeaderSize + ed25519.SignatureSize

// Sign signs what leaves the deployment and is to be proven without it, such as a file of the audit
// log. The signed message is "strongroom " + purpose + "\n" + content, so that a signature of one
// kind never passes for another, and any Ed25519 tool can check it.
func (r *Ring) Sign(purpose string, content []byte) []byte {
	k := r.newest(purposeSign)
	private := ed25519.NewKeyFromSeed(k.key.Reveal())
	return append(k.header(), ed25519.Sign(private, signedMessage(purpose, content))...)
}

// VerifyKeys are the public keys whose signatures count, the one that signs now last.
func (r *Ring) VerifyKeys() []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	for _, k := range r.keys[purposeSign] {
		keys = append(keys, ed25519.NewKeyFromSeed(k.key.Reveal()).Public().(ed25519.PublicKey))
	}
	return keys
}

// CheckSignature needs no ring: it says whether one of the keys made the signature. Its only failure
// is ErrBadSignature.
func CheckSignature(keys []ed25519.PublicKey, purpose string, content, signature []byte) error {
	if len(signature) != SignatureSize || signature[0] != ringFormat {
		return ErrBadSignature
	}
	message := signedMessage(purpose, content)
	for _, key := range keys {
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature[ringHeaderSize:]) {
			return nil
		}
	}
	return ErrBadSignature
}

const publicKeyBlock = "PUBLIC KEY"

// EncodeVerifyKeys writes public keys as PEM (SubjectPublicKeyInfo), for files and other tools.
func EncodeVerifyKeys(keys []ed25519.PublicKey) (out []byte) {
	for _, key := range keys {
		der, _ := x509.MarshalPKIXPublicKey(key) // it knows Ed25519
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: publicKeyBlock, Bytes: der})...)
	}
	return out
}

// ParseVerifyKeys reads what EncodeVerifyKeys wrote: at least one Ed25519 key, and nothing else.
func ParseVerifyKeys(text []byte) (keys []ed25519.PublicKey, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		public, ok := key.(ed25519.PublicKey)
		if err != nil || !ok || block.Type != publicKeyBlock {
			return nil, errors.New("want Ed25519 public keys in PEM (PUBLIC KEY), found something else")
		}
		keys = append(keys, public)
	}
	if len(keys) == 0 {
		return nil, errors.New("want Ed25519 public keys in PEM (PUBLIC KEY), found none")
	}
	return keys, nil
}

func signedMessage(purpose string, content []byte) []byte {
	return slices.Concat([]byte("strongroom "+purpose+"\n"), content)
}
