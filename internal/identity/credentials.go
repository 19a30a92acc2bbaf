package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec G505 -- a name for a certificate, as x5t has it; proves nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// A CredentialKind says how an application proves itself.
type CredentialKind string

// The kinds of credentials.
const (
	Secret      CredentialKind = "Secret"
	Certificate CredentialKind = "Certificate"
)

// A Credential is one way for an application to sign in. It holds nothing secret.
type Credential struct {
	ID               string
	AppID            string
	Kind             CredentialKind
	Name             string
	Hint             string // the first characters of a secret
	Certificate      []byte // DER
	ThumbprintSHA1   string // lower-case hex of the certificate's digest
	ThumbprintSHA256 string
	NotBefore        time.Time
	Expires          time.Time // excluded
	Created          time.Time

	digest []byte // of a secret: Ring.Pepper
}

// Limits of credentials.
const (
	maxCredentials     = 50       // of one application: bounds the work of one attempt to sign in
	maxCertificate     = 16 << 10 // bytes of DER
	minRSABits         = 2048     // NIST SP 800-131A
	maxRSABits         = 8192     // bounds the work of one verification
	secretBytes        = 30       // 240 random bits, 40 characters
	hintLength         = 3
	defaultSecretLife  = 180 * 24 * time.Hour
	maxSecretLifeYears = 2 // as the Azure portal offers at most
)

// pepperPurpose separates digests of client secrets from others under the same key.
const pepperPurpose = "client secret"

var selectCredentials = `
	SELECT ` + db.Credentials.Columns("") + `
	FROM credentials `

func credentialFields(tenant string, c Credential) []any {
	return []any{
		tenant, c.ID, c.AppID, string(c.Kind), c.Name, c.Hint, nullBlob(c.digest), nullBlob(c.Certificate),
		nullText(c.ThumbprintSHA1), nullText(c.ThumbprintSHA256),
		c.NotBefore.UnixMicro(), c.Expires.UnixMicro(), c.Created.UnixMicro(),
	}
}

func scanCredential(row db.Scanner) (c Credential, seal db.Seal, err error) {
	var tenant string
	var sha1, sha256 *string
	var notBefore, expires, created int64
	err = row.Scan(&tenant, &c.ID, &c.AppID, &c.Kind, &c.Name, &c.Hint, &c.digest, &c.Certificate,
		&sha1, &sha256, &notBefore, &expires, &created, &seal.MAC)
	c.ThumbprintSHA1, c.ThumbprintSHA256 = orEmpty(sha1), orEmpty(sha256)
	c.NotBefore, c.Expires, c.Created = micros(notBefore), micros(expires), micros(created)
	seal.Fields = credentialFields(tenant, c)
	return c, seal, err
}

// ListCredentials returns an application's credentials, ordered by id.
func (s *Store) ListCredentials(tx *db.Tx, appID string) ([]Credential, error) {
	all, err := db.ReadRows(tx, db.Credentials, scanCredential,
		selectCredentials+`WHERE tenant_id = $1 AND app_id = $2 ORDER BY credential_id`, s.Tenant, idKey(appID))
	for _, c := range all {
		if c.AppID != idKey(appID) {
			return nil, db.Credentials.NotAsked(appID)
		}
	}
	return all, err
}

// NewClientSecret draws a client secret: 40 characters of base64url, 240 random bits. The hint
// may be shown later. Draw it before the transaction that stores it.
func NewClientSecret() (secret envelope.Value, hint string) {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	text := base64.RawURLEncoding.AppendEncode(nil, b)
	return envelope.NewValue(text), string(text[:hintLength])
}

// AddSecret stores a secret of NewClientSecret for an application. It is kept as a keyed digest,
// which does not slow guessing: a secret that a person chose must not come here. A zero notBefore
// is now, a zero expires 180 days later; a secret lives two years at most.
func (s *Store) AddSecret(tx *db.Tx, appID, name string, secret envelope.Value, notBefore, expires time.Time) (Credential, error) {
	text := secret.Reveal()
	if len(text) != base64.RawURLEncoding.EncodedLen(secretBytes) {
		return Credential{}, fmt.Errorf("add a client secret of %d bytes: want one of NewClientSecret", len(text))
	}
	if notBefore.IsZero() {
		notBefore = tx.Now
	}
	if expires.IsZero() {
		expires = notBefore.Add(defaultSecretLife)
	}
	if !expires.After(tx.Now) || !expires.After(notBefore) || expires.After(tx.Now.AddDate(maxSecretLifeYears, 0, 0)) {
		return Credential{}, apierr.BadRequest(codeBadRequest, "Invalid value specified for property 'endDateTime'; want a time after startDateTime, in the future, and at most %d years ahead.", maxSecretLifeYears)
	}
	return s.addCredential(tx, appID, Credential{
		Kind: Secret, Name: name, Hint: string(text[:hintLength]), digest: s.Ring.Pepper(pepperPurpose, text),
		NotBefore: notBefore, Expires: expires,
	})
}

// AddCertificate registers a certificate, in DER, for an application. Its chain and names do not
// matter, as in Entra ID: registration is the trust. The key is RSA of 2048 to 8192 bits.
func (s *Store) AddCertificate(tx *db.Tx, appID, name string, der []byte) (Credential, error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return Credential{}, err
	}
	if !cert.NotAfter.After(tx.Now) {
		return Credential{}, apierr.BadRequest(codeBadRequest, "Key credential end date is invalid: the certificate expired at %s.", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if name == "" {
		name = certificateName(cert)
	}
	one, two := sha1.Sum(der), sha256.Sum256(der) // #nosec G401 -- a name, see the import
	return s.addCredential(tx, appID, Credential{
		Kind: Certificate, Name: name, Certificate: slices.Clone(der),
		ThumbprintSHA1: hex.EncodeToString(one[:]), ThumbprintSHA256: hex.EncodeToString(two[:]),
		NotBefore: cert.NotBefore, Expires: cert.NotAfter,
	})
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) == 0 || len(der) > maxCertificate {
		return nil, apierr.BadRequest(codeBadRequest, "Key credential value is invalid: it has %d bytes; want one DER certificate of at most %d.", len(der), maxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, apierr.BadRequest(codeBadRequest, "Key credential value is invalid; want one X.509 certificate in DER.")
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
		return nil, apierr.BadRequest(codeBadRequest, "The certificate has no RSA key of %d to %d bits.", minRSABits, maxRSABits)
	}
	return cert, nil
}

func certificateName(cert *x509.Certificate) string {
	if checkName(cert.Subject.CommonName) == nil {
		return cert.Subject.CommonName
	}
	return "certificate"
}

func (s *Store) addCredential(tx *db.Tx, appID string, c Credential) (Credential, error) {
	if c.Name != "" {
		if err := checkName(c.Name); err != nil {
			return Credential{}, err
		}
	}
	app, err := s.GetApplication(tx, appID)
	if err != nil {
		return Credential{}, err
	}
	have, err := s.ListCredentials(tx, app.AppID)
	if err != nil {
		return Credential{}, err
	}
	if len(have) >= maxCredentials {
		return Credential{}, apierr.BadRequest(codeBadRequest, "The application has %d credentials, which is the limit; remove one first.", len(have))
	}
	for _, h := range have {
		if c.Kind == Certificate && h.ThumbprintSHA256 == c.ThumbprintSHA256 {
			return Credential{}, apierr.Conflict(codeDuplicate, "The certificate is registered already, as credential %s.", h.ID)
		}
	}
	c.ID, c.AppID, c.Created = db.NewGUID(), app.AppID, tx.Now
	c.NotBefore, c.Expires = c.NotBefore.UTC().Truncate(time.Microsecond), c.Expires.UTC().Truncate(time.Microsecond)
	_, err = tx.Put(db.Credentials, nil, credentialFields(s.Tenant, c)...)
	return c, err
}

// RemoveCredential removes a credential of an application. Tokens that it brought hold until
// they expire, as in Entra ID; to end those too, disable the principal.
func (s *Store) RemoveCredential(tx *db.Tx, appID, credentialID string) error {
	app, err := s.GetApplication(tx, appID)
	if err != nil {
		return err
	}
	n, err := tx.Remove(db.Credentials, `tenant_id = $1 AND app_id = $2 AND credential_id = $3`, s.Tenant, app.AppID, idKey(credentialID))
	if err == nil && n == 0 {
		err = apierr.BadRequest(codeBadRequest, "No credentials found to be removed.")
	}
	return err
}
