package identity

import (
	"cmp"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/resource"
)

const (
	maxToken = 8 << 10 // bytes; ours have about 1.2 KiB
	// notBeforeSkew is how far ahead the clock of the node that issued a token may be. None is
	// given to the end of a token.
	notBeforeSkew = 5 * time.Minute
)

// tokenAlgorithms is the one that our keys sign with; the header is not asked.
var tokenAlgorithms = []jose.SignatureAlgorithm{jose.RS256}

// An Expectation is what a face demands of a token beyond what all do.
type Expectation struct {
	Family    resource.Family       // whose issuer the token must have
	Audiences func(aud string) bool // which audiences the face answers to
}

// A Reason says why a token does not hold.
type Reason string

// The reasons. Missing and UnknownPrincipal are the pipeline's: there was no token, or its
// principal is gone or disabled.
const (
	Missing          Reason = "missing"
	Malformed        Reason = "malformed"
	BadSignature     Reason = "bad signature"
	WrongIssuer      Reason = "wrong issuer"
	WrongTenant      Reason = "wrong tenant"
	WrongAudience    Reason = "wrong audience"
	Expired          Reason = "expired"
	NotYetValid      Reason = "not valid yet"
	UnknownPrincipal Reason = "unknown principal"
)

// A TokenError refuses a token. Each face has its protocol's words for it.
type TokenError struct {
	Reason Reason
	Found  string // what the token had instead, printable and cut; may be empty
}

func (e *TokenError) Error() string {
	if e.Found == "" {
		return "token refused: " + string(e.Reason)
	}
	return fmt.Sprintf("token refused: %s: found %q", e.Reason, e.Found)
}

func refuse(reason Reason, found string) *TokenError {
	return &TokenError{Reason: reason, Found: printable(found)}
}

// A Token has the form of an access token of ours. What it says is not checked yet.
type Token struct{ jws *jose.JSONWebSignature }

// ParseToken reads a token's form, so that what is none costs no look into the database.
func ParseToken(raw string) (Token, error) {
	jws, ok := parseCompact(raw, maxToken, tokenAlgorithms)
	if !ok || jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType] != "JWT" {
		return Token{}, refuse(Malformed, "")
	}
	return Token{jws}, nil
}

// Verify checks an access token and says who it speaks for. Whether the principal still exists
// and may do anything is not its business. A refusal is a *TokenError; nothing of a token is
// told before its signature holds.
func (i *Issuer) Verify(tx *db.Tx, token Token, expect Expectation) (Caller, error) {
	jws := token.jws
	set, err := i.keys(tx)
	if err != nil {
		return Caller{}, err
	}
	k := (&keySet{keys: set.published(tx.Now)}).byID(jws.Signatures[0].Protected.KeyID)
	if k == nil {
		return Caller{}, refuse(BadSignature, "")
	}
	payload, err := jws.Verify(&k.private().PublicKey)
	if err != nil {
		return Caller{}, refuse(BadSignature, "")
	}
	var c accessClaims
	if err := json.Unmarshal(payload, &c); err != nil || c.Expires == 0 || c.ObjectID == "" {
		return Caller{}, refuse(Malformed, "")
	}
	if err := i.check(c, expect, tx.Now); err != nil {
		return Caller{}, err
	}
	return c.caller(), nil
}

func (i *Issuer) check(c accessClaims, expect Expectation, now time.Time) error {
	tenant := i.store.Tenant
	switch {
	case c.TenantID != tenant:
		return refuse(WrongTenant, c.TenantID)
	case c.Issuer != expect.Family.IssuerV1(tenant) && c.Issuer != expect.Family.IssuerV2(tenant):
		return refuse(WrongIssuer, c.Issuer)
	case !expect.Audiences(c.Audience):
		return refuse(WrongAudience, c.Audience)
	case !now.Before(time.Unix(c.Expires, 0)):
		return refuse(Expired, time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	case now.Add(notBeforeSkew).Before(time.Unix(c.NotBefore, 0)):
		return refuse(NotYetValid, time.Unix(c.NotBefore, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

func (c accessClaims) caller() Caller {
	kind := ServicePrincipal
	if c.ManagedRID != "" {
		kind = ManagedIdentity
	}
	return Caller{
		ObjectID: c.ObjectID, AppID: cmp.Or(c.AppID, c.AZP), TenantID: c.TenantID, Issuer: c.Issuer, Kind: kind,
		CredentialID: c.Credential, TokenID: c.TokenID, Expires: time.Unix(c.Expires, 0).UTC(), Audience: c.Audience,
	}
}
