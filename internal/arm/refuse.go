package arm

import (
	"fmt"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

// An errorBody is Azure Resource Manager's envelope of a refusal.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// statuses turns a kind into a status.
var statuses = map[apierr.Kind]int{
	apierr.BadRequestKind:       http.StatusBadRequest,
	apierr.UnauthenticatedKind:  http.StatusUnauthorized,
	apierr.ForbiddenKind:        http.StatusForbidden,
	apierr.NotFoundKind:         http.StatusNotFound,
	apierr.MethodNotAllowedKind: http.StatusMethodNotAllowed,
	apierr.ConflictKind:         http.StatusConflict,
	apierr.TooLargeKind:         http.StatusRequestEntityTooLarge,
	apierr.TooManyKind:          http.StatusTooManyRequests,
	apierr.UnavailableKind:      http.StatusServiceUnavailable,
	apierr.MisdirectedKind:      http.StatusMisdirectedRequest,
	apierr.InternalKind:         http.StatusInternalServerError,
}

// codes are this protocol's words for refusals of the pipeline, which speaks the data plane's.
var codes = map[string]string{
	"BadParameter":    "InvalidRequestContent",
	"ForbiddenByRbac": "AuthorizationFailed",
	"VaultNotFound":   "ResourceNotFound",
}

// absentCode marks the deletion of what is not there. Azure Resource Manager answers it with 204
// and no error; inside, it is a refusal, so that no transaction commits without a change.
const absentCode = "NothingToDelete"

func absent(what, name string) error {
	return apierr.NotFound(absentCode, "There is no %s '%s' to delete.", what, name)
}

// Refuse turns a refusal into a status and this protocol's envelope.
func (f *Face) Refuse(c *operation.Call, e *apierr.Error, h http.Header) (int, any) {
	if e.Code == absentCode {
		return http.StatusNoContent, nil
	}
	d := errorDetail{Code: e.Code, Message: e.Message}
	if code := codes[e.Code]; code != "" {
		d.Code = code
	}
	switch {
	case e.Kind == apierr.UnauthenticatedKind:
		h.Set("WWW-Authenticate", challenge(c.Host.Family.LoginURL(), f.tenant, d.Message))
	case e.Kind == apierr.ForbiddenKind && e.Action != "":
		d.Message = denialText(c.Caller, e)
	}
	return statuses[e.Kind], errorBody{d}
}

// challenge says where a token is to be had. The description stands in quotes, so it has none.
func challenge(login, tenant, why string) string {
	why = strings.NewReplacer(`"`, `'`, `\`, `'`, "\r", " ", "\n", " ").Replace(why)
	return fmt.Sprintf("Bearer authorization_uri=\"%s/%s\", error=\"invalid_token\", error_description=\"%s\"", login, tenant, why)
}

// denialText is Azure Resource Manager's text of a denial by RBAC.
func denialText(caller identity.Caller, e *apierr.Error) string {
	name := caller.Name
	if caller.AppID != "" {
		name = caller.AppID
	}
	lacking := "authorization"
	if e.Narrow {
		lacking = "authorization or an ABAC condition not fulfilled"
	}
	return fmt.Sprintf("The client '%s' with object id '%s' does not have %s to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		name, caller.ObjectID, lacking, e.Action, e.Scope)
}

// BadToken says in Azure Resource Manager's words what is wrong with a token.
func (f *Face) BadToken(c *operation.Call, e *identity.TokenError) *apierr.Error {
	return badToken(e, c.Host.Family.ManagementURL(), f.tenant)
}

func badToken(e *identity.TokenError, management, tenant string) *apierr.Error {
	switch e.Reason {
	case identity.Missing:
		return apierr.Unauthenticated("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or holds no bearer token.")
	case identity.Expired:
		return apierr.Unauthenticated("ExpiredAuthenticationToken", "The access token has expired.")
	case identity.WrongAudience:
		return apierr.Unauthenticated("InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences '%s/','https://management.core.windows.net/','https://management.azure.com/'.", e.Found, management)
	case identity.WrongIssuer, identity.WrongTenant:
		return apierr.Unauthenticated("InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer or tenant '%s'. It must match the tenant '%s' associated with this subscription.", e.Found, tenant)
	case identity.NotYetValid:
		return apierr.Unauthenticated("InvalidAuthenticationToken", "The access token is not valid yet.")
	case identity.UnknownPrincipal:
		return apierr.Unauthenticated("InvalidAuthenticationToken", "The principal of the access token does not exist in the directory or is disabled.")
	default:
		return apierr.Unauthenticated("InvalidAuthenticationToken", "The access token is invalid: it is malformed or its signature does not verify.")
	}
}
