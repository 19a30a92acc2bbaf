package identity

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

// A Caller is who a request is from. It holds nothing secret.
type Caller struct {
	ObjectID     string
	AppID        string
	TenantID     string
	Issuer       string
	Name         string // empty in callers of Verify: tokens carry no names
	Kind         Kind
	CredentialID string // by which the token was got; empty for managed identities
	TokenID      string // the claim uti
	Expires      time.Time
	Audience     string
}

// A Method is how a principal proved itself.
type Method string

// The methods of a grant.
const (
	BySecret      Method = "secret"
	ByCertificate Method = "certificate"
	AsManaged     Method = "managed"
)

// A Grant is what a token is to say. The principal has been authenticated.
type Grant struct {
	Principal    Principal
	CredentialID string
	Method       Method
	Audience     string // as the client asked for it: clients compare
	Family       resource.Family
	TokenID      string // of NewTokenID, so that the audit entry can name the token; empty draws one
	Version      int    // 1, also if zero, or 2: the format of the claims, which the resource's kind fixes
}

// backdate is how far iat and nbf lie behind, as in Entra ID, so that a verifier whose clock is
// slow takes the token at once.
const backdate = 5 * time.Minute

// accessClaims are the claims of an access token in both versions; version 1 has appid, appidacr
// and idp, version 2 azp and azpacr. sr_cred is our own.
type accessClaims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AppID      string `json:"appid,omitzero"`
	AppIDACR   string `json:"appidacr,omitzero"`
	AZP        string `json:"azp,omitzero"`
	AZPACR     string `json:"azpacr,omitzero"`
	IDP        string `json:"idp,omitzero"`
	IDType     string `json:"idtyp"`
	ObjectID   string `json:"oid"`
	Subject    string `json:"sub"`
	TenantID   string `json:"tid"`
	TokenID    string `json:"uti"`
	Version    string `json:"ver"`
	ManagedRID string `json:"xms_mirid,omitzero"`
	Credential string `json:"sr_cred,omitzero"`
}

// Issue signs a token for a grant. expires is in whole seconds, as the token has it. tx only
// reads; nothing of the token is stored.
func (i *Issuer) Issue(tx *db.Tx, g Grant) (token envelope.Value, expires time.Time, err error) {
	set, err := i.keys(tx)
	if err != nil {
		return envelope.Value{}, time.Time{}, err
	}
	k := set.signing(tx.Now)
	if k == nil {
		return envelope.Value{}, time.Time{}, errNoSigningKey
	}
	expires = tx.Now.Add(i.lifetime).Truncate(time.Second)
	payload, err := json.Marshal(i.claims(g, tx.Now, expires))
	if err != nil {
		return envelope.Value{}, time.Time{}, fmt.Errorf("encode claims: %w", err)
	}
	text, err := k.sign(payload, g.Version == 2)
	if err != nil {
		return envelope.Value{}, time.Time{}, err
	}
	return envelope.NewValue([]byte(text)), expires, nil
}

func (i *Issuer) claims(g Grant, now, expires time.Time) accessClaims {
	since := now.Add(-backdate).Unix()
	c := accessClaims{
		Audience: g.Audience, IssuedAt: since, NotBefore: since, Expires: expires.Unix(), IDType: "app",
		ObjectID: g.Principal.ObjectID, Subject: g.Principal.ObjectID, TenantID: i.store.Tenant,
		TokenID: cmp.Or(g.TokenID, NewTokenID()), Credential: g.CredentialID, ManagedRID: managedRID(g.Principal),
	}
	strength := "2" // certificate, assertion or managed identity
	if g.Method == BySecret {
		strength = "1"
	}
	if g.Version == 2 {
		c.Issuer, c.Version = g.Family.IssuerV2(i.store.Tenant), "2.0"
		c.AZP, c.AZPACR = g.Principal.AppID, strength
		return c
	}
	c.Issuer, c.Version = g.Family.IssuerV1(i.store.Tenant), "1.0"
	c.AppID, c.AppIDACR, c.IDP = g.Principal.AppID, strength, c.Issuer
	return c
}

// NewTokenID draws the claim uti of a token.
func NewTokenID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// managedRID is the resource id of a managed identity with the keyword in lower case, as Entra ID
// writes it.
func managedRID(p Principal) string {
	if p.Kind != ManagedIdentity {
		return ""
	}
	return strings.Replace(p.ResourceID, "/resourceGroups/", "/resourcegroups/", 1)
}

// sign signs in compact form. Version 2 tokens have no x5t.
func (k *signingKey) sign(payload []byte, v2 bool) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", k.id)
	if !v2 {
		options = options.WithHeader("x5t", k.id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: k.private()}, options)
	if err != nil {
		return "", fmt.Errorf("prepare to sign a token: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return jws.CompactSerialize()
}
