package envelope

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/argon2"
)

// PassphraseParameters is what the database keeps of a root key that comes from a passphrase.
// Nothing in it is secret, and changing it gives no other key that opens anything.
type PassphraseParameters struct {
	Salt      []byte `json:"salt"`      // random, 16 to 64 bytes
	Time      uint32 `json:"time"`      // passes over the memory
	MemoryKiB uint32 `json:"memoryKiB"` // memory in KiB
	Threads   uint8  `json:"threads"`   // lanes; part of the result, not only of the speed
	KeyID     string `json:"keyId"`     // the ID of the key, by which a wrong passphrase is noticed
}

// ErrWrongPassphrase means that the passphrase does not give the key with the stored id.
var ErrWrongPassphrase = errors.New("the passphrase is not the one this root key was made from")

// minPassphrase is the least length of a passphrase in bytes. Six words of a diceware list
// are more; twelve characters of a person's own choosing are the least that Argon2id helps.
const minPassphrase = 12

// The costs of a new key: the second choice of RFC 9106, section 4, with four times its
// memory, for it is paid once per start.
const (
	newTime      = 3
	newMemoryKiB = 256 << 10
	newThreads   = 4
)

// bounds of the stored costs. Below the least, a guess is cheap (19 MiB with 2 passes is the
// least that OWASP's password storage cheat sheet takes); above the most, a database writer
// could keep a node from starting or take the memory of its machine.
var bounds = []struct {
	name        string
	of          func(PassphraseParameters) uint32
	least, most uint32
}{
	{"bytes of salt", func(p PassphraseParameters) uint32 { return uint32(len(p.Salt)) }, 16, 64},
	{"passes", func(p PassphraseParameters) uint32 { return p.Time }, 2, 32},
	{"KiB of memory", func(p PassphraseParameters) uint32 { return p.MemoryKiB }, 19 << 10, 1 << 20},
	{"threads", func(p PassphraseParameters) uint32 { return uint32(p.Threads) }, 1, 16},
}

// CheckPassphrase refuses what NewPassphraseRootKey refuses.
func CheckPassphrase(passphrase []byte) error {
	if len(passphrase) < minPassphrase {
		return fmt.Errorf("passphrase has %d bytes: want at least %d", len(passphrase), minPassphrase)
	}
	return nil
}

// NewPassphraseRootKey makes a root key from a passphrase of at least 12 bytes by Argon2id
// with a new salt. The caller stores the parameters; without them the key is gone. The bytes
// count as they are: the caller cuts the line end that an editor left.
func NewPassphraseRootKey(passphrase []byte) (RootKey, PassphraseParameters, error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return nil, PassphraseParameters{}, err
	}
	p := PassphraseParameters{Salt: make([]byte, 16), Time: newTime, MemoryKiB: newMemoryKiB, Threads: newThreads}
	_, _ = rand.Read(p.Salt)
	key, err := stretch(passphrase, p)
	if err != nil {
		return nil, PassphraseParameters{}, err
	}
	p.KeyID = key.ID()
	return key, p, nil
}

// OpenPassphraseRootKey makes the same root key again. It refuses costs out of range before
// it computes anything, and fails with ErrWrongPassphrase where the key has another id.
func OpenPassphraseRootKey(passphrase []byte, p PassphraseParameters) (RootKey, error) {
	for _, b := range bounds {
		if got := b.of(p); got < b.least || got > b.most {
			return nil, fmt.Errorf("passphrase parameters: %d %s: want %d to %d", got, b.name, b.least, b.most)
		}
	}
	key, err := stretch(passphrase, p)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(key.ID()), []byte(p.KeyID)) != 1 {
		return nil, ErrWrongPassphrase
	}
	return key, nil
}

// OpenPassphraseRootKeys makes the root keys that any of the passphrases gives for any of the
// parameters, in the order of these. It fails with ErrWrongPassphrase where there is none.
func OpenPassphraseRootKeys(passphrases [][]byte, all []PassphraseParameters) (keys []RootKey, err error) {
	left := slices.Clone(passphrases) // each gives one key, and a try is dear
	for _, p := range all {
		for i, passphrase := range left {
			key, err := OpenPassphraseRootKey(passphrase, p)
			if err == nil {
				keys, left = append(keys, key), slices.Delete(left, i, i+1)
				break
			}
			if !errors.Is(err, ErrWrongPassphrase) {
				return nil, err
			}
		}
	}
	if len(keys) == 0 {
		return nil, ErrWrongPassphrase
	}
	return keys, nil
}

func stretch(passphrase []byte, p PassphraseParameters) (RootKey, error) {
	return newLocalKey(argon2.IDKey(passphrase, p.Salt, p.Time, p.MemoryKiB, p.Threads, keySize))
}
