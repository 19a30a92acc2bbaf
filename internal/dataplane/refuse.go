package dataplane

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

// An errorBody is the data plane's envelope of a refusal.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code       string      `json:"code"`
	Message    string      `json:"message"`
	InnerError *innerError `json:"innererror,omitzero"`
}

type innerError struct {
	Code string `json:"code"`
}

// statuses turns a kind into a status and, where the code of the domain is the inner one, the
// outer code ("Forbidden" with "SecretDisabled" inside).
var statuses = map[apierr.Kind]struct {
	status int
	outer  string
}{
	apierr.BadRequestKind:       {http.StatusBadRequest, ""},
	apierr.UnauthenticatedKind:  {http.StatusUnauthorized, ""},
	apierr.ForbiddenKind:        {http.StatusForbidden, "Forbidden"},
	apierr.NotFoundKind:         {http.StatusNotFound, ""},
	apierr.MethodNotAllowedKind: {http.StatusMethodNotAllowed, ""},
	apierr.ConflictKind:         {http.StatusConflict, "Conflict"},
	apierr.TooLargeKind:         {http.StatusRequestEntityTooLarge, ""},
	apierr.TooManyKind:          {http.StatusTooManyRequests, ""},
	apierr.UnavailableKind:      {http.StatusServiceUnavailable, ""},
	apierr.MisdirectedKind:      {http.StatusMisdirectedRequest, ""},
	apierr.InternalKind:         {http.StatusInternalServerError, ""},
}

func (f *face) Refuse(c *operation.Call, e *apierr.Error, h http.Header) (int, any) {
	s := statuses[e.Kind]
	if e.Kind == apierr.UnauthenticatedKind {
		h.Set("WWW-Authenticate", f.challenge(c))
	}
	d := errorDetail{Code: e.Code, Message: e.Message}
	if s.outer != "" && s.outer != e.Code {
		d.Code, d.InnerError = s.outer, &innerError{Code: e.Code}
	}
	if e.Kind == apierr.ForbiddenKind && e.Action != "" {
		d.Message = denialText(c, e)
	}
	return s.status, errorBody{d}
}

// challenge has the one form that every client's parser takes (shared habits of the official
// clients): authorization first, then resource, the host without its first label, with the port
// exactly when the request's host had one.
func (f *face) challenge(c *operation.Call) string {
	return fmt.Sprintf("Bearer authorization=\"%s/%s\", resource=\"https://%s\"", c.Host.Family.LoginURL(), cmp.Or(c.Host.Family.Tenant, f.challengeTenant), c.Host.Suffix)
}

// denialText is Azure's text of a denial by RBAC.
func denialText(c *operation.Call, e *apierr.Error) string {
	return "Caller is not authorized to perform action on resource.\r\n" +
		"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n" +
		"Caller: " + caller(c) + "\r\n" +
		"Action: '" + e.Action + "'\r\n" +
		"Resource: '" + deniedResource(e.Scope) + "'\r\n" +
		"Assignment: (not found)\r\n" +
		"DenyAssignmentId: null\r\n" +
		"DecisionReason: 'DeniedWithNoValidRBAC' \r\n" +
		"Vault: " + c.Vault.Name + ";location=" + c.Vault.Location + "\r\n"
}

func (f *face) BadToken(c *operation.Call, e *identity.TokenError) *apierr.Error {
	return apierr.Unauthenticated("Unauthorized", "%s", tokenText(c, e))
}

// tokenText is Azure's text for a token that does not hold, where one is known.
func tokenText(c *operation.Call, e *identity.TokenError) string {
	family := c.Host.Family
	switch e.Reason {
	case identity.Missing:
		return "AKV10000: Request is missing a Bearer or PoP token."
	case identity.WrongAudience:
		return fmt.Sprintf("AKV10022: Invalid audience. Expected https://%s, found: %s.", c.Host.Suffix, e.Found)
	case identity.WrongIssuer, identity.WrongTenant:
		return fmt.Sprintf("AKV10032: Invalid issuer. Expected one of %s, found %s.", family.IssuerV1(c.Tenant()), e.Found)
	case identity.Expired:
		return "Error validating token: the token is expired. [TokenExpired]"
	case identity.NotYetValid:
		return "Error validating token: the token is not valid yet."
	case identity.UnknownPrincipal:
		return "Error validating token: its principal does not exist in the directory or is disabled."
	default:
		return "Error validating token: it is malformed or its signature does not verify."
	}
}

// deniedResource writes the scope as Azure does in this text: keywords in lower case.
func deniedResource(scope string) string {
	return strings.NewReplacer("/resourceGroups/", "/resourcegroups/",
		"/providers/Microsoft.KeyVault/", "/providers/microsoft.keyvault/").Replace(scope)
}
