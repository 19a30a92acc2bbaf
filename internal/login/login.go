// Package login is the face that takes the place of the sign-in service: OpenID documents and
// keys, token endpoints for programs, and the managed identity endpoints.
//
//	login.<domain>          documents, keys, POST …/token        anybody; TLS
//	                        /runs                                the local socket only
//	loopback, plain http    /metadata/identity/oauth2/token      the server's own user only
//	a run's proxy           /msi/token                           with the secret of the run
//	                        /metadata/identity/oauth2/token      the run's identity; the server's own user only
//
// Everything here is called by strangers, so it tells nothing but public facts until a credential
// holds. Two threats shape the rest. A caller's Host header must not choose an issuer: that is
// fixed per name family, and only links to endpoints follow the host. And a loopback port is open
// to every user and every web page of the machine: a run's secret, or the user at the other end
// as the system tells it, decides who gets a managed identity's token.
package login

import (
	"net/http"
	"slices"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// Options are what both faces of this package work with.
type Options struct {
	Store        *identity.Store
	Issuer       *identity.Issuer
	Tenant       string
	Subscription string
	UID          int // the server's own user, to whom the IMDS form answers

	// OpenRun opens the proxy of a run. say takes lines for the person who has started it, from several
	// goroutines.
	OpenRun   func(o RunOptions, say func(string)) (OpenRun, error)
	RunFamily resource.Family // our own names, as a program under a run has them
}

type face struct {
	Options
	table *operation.Table // of the face itself
}

// New declares the operations of the login host.
func New(o Options) *operation.Table {
	f := &face{Options: o}
	f.table = &operation.Table{Face: f}
	f.declareDocuments(f.table)
	f.declareTokens(f.table)
	f.declareRuns(f.table)
	return f.table
}

func (f *face) Name() string { return "login" }
func (f *face) Data() bool   { return false }

// Audiences is empty: no operation of the face takes a bearer token.
func (f *face) Audiences(*operation.Call) func(string) bool {
	return func(string) bool { return false }
}

// CheckVersion passes everything: only instance discovery has an api-version, and echoes it.
func (f *face) CheckVersion(*operation.Call) (operation.Version, error) {
	return operation.Version{}, nil
}

func (f *face) Locate(*db.Tx, *operation.Call) (resource.Scope, error) { return resource.Root, nil }
func (f *face) Admit(*operation.Call) error                            { return nil }

// BadToken is reached only where no operation was found, since all of them are anonymous.
func (f *face) BadToken(c *operation.Call, _ *identity.TokenError) *apierr.Error {
	allow := strings.Join(f.methods(c.Path()), ", ")
	if allow == "" {
		return apierr.NotFound("NotFound", "There is no such endpoint.")
	}
	e := apierr.New(apierr.MethodNotAllowedKind, "MethodNotAllowed", "The endpoint only accepts %s requests.", allow)
	e.Allow = allow
	return e
}

// methods are those that anybody may use at a path in canonical form. The paths of this package
// have no optional parts, so that segments compare one by one.
func (f *face) methods(path string) (methods []string) {
	have := strings.Split(path, "/")
	for _, op := range f.table.Ops {
		matches := slices.EqualFunc(strings.Split(op.Path, "/"), have, func(want, have string) bool {
			return strings.HasPrefix(want, "{") || strings.EqualFold(want, have)
		})
		if matches && op.Access == operation.Anonymous {
			methods = append(methods, op.Method)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

func (f *face) Headers(c *operation.Call, h http.Header) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	h.Set("x-ms-ests-server", "strongroom")
	if c.Op != nil && c.Op.Audit == operation.Counted {
		// Public facts. A new signing key is published a day before its first use.
		h.Set("Cache-Control", "max-age=86400, private")
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	noStore(h)
}

func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
}

// adfsTenant is the other name of the home tenant: clients that are set up with it ask no public
// service whether they may trust the host.
const adfsTenant = "adfs"

// isHome says whether a tenant of a path is the home tenant: in a run, every one is.
func (f *face) isHome(family resource.Family, tenant string) bool {
	return strings.EqualFold(tenant, f.Tenant) || strings.EqualFold(tenant, adfsTenant) || family.InRun && isTenant(tenant)
}

// isTenant says whether a tenant is named as tenants are: by a GUID, a domain, or a word for several.
func isTenant(s string) bool {
	_, port, ok := resource.SplitHost(s)
	return ok && port == ""
}

func unknownTenant(tenant string) error {
	return identity.NewSignInError(identity.CodeUnknownTenant, tenant)
}

// endpointURL is what links to endpoints begin with: the login host as the caller wrote it, port
// included, so that a forwarded port works; for the regional form, the family's plain login host.
func endpointURL(h resource.Host) string {
	host := strings.ToLower(h.Text)
	if name, _, ok := resource.SplitHost(host); ok && h.Family.IsLogin(name) {
		return "https://" + host
	}
	return h.Family.LoginURL()
}
