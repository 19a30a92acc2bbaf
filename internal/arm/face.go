// Package arm is the management face: the paths of Azure Resource Manager on which Key Vault
// clients, az and Terraform make resource groups, vaults, managed identities and role
// assignments. It translates between the wire and the domain; rules live in the domain packages.
//
// Paths name scopes, and rights are asked at the scope that stands in the path, before anything
// is said about whether it exists: Locate looks for the vault of a path only to name it in the
// audit entry, and a missing one is the handler's to report, to callers who may know. The
// vaults' own firewalls do not count here, since they guard data; otherwise nobody could mend one
// that locks everybody out.
package arm

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

// Options are what the face works with.
type Options struct {
	Vaults           *vaults.Store
	Authz            *authz.Store
	Identity         *identity.Store
	Tenant           string                      // the home tenant's id
	Subscription     string                      // id of the one subscription
	SubscriptionName string                      // its display name
	Region           string                      // the location that answers name, e.g. "local"
	Skip             *envelope.Ring              // seals skip tokens
	Number           func(context.Context) error // gives positions to audit entries, see audit.Number
	Audit            *audit.Archive
	// Dump writes a dump of everything, see internal/dump.
	Dump  func(ctx context.Context, w io.Writer) error
	About About
	// NextRootKey is the root key that a change is to, when all nodes have it.
	NextRootKey func(context.Context) (id string, err error)
}

// A Face is the management face. It may be shared.
type Face struct {
	vaults           *vaults.Store
	authz            *authz.Store
	identity         *identity.Store
	tenant           string
	subscription     string
	subscriptionName string
	region           string
	skip             *envelope.Ring
	number           func(context.Context) error
	archive          *audit.Archive
	dump             func(ctx context.Context, w io.Writer) error
	about            About
	nextRootKey      func(context.Context) (id string, err error)
}

// New declares the operations of the management face.
func New(o Options) *operation.Table {
	f := &Face{
		vaults: o.Vaults, authz: o.Authz, identity: o.Identity, tenant: o.Tenant,
		subscription: o.Subscription, subscriptionName: o.SubscriptionName, region: o.Region, skip: o.Skip,
		number: o.Number, archive: o.Audit, dump: o.Dump, about: o.About, nextRootKey: o.NextRootKey,
	}
	t := &operation.Table{Face: f}
	f.declareVaults(t)
	f.declareDeletedVaults(t)
	f.declareGroups(t)
	f.declareResources(t)
	f.declareAssignments(t)
	f.declareRoles(t)
	f.declareIdentities(t)
	f.declareSubscriptions(t)
	f.declareMetadata(t)
	f.declareLog(t)
	f.declareKeys(t)
	f.declareDump(t)
	return t
}

// Name is the face's word in logs and metrics.
func (f *Face) Name() string { return "management" }

// Data is false: rights on management paths are control actions, which no data role holds.
func (f *Face) Data() bool { return false }

// Audiences accepts tokens for the management names of the request's family and Azure's own.
func (f *Face) Audiences(c *operation.Call) func(string) bool {
	return identity.ManagementAudience(c.Host.Family)
}

// firstVersion is the oldest api-version that any resource type of the face has had. A later one
// is answered with the newest model: fields were added over time and never taken away.
var firstVersion = operation.MustVersion("2015-06-01")

// CheckVersion wants a date from 2015-06-01 on. The metadata document has versions of its own,
// which its handler judges, and what is ours alone has none.
func (f *Face) CheckVersion(c *operation.Call) (operation.Version, error) {
	switch c.Op.Name {
	case metadataName, aboutName, auditEntryName, rootKeyListName, rootKeyChangeName, dumpName:
		return operation.Version{}, nil
	}
	return checkVersion(c.Query.Get("api-version"))
}

func checkVersion(text string) (operation.Version, error) {
	if text == "" {
		return operation.Version{}, missingVersion()
	}
	v, err := operation.ParseVersion(text)
	if err != nil || !v.AtLeast(firstVersion) || strings.Index(text, "-") != len("2015") { // only dates here
		return operation.Version{}, apierr.BadRequest("InvalidApiVersionParameter",
			"The api-version is invalid; want a date from %s on, as in 2024-11-01 or 2024-12-01-preview.", firstVersion.Text)
	}
	return v, nil
}

func missingVersion() error {
	return apierr.BadRequest("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
}

// The parameters of paths.
const (
	subscriptionParam = "subscription"
	groupParam        = "group"
	vaultParam        = "vault"
	locationParam     = "location"
	identityParam     = "identity"
	scopeParam        = "scope"
)

// Locate reads the scope off the path, in the path's own letters. Whether group or vault exist
// does not matter to it; a vault that does is named in the audit entry.
func (f *Face) Locate(tx *db.Tx, c *operation.Call) (resource.Scope, error) {
	c.Vault = vaults.Vault{}
	if err := checkSegments(c.Param); err != nil {
		return resource.Scope{}, err
	}
	scope, err := scopeOf(c.Op.Level, c.Param)
	if err != nil {
		return resource.Scope{}, err
	}
	at := placeOf(scope)
	if at.subscription != "" && !strings.EqualFold(at.subscription, f.subscription) {
		return resource.Scope{}, unknownSubscription(at.subscription)
	}
	var v vaults.Vault
	switch name := c.Param(vaultParam); {
	case at.vault != "":
		v, err = f.vaults.Get(tx, at.subscription, at.group, at.vault)
	case name != "":
		v, err = f.vaults.GetDeleted(tx, at.subscription, c.Param(locationParam), name)
	default:
		return scope, nil
	}
	if err != nil {
		return scope, unlessMissing(err)
	}
	c.Vault = v
	return scope, nil
}

// checkSegments refuses names with an escaped slash: the scope would then name another thing than
// the one that the handler looks for, and rights would be asked in the wrong place.
func checkSegments(param func(string) string) error {
	for _, name := range []string{subscriptionParam, groupParam, vaultParam, locationParam, identityParam} {
		if strings.Contains(param(name), "/") {
			return apierr.BadRequest("InvalidResourceName", "A name in the path holds a slash.")
		}
	}
	return nil
}

// scopeOf builds the scope of an operation's level from the parameters of its path.
func scopeOf(level operation.Level, param func(string) string) (resource.Scope, error) {
	switch level {
	case operation.TenantLevel:
		return resource.Root, nil
	case operation.SubscriptionLevel:
		return resource.Subscription(param(subscriptionParam)), nil
	case operation.VaultLevel:
		return resource.VaultScope(param(subscriptionParam), param(groupParam), param(vaultParam)), nil
	case operation.GroupLevel:
		scope := resource.Group(param(subscriptionParam), param(groupParam))
		if name := param(identityParam); name != "" {
			scope = identityScope(scope, name)
		}
		return scope, nil
	}
	scope, ok := resource.ParseScope(param(scopeParam))
	if !ok {
		return resource.Scope{}, apierr.BadRequest("InvalidScope", "The scope of the path is not valid; want a management group, a subscription, a resource group, a vault, or a secret, key or certificate of a vault.")
	}
	return scope, nil
}

// A place is what a scope's text names, in the text's own letters; "" where it does not reach.
type place struct{ subscription, group, vault string }

// placeOf takes a scope apart. Positions are fixed: the text is one that this package or
// resource.ParseScope has checked.
func placeOf(scope resource.Scope) place {
	parts := strings.Split(strings.TrimPrefix(scope.Text, "/"), "/")
	at := func(i int, keyword string) string {
		if i < len(parts) && strings.EqualFold(parts[i-1], keyword) {
			return parts[i]
		}
		return ""
	}
	return place{subscription: at(1, "subscriptions"), group: at(3, "resourceGroups"), vault: at(7, "vaults")}
}

// Admit lets every address in; see the package comment.
func (f *Face) Admit(*operation.Call) error { return nil }

// Headers adds what every answer of the management face carries.
func (f *Face) Headers(c *operation.Call, h http.Header) {
	correlation := c.Header("x-ms-correlation-request-id")
	if !resource.IsGUID(correlation) {
		correlation = c.RequestID
	}
	routing := strings.ToUpper(f.region) + ":" + c.Now().Format("20060102T150405Z") + ":" + c.RequestID
	for name, value := range map[string]string{
		"Cache-Control":               "no-cache",
		"Pragma":                      "no-cache",
		"Expires":                     "-1",
		"Content-Type":                "application/json; charset=utf-8",
		"x-ms-correlation-request-id": correlation,
		"x-ms-routing-request-id":     routing,
		"X-Content-Type-Options":      "nosniff",
		"Strict-Transport-Security":   "max-age=31536000; includeSubDomains",
	} {
		h.Set(name, value)
	}
}

// stamp prints a time as Azure Resource Manager does, with seven digits behind the second.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func isMissing(err error) bool {
	e, ok := apierr.As(err)
	return ok && e.Kind == apierr.NotFoundKind
}

// unlessMissing passes an error on unless it only says that something does not exist.
func unlessMissing(err error) error {
	if isMissing(err) {
		return nil
	}
	return err
}

// orEmpty makes an absent map an empty object on the wire.
func orEmpty(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}
