// Package dataplane is the face that Key Vault clients know: secrets below the host of a vault.
// It translates between the wire and the domain; rules live in the domain packages.
package dataplane

import (
	"net/http"
	"net/netip"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

// serviceVersion is what x-ms-keyvault-service-version says. Clients do not read it; it has the
// form of the service's own.
const serviceVersion = "1.9.3019.1"

// Options are what the face works with.
type Options struct {
	Ring    *envelope.Ring
	Vaults  *vaults.Store
	Secrets *secrets.Store
	Region  string
	// ChallengeTenant is the tenant in the challenge: the home tenant's id, or "adfs" for clients
	// that are set up so.
	ChallengeTenant string
}

type face struct {
	ring            *envelope.Ring
	vaults          *vaults.Store
	secrets         *secrets.Store
	region          string
	challengeTenant string
}

// New declares the operations of the data plane.
func New(o Options) *operation.Table {
	f := &face{o.Ring, o.Vaults, o.Secrets, o.Region, o.ChallengeTenant}
	t := &operation.Table{Face: f}
	f.declareSecrets(t)
	return t
}

func (f *face) Name() string { return "dataplane" }
func (f *face) Data() bool   { return true }

func (f *face) Audiences(c *operation.Call) func(string) bool {
	return identity.VaultAudience(c.Host.Family, c.Host.Suffix)
}

// firstVersion is the oldest api-version of the data plane. Every later one is answered with the
// newest model: fields were added over time and never taken away.
var firstVersion = operation.MustVersion("2015-06-01")

func (f *face) CheckVersion(c *operation.Call) (operation.Version, error) {
	text := c.Query.Get("api-version")
	if text == "" {
		return operation.Version{}, apierr.BadRequest("BadParameter", "The query parameter api-version is missing; want for example api-version=7.6.")
	}
	v, err := operation.ParseVersion(text)
	if err != nil || !v.AtLeast(firstVersion) {
		return operation.Version{}, apierr.BadRequest("BadParameter", "The api-version is not supported; want 2016-10-01, 7.0 to 7.6, 2025-07-01 or later.")
	}
	return v, nil
}

// Locate finds the vault of the host, and the object of the path where rights are asked there.
func (f *face) Locate(tx *db.Tx, c *operation.Call) (resource.Scope, error) {
	v, err := f.vaults.Named(tx, c.Host.Vault)
	if err != nil {
		return resource.Scope{}, err
	}
	c.Vault = v
	if c.Op.Level == operation.ObjectLevel {
		return v.Scope().Object("secrets", c.Param(secretName)), nil
	}
	return v.Scope(), nil
}

// Admit asks the vault's firewall, and refuses vaults with access policies altogether: their
// policies are stored but not honoured, and they are never treated as if they had RBAC. The
// scheduler passes: what was deleted before a vault was switched goes at its date all the same.
func (f *face) Admit(c *operation.Call) error {
	if c.IsSystem() {
		return nil
	}
	if err := c.Vault.Admit(c.Address(), caller(c)); err != nil {
		return err
	}
	if !c.Vault.RBAC {
		return apierr.Forbidden("AccessDenied", "The vault '%s' uses access policies (enableRbacAuthorization is false), which this release stores but does not evaluate. Set enableRbacAuthorization to true and assign roles. Vault: %s;location=%s", c.Vault.Name, c.Vault.Name, c.Vault.Location)
	}
	return nil
}

// caller is how error texts name who asks.
func caller(c *operation.Call) string {
	return "appid=" + c.Caller.AppID + ";oid=" + c.Caller.ObjectID + ";iss=" + c.Caller.Issuer
}

// fixedHeaders are the same in every answer. They are in canonical form and shared between answers.
var fixedHeaders = map[string][]string{
	"Cache-Control":                 {"no-cache"},
	"Pragma":                        {"no-cache"},
	"Expires":                       {"-1"},
	"Content-Type":                  {"application/json; charset=utf-8"},
	"X-Ms-Keyvault-Service-Version": {serviceVersion},
	"X-Content-Type-Options":        {"nosniff"},
	"Strict-Transport-Security":     {"max-age=31536000;includeSubDomains"},
}

func (f *face) Headers(c *operation.Call, h http.Header) {
	for name, value := range fixedHeaders {
		h[name] = value
	}
	h["X-Ms-Keyvault-Region"] = []string{f.region}
	if a := c.Address().Unmap(); a.IsValid() {
		h["X-Ms-Keyvault-Network-Info"] = []string{networkInfo(a, c.AddressText())}
	}
	if id := c.Assignment(); id != "" {
		h["X-Ms-Keyvault-Rbac-Assignment-Id"] = []string{id}
	}
}

// networkInfo is how the service sees the connection, in the form of its own header.
func networkInfo(a netip.Addr, text string) string {
	if a.Is4() {
		return "conn_type=Ipv4;addr=" + text + ";act_addr_fam=InterNetwork;"
	}
	return "conn_type=Ipv6;addr=" + text + ";act_addr_fam=InterNetworkV6;"
}
