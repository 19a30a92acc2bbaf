package envelope

import "fmt"

// RowMAC proves a row: the database stores it beside the columns it covers. The fields are
// every column that decides, in a fixed order, as string, []byte, int, int64, bool, nil,
// *string or *int64; int and int64 are alike, and so are a pointer and what it points to.
// NULL differs from "" and from 0, but a nil []byte is an empty blob, because the SQLite
// driver makes no difference: for a NULL blob pass an untyped nil. Any other type is a
// programming error and panics. A column added later changes the MAC of every row: give the
// table's name a version then.
func (r *Ring) RowMAC(table string, fields ...any) []byte {
	return r.newest(purposeMAC).mac(rowMessage(table, fields))
}

// CheckRow compares a stored MAC with the row it covers, in constant time. Its error wraps
// ErrTampered and names the table alone: the caller knows which row it asked for.
func (r *Ring) CheckRow(mac []byte, table string, fields ...any) error {
	if !r.check(purposeMAC, mac, rowMessage(table, fields)) {
		return fmt.Errorf("row of %s: %w", table, ErrTampered)
	}
	return nil
}

func rowMessage(table string, fields []any) []byte {
	return encode("strongroom row v1", append([]any{table}, fields...)...)
}

// SealSystem seals a secret of our own, such as a token signing key. The purpose says what it
// is, the id which one; it opens only as that, in this deployment.
func (r *Ring) SealSystem(purpose, id string, plain []byte) ([]byte, error) {
	sealed, err := r.seal(purposeSystem, r.systemContext(purpose, id), plain)
	if err != nil {
		return nil, fmt.Errorf("seal %s %q: %w", purpose, id, err)
	}
	return sealed, nil
}

// OpenSystem opens what SealSystem made for the same purpose and id, else the error wraps
// ErrTampered.
func (r *Ring) OpenSystem(purpose, id string, sealed []byte) ([]byte, error) {
	plain, err := r.open(purposeSystem, r.systemContext(purpose, id), sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s %q: %w", purpose, id, err)
	}
	return plain, nil
}

func (r *Ring) systemContext(purpose, id string) []byte {
	return encode("strongroom system v1", r.deployment, purpose, id)
}

// SealBackup seals a backup blob for the caller to take away. The kind is the collection it
// may be restored into ("secret"). Its key belongs to no vault and no root key, so that the
// blob outlives both.
func (r *Ring) SealBackup(kind string, plain []byte) ([]byte, error) {
	sealed, err := r.seal(purposeBackup, r.backupContext(kind), plain)
	if err != nil {
		return nil, fmt.Errorf("seal backup: %w", err)
	}
	return sealed, nil
}

// OpenBackup opens a blob of the same kind and deployment. ErrForeign is its only failure.
// What it returns was sealed here, but perhaps long ago: rights are judged anew.
func (r *Ring) OpenBackup(kind string, sealed []byte) ([]byte, error) {
	plain, err := r.open(purposeBackup, r.backupContext(kind), sealed)
	if err != nil {
		return nil, ErrForeign
	}
	return plain, nil
}

func (r *Ring) backupContext(kind string) []byte {
	return encode("strongroom backup v1", r.deployment, kind)
}

// Pepper turns a generated secret into what the database stores to recognise it: a keyed
// digest, useless without the ring. It does not slow guessing: only for secrets that we drew
// ourselves. CheckPepper compares.
func (r *Ring) Pepper(purpose string, secret []byte) []byte {
	return r.newest(purposePepper).mac(pepperMessage(purpose, secret))
}

// CheckPepper reports, in constant time, whether stored is the digest of this secret for this
// purpose, made by any pepper key in the ring.
func (r *Ring) CheckPepper(purpose string, secret, stored []byte) bool {
	return r.check(purposePepper, stored, pepperMessage(purpose, secret))
}

func pepperMessage(purpose string, secret []byte) []byte {
	return encode("strongroom pepper v1", purpose, secret)
}

// Token makes an opaque string for a caller to bring back, such as a skip token: the payload
// can be neither read nor changed, and counts for this purpose alone. It does not expire and
// may come back any number of times; what limits it stands in the payload or the purpose. It
// is 49 bytes longer than the payload. It panics only where the cryptographic module is
// broken.
func (r *Ring) Token(purpose string, payload []byte) []byte {
	token, err := r.seal(purposeSystem, r.tokenContext(purpose), payload)
	if err != nil {
		panic(fmt.Sprintf("envelope: seal token: %v", err))
	}
	return token
}

// OpenToken returns the payload of a token made for the same purpose in this deployment.
// ErrForeign is its only failure.
func (r *Ring) OpenToken(purpose string, token []byte) ([]byte, error) {
	payload, err := r.open(purposeSystem, r.tokenContext(purpose), token)
	if err != nil {
		return nil, ErrForeign
	}
	return payload, nil
}

func (r *Ring) tokenContext(purpose string) []byte {
	return encode("strongroom token v1", r.deployment, purpose)
}
