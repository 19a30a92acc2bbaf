package identity

import (
	"cmp"
	"fmt"
	"sync"
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

// maxVerified bounds the tokens whose signatures are remembered: about 2 KiB each.
const maxVerified = 4096

// A verified is a token whose signature was found to hold under a key. What it claims is judged
// anew at each use, and so is the key.
type verified struct {
	key    *signingKey
	claims accessClaims
}

// Verify checks an access token and says who it speaks for. Whether the principal still exists
// and may do anything is not its business. A refusal is a *TokenError; nothing of a token is
// told before its signature holds. begin opens the transaction: what has not even the form of a
// token costs none.
func (i *Issuer) Verify(begin func() (*db.Tx, error), raw string, expect Expectation) (Caller, error) {
	known, found := i.verified.get(raw)
	var jws *jose.JSONWebSignature
	if !found {
		var ok bool
		jws, ok = parseCompact(raw, maxToken, tokenAlgorithms)
		if !ok || jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType] != "JWT" {
			return Caller{}, refuse(Malformed, "")
		}
	}
	tx, err := begin()
	if err != nil {
		return Caller{}, err
	}
	set, err := i.keys(tx)
	if err != nil {
		return Caller{}, err
	}
	if !found {
		if known, err = verifySignature(jws, set, tx.Now); err != nil {
			return Caller{}, err
		}
		i.verified.put(raw, known)
	}
	if !set.isPublished(known.key, tx.Now) {
		return Caller{}, refuse(BadSignature, "")
	}
	if err := i.check(known.claims, expect, tx.Now); err != nil {
		return Caller{}, err
	}
	return known.claims.caller(), nil
}

// verifySignature finds the key that signed a token, and reads what the token claims.
func verifySignature(jws *jose.JSONWebSignature, set *keySet, now time.Time) (verified, error) {
	k := set.byID(jws.Signatures[0].Protected.KeyID)
	if k == nil || !set.isPublished(k, now) {
		return verified{}, refuse(BadSignature, "")
	}
	payload, err := jws.Verify(&k.private().PublicKey)
	if err != nil {
		return verified{}, refuse(BadSignature, "")
	}
	var c accessClaims
	if err := json.Unmarshal(payload, &c); err != nil || c.Expires == 0 || c.ObjectID == "" {
		return verified{}, refuse(Malformed, "")
	}
	return verified{k, c}, nil
}

// A tokenCache remembers verified tokens. When it is full it begins anew: a token costs one
// signature then.
type tokenCache struct {
	mu     sync.RWMutex
	tokens map[string]verified
}

func (c *tokenCache) get(raw string) (verified, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.tokens[raw]
	return v, ok
}

func (c *tokenCache) put(raw string, v verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil || len(c.tokens) >= maxVerified {
		c.tokens = map[string]verified{}
	}
	c.tokens[raw] = v
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
