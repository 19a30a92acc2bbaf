package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec G505 -- x5t is defined by it; proves nothing
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"

	"strongroom/internal/db"
)

const (
	signingKeyBits = 2048
	// lead is how long a key is published before it signs: clients keep documents for a day, as
	// our own Cache-Control tells them.
	lead = 24 * time.Hour
	// drain is how long a key is published after it signed last: the longest lifetime of a token
	// that can be configured, and an hour.
	drain = 25 * time.Hour
	// certificateLife is long, since nobody judges a signing key by its certificate's dates.
	certificateLife = 10 * 365 * 24 * time.Hour
)

// sealPurpose binds sealed private keys to their use.
const sealPurpose = "token signing key"

// A signingKey signs tokens. The private key sits in a closure so that no way of printing the
// structures around it shows it.
type signingKey struct {
	id          string // kid and x5t: base64url of the certificate's SHA-1
	certificate []byte
	private     func() *rsa.PrivateKey
	created     time.Time
	active      time.Time // signs from here on
	retire      time.Time // planned end of signing
	sealed, mac []byte
}

// newSigningKey draws a key and certifies it by itself. It takes some tenths of a second: keep
// it out of transactions.
func newSigningKey(now time.Time) (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, signingKeyBits)
	if err != nil {
		return nil, fmt.Errorf("generate a token signing key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Strongroom token signing"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("certify a token signing key: %w", err)
	}
	sum := sha1.Sum(certificate) // #nosec G401 -- see the import
	return &signingKey{
		id: base64.RawURLEncoding.EncodeToString(sum[:]), certificate: certificate,
		private: func() *rsa.PrivateKey { return private }, created: now,
	}, nil
}

func keyFields(tenant string, k *signingKey) []any {
	return []any{
		tenant, k.id, k.certificate, k.sealed, k.created.UnixMicro(), k.active.UnixMicro(), k.retire.UnixMicro(),
	}
}

// storeKey seals and inserts a key.
func (s *Store) storeKey(tx *db.Tx, k signingKey) error {
	plain, err := x509.MarshalPKCS8PrivateKey(k.private())
	if err != nil {
		return fmt.Errorf("encode token signing key %s: %w", k.id, err)
	}
	if k.sealed, err = s.Ring.SealSystem(sealPurpose, k.id, plain); err != nil {
		return err
	}
	_, err = tx.Put(db.SigningKeys, nil, keyFields(s.Tenant, &k)...)
	return err
}

func (s *Store) deleteKey(tx *db.Tx, id string) error {
	_, err := tx.Remove(db.SigningKeys, `tenant_id = $1 AND key_id = $2`, s.Tenant, id)
	return err
}

// loadKeys reads the signing keys in the order in which they sign. Keys that known has already,
// by the same row MAC, are not opened again.
func (s *Store) loadKeys(tx *db.Tx, known *keySet) ([]*signingKey, error) {
	q := `
		SELECT ` + db.SigningKeys.Columns("") + `
		FROM signing_keys
		WHERE tenant_id = $1
		ORDER BY active_us, key_id`
	keys, err := db.ReadRows(tx, db.SigningKeys, scanKey, q, s.Tenant)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if old := known.byID(k.id); old != nil && bytes.Equal(old.mac, k.mac) {
			keys[i] = old
			continue
		}
		if err := s.openKey(k); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func scanKey(row db.Scanner) (k *signingKey, seal db.Seal, err error) {
	k = &signingKey{}
	var tenant string
	var created, active, retire int64
	err = row.Scan(&tenant, &k.id, &k.certificate, &k.sealed, &created, &active, &retire, &k.mac)
	k.created, k.active, k.retire = micros(created), micros(active), micros(retire)
	return k, db.Seal{Fields: keyFields(tenant, k), MAC: k.mac}, err
}

func (s *Store) openKey(k *signingKey) error {
	plain, err := s.Ring.OpenSystem(sealPurpose, k.id, k.sealed)
	if err != nil {
		return err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return fmt.Errorf("parse token signing key %s: malformed", k.id) // the parser's words could tell of the key
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return fmt.Errorf("token signing key %s: want RSA, found %T", k.id, parsed)
	}
	k.private = func() *rsa.PrivateKey { return private }
	return nil
}

// A keySet is the signing keys as one revision of the directory has them, in the order in which
// they sign. It does not change; what of it counts depends on the time.
type keySet struct {
	revision int64
	keys     []*signingKey
}

func (ks *keySet) byID(id string) *signingKey {
	if ks == nil {
		return nil
	}
	for _, k := range ks.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// signing is the key that signs now: the newest active one. A clock that went back behind the
// first key must not stop everyone from signing in, so the first one signs then.
func (ks *keySet) signing(now time.Time) *signingKey {
	var current *signingKey
	for _, k := range ks.keys {
		if current == nil || !now.Before(k.active) {
			current = k
		}
	}
	return current
}

// published are the keys whose tokens hold, or will.
func (ks *keySet) published(now time.Time) []*signingKey {
	var out []*signingKey
	for _, k := range ks.keys {
		if ks.isPublished(k, now) {
			out = append(out, k)
		}
	}
	return out
}

// isPublished says whether a key is one of the set, and its tokens hold, or will: until some time
// after its successor has begun to sign.
func (ks *keySet) isPublished(k *signingKey, now time.Time) bool {
	for i, have := range ks.keys {
		if have.id == k.id && bytes.Equal(have.mac, k.mac) {
			return i+1 == len(ks.keys) || now.Before(ks.keys[i+1].active.Add(drain))
		}
	}
	return false
}

// A PublicKey is a member of the published key set, in the form of RFC 7517.
type PublicKey struct {
	Type         string   `json:"kty"`
	Use          string   `json:"use"`
	ID           string   `json:"kid"`
	Thumbprint   string   `json:"x5t"`
	Modulus      string   `json:"n"`
	Exponent     string   `json:"e"`
	Certificates []string `json:"x5c"`
}

func (k *signingKey) public() PublicKey {
	public := &k.private().PublicKey
	exponent := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, uint64(public.E)), "\x00") // #nosec G115 -- positive
	return PublicKey{
		Type: "RSA", Use: "sig", ID: k.id, Thumbprint: k.id,
		Modulus:      base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		Exponent:     base64.RawURLEncoding.EncodeToString(exponent),
		Certificates: []string{base64.StdEncoding.EncodeToString(k.certificate)},
	}
}
