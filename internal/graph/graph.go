// Package graph is the face on which the directory is kept: applications and their credentials,
// service principals, groups. It speaks the paths and shapes of Microsoft Graph v1.0, as far as the
// official tools call them around sign-in and role assignment.
//
// Whoever can add a credential to an application or a member to a group can act with all the
// rights that these have, and whoever removes them can lock others out. So such a change asks,
// beyond its own action, for the right to assign any role at the root scope: nobody becomes an
// owner by way of the directory.
package graph

import (
	"net/http"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// Options are what the face works with.
type Options struct {
	Store  *identity.Store
	Tenant string
}

type face struct {
	store  *identity.Store
	tenant string
}

// New declares the operations of the graph host.
func New(o Options) *operation.Table {
	f := &face{o.Store, o.Tenant}
	t := &operation.Table{Face: f}
	f.declareApplications(t)
	f.declareServicePrincipals(t)
	f.declareGroups(t)
	f.declareObjects(t)
	return t
}

// read and write make declarations; everything here is asked at the tenant.
func read(name, method, path, action, summary string) operation.Op {
	return operation.Op{
		Name: name, Method: method, Path: path, Action: action, Level: operation.TenantLevel, Summary: summary,
	}
}

func write(name, method, path, action string, status int, summary string) operation.Op {
	op := read(name, method, path, action, summary)
	op.Writes, op.Status = operation.WritesAuthorisation, status
	return op
}

func (f *face) Name() string { return "graph" }
func (f *face) Data() bool   { return false }

func (f *face) Audiences(c *operation.Call) func(string) bool {
	return identity.GraphAudience(c.Host.Family)
}

// CheckVersion passes everything: the version of Graph is part of the path.
func (f *face) CheckVersion(*operation.Call) (operation.Version, error) {
	return operation.Version{}, nil
}

func (f *face) Locate(*db.Tx, *operation.Call) (resource.Scope, error) { return resource.Root, nil }
func (f *face) Admit(*operation.Call) error                            { return nil }

func (f *face) Headers(_ *operation.Call, h http.Header) {
	for name, value := range map[string]string{
		"Cache-Control":             "no-cache",
		"Content-Type":              "application/json; charset=utf-8",
		"X-Content-Type-Options":    "nosniff",
		"Strict-Transport-Security": "max-age=31536000;includeSubDomains",
		"OData-Version":             "4.0",
	} {
		h.Set(name, value)
	}
}

// requireOwner asks for the right to assign any role, see the package comment.
func requireOwner(tx *db.Tx, c *operation.Call) error {
	return c.Require(tx, authz.Need{Action: "Microsoft.Authorization/roleAssignments/write", Scope: resource.Root, Role: authz.RoleOwner})
}

// statuses turns a kind into a status and Graph's word for it. The domain may have a more exact
// one; words of other protocols do not leave.
var statuses = map[apierr.Kind]struct {
	status int
	code   string
}{
	apierr.BadRequestKind:       {http.StatusBadRequest, "Request_BadRequest"},
	apierr.UnauthenticatedKind:  {http.StatusUnauthorized, "InvalidAuthenticationToken"},
	apierr.ForbiddenKind:        {http.StatusForbidden, "Authorization_RequestDenied"},
	apierr.NotFoundKind:         {http.StatusNotFound, "Request_ResourceNotFound"},
	apierr.MethodNotAllowedKind: {http.StatusMethodNotAllowed, "Request_BadRequest"},
	apierr.ConflictKind:         {http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue"},
	apierr.TooLargeKind:         {http.StatusRequestEntityTooLarge, "Request_BadRequest"},
	apierr.TooManyKind:          {http.StatusTooManyRequests, "TooManyRequests"},
	apierr.UnavailableKind:      {http.StatusServiceUnavailable, "Service_ServiceUnavailable"},
	apierr.MisdirectedKind:      {http.StatusMisdirectedRequest, "Request_BadRequest"},
	apierr.InternalKind:         {http.StatusInternalServerError, "Service_InternalServerError"},
}

// An errorBody is Graph's envelope of a refusal.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code       string     `json:"code"`
	Message    string     `json:"message"`
	InnerError innerError `json:"innerError"`
}

type innerError struct {
	Date            string `json:"date"`
	RequestID       string `json:"request-id"`
	ClientRequestID string `json:"client-request-id"`
}

func (f *face) Refuse(c *operation.Call, e *apierr.Error, h http.Header) (int, any) {
	s := statuses[e.Kind]
	d := errorDetail{Code: s.code, Message: e.Message, InnerError: innerError{
		Date: c.Now().Format("2006-01-02T15:04:05"), RequestID: c.RequestID, ClientRequestID: c.RequestID,
	}}
	if strings.HasPrefix(e.Code, "Request_") {
		d.Code = e.Code
	}
	if id := c.Header("client-request-id"); resource.IsGUID(id) {
		d.InnerError.ClientRequestID = id
	}
	if e.Kind == apierr.UnauthenticatedKind {
		h.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+c.Host.Family.LoginURL()+"/"+f.tenant+`/oauth2/authorize"`)
	}
	if e.Kind == apierr.ForbiddenKind && e.Action != "" {
		d.Message = "Insufficient privileges to complete the operation. Want the action " + e.Action + " at the scope " + e.Scope + "."
	}
	return s.status, errorBody{d}
}

// tokenTexts say why a token does not hold.
var tokenTexts = map[identity.Reason]string{
	identity.Missing:          "Access token is empty.",
	identity.Expired:          "Lifetime validation failed, the token is expired.",
	identity.NotYetValid:      "Lifetime validation failed, the token is not valid yet.",
	identity.WrongAudience:    "Access token validation failure. Invalid audience.",
	identity.WrongIssuer:      "Access token validation failure. Invalid issuer.",
	identity.WrongTenant:      "Access token validation failure. Invalid tenant.",
	identity.UnknownPrincipal: "The identity of the calling application could not be established.",
}

func (f *face) BadToken(_ *operation.Call, e *identity.TokenError) *apierr.Error {
	text, ok := tokenTexts[e.Reason]
	if !ok {
		text = "Access token validation failure. The token is malformed or its signature does not verify."
	}
	return apierr.Unauthenticated("InvalidAuthenticationToken", "%s", text)
}

// timeText prints a time as Graph does.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
