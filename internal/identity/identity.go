// Package identity is the tenant's directory and its token issuer: applications, principals,
// groups and credentials, client authentication, and access tokens in Entra ID's shape.
//
// The idea: a client proves who it is once, by a secret, a signed assertion or its place as a
// managed identity, and gets a token that every face can check by itself. What a principal may
// do is not in the token; authz decides that anew on each request.
//
// The threat is a caller who brings a token or an assertion of its own making, and a writer to
// the database who is not us. Against the first, the stored key fixes what is accepted: a token
// names a key of ours and nothing else, an assertion is checked by the certificate that was
// registered, and what it brings along (x5c, jwk, alg) decides nothing. Issuer, audience, tenant
// and times are all compared. Against the second, every row carries a MAC, private keys are
// sealed, and generated secrets are kept as keyed digests: a row that was edited or inserted is
// an error, not a right.
//
// # Signing keys
//
//	          made         active             successor active      published until
//	            │    lead    │     key rotation     │       drain         │
//	published   ├────────────┼──────────────────────┼─────────────────────┤
//	signs                    ├──────────────────────┤
//
// A key is published a day before it signs, since clients keep key sets that long, and stays
// published until the longest token that it signed has expired. A key signs until its successor
// is active: if nobody makes one, rotation is late and tokens still flow.
//
// Functions of Store take a transaction and neither begin nor commit. Those that write raise
// db.Authorisation (signing keys: db.Directory), which their callers lock.
package identity

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"strongroom/internal/apierr"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

// A Store keeps the directory of one tenant. It may be shared.
type Store struct {
	Ring   *envelope.Ring
	Tenant string // GUID, lower case
}

// A Kind says what a principal is.
type Kind string

// The kinds. System and LocalOwner have no rows: they are callers from inside, with fixed ids.
const (
	User             Kind = "User"
	ServicePrincipal Kind = "ServicePrincipal"
	ManagedIdentity  Kind = "ManagedIdentity"
	Group            Kind = "Group"
	System           Kind = "System"
	LocalOwner       Kind = "LocalOwner"
)

// The object ids of the callers without rows. No generated GUID can equal them: those have
// version 4.
const (
	LocalOwnerID = "00000000-0000-0000-0000-000000000001"
	SystemID     = "00000000-0000-0000-0000-000000000002"
)

// Codes of refusals, in Microsoft Graph's words.
const (
	codeNotFound   = "Request_ResourceNotFound"
	codeBadRequest = "Request_BadRequest"
	codeDuplicate  = "Request_MultipleObjectsWithSameKeyValue"
)

// maxName is the longest display name (Microsoft Graph, application: 256 characters).
const maxName = 256

// checkName refuses an empty, overlong or unprintable display name.
func checkName(name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > maxName || !isPlain(name) {
		return apierr.BadRequest(codeBadRequest, "Invalid value specified for property 'displayName'; want 1 to %d characters without control characters.", maxName)
	}
	return nil
}

// isPlain says whether s is UTF-8 without control characters and line separators: PostgreSQL
// does not store all of them, and they forge lines.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

// idKey is the form in which ids are stored. All of them are GUIDs: anything else becomes "",
// which no row has.
func idKey(id string) string {
	if !resource.IsGUID(id) {
		return ""
	}
	return strings.ToLower(id)
}

func notFound(id string) *apierr.Error {
	return apierr.NotFound(codeNotFound, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", printable(id))
}

// maxFound bounds what of a caller's text comes back in a refusal or reaches a log.
const maxFound = 120

// printable cuts a caller's text and replaces all but printable ASCII.
func printable(s string) string {
	if len(s) > maxFound {
		s = s[:maxFound]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// nullText is the column of a text that may be absent: NULL for "".
func nullText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nullBlob is the column of bytes that may be absent. An untyped nil, since a nil []byte is an
// empty blob to the row MAC.
func nullBlob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}
