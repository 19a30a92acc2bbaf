package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

const (
	identityType    = "Microsoft.ManagedIdentity/userAssignedIdentities"
	identitiesBelow = "/providers/" + identityType
	identityPath    = groupPath + identitiesBelow + "/{" + identityParam + "}"
)

func (f *Face) declareIdentities(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "ManagedIdentityPut", Method: http.MethodPut, Path: identityPath,
		Action: identityType + "/write", Level: operation.GroupLevel, Writes: operation.WritesAuthorisation,
		Summary: "Create a user-assigned managed identity or replace its tags.",
	}, f.putIdentity)
	operation.Handle(t, operation.Op{
		Name: "ManagedIdentityGet", Method: http.MethodGet, Path: identityPath,
		Action: identityType + "/read", Level: operation.GroupLevel, Summary: "Get a user-assigned managed identity.",
	}, f.getIdentity)
	operation.Handle(t, operation.Op{
		Name: "ManagedIdentityDelete", Method: http.MethodDelete, Path: identityPath,
		Action: identityType + "/delete", Level: operation.GroupLevel, Writes: operation.WritesAuthorisation,
		Summary: "Delete a user-assigned managed identity; its role assignments stay and give nobody anything.",
	}, f.deleteIdentity)
	operation.Handle(t, operation.Op{
		Name: "ManagedIdentityList", Method: http.MethodGet, Path: groupPath + identitiesBelow,
		Action: identityType + "/read", Level: operation.GroupLevel,
		Summary: "List the user-assigned managed identities of a resource group.",
	}, f.listIdentities)
	operation.Handle(t, operation.Op{
		Name: "ManagedIdentityListBySubscription", Method: http.MethodGet, Path: subscriptionPath + identitiesBelow,
		Action: identityType + "/read", Level: operation.SubscriptionLevel,
		Summary: "List the user-assigned managed identities of a subscription.",
	}, f.listIdentities)
}

// An IdentityChange is the body of PUT of a managed identity.
type IdentityChange struct {
	Location string         `json:"location"`
	Tags     operation.Tags `json:"tags"`
}

// An Identity is the wire form of a managed identity.
type Identity struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Location   string             `json:"location"`
	Tags       map[string]string  `json:"tags"`
	Properties IdentityProperties `json:"properties"`
}

// IdentityProperties are the ids by which roles are given and tokens asked for.
type IdentityProperties struct {
	TenantID    string `json:"tenantId"`
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

func newIdentity(p identity.Principal, tenant string) Identity {
	return Identity{
		ID: p.ResourceID, Name: p.Name, Type: identityType, Location: p.Location, Tags: orEmpty(p.Tags),
		Properties: IdentityProperties{TenantID: tenant, PrincipalID: p.ObjectID, ClientID: p.AppID},
	}
}

// identityScope is the scope and the resource id of an identity in a resource group.
func identityScope(group resource.Scope, name string) resource.Scope {
	return resource.Scope{Text: group.Text + identitiesBelow + "/" + name}
}

// checkIdentityName keeps to Azure's naming rule: 3 to 128 of letters, digits, '-' and '_', begun
// by a letter or digit (Azure naming rules, Microsoft.ManagedIdentity).
func checkIdentityName(name string) error {
	bad := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != ""
	if bad || len(name) < 3 || len(name) > 128 || strings.ContainsAny(name[:1], "-_") {
		return apierr.BadRequest("InvalidResourceName", "The identity name '%s' is not valid; want 3 to 128 letters, digits, '-' and '_', a letter or digit first.", name)
	}
	return nil
}

// locationKey is the form of a location in which Azure answers it: "West Europe" is westeurope.
func locationKey(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

func (f *Face) putIdentity(ctx context.Context, c *operation.Call, in IdentityChange) (Identity, error) {
	name := c.Param(identityParam)
	if err := checkIdentityName(name); err != nil {
		return Identity{}, err
	}
	if in.Location == "" {
		return Identity{}, apierr.BadRequest("LocationRequired", "The location property is required for this definition.")
	}
	if err := vaults.CheckTags(in.Tags); err != nil {
		return Identity{}, err
	}
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (Identity, error) {
		g, err := f.vaults.Group(tx, f.subscription, c.Param(groupParam))
		if err != nil {
			return Identity{}, err
		}
		id := identityScope(resource.Group(g.Subscription, g.Name), name).Text
		p, created, err := f.identity.PutManagedIdentity(tx, id, name, locationKey(in.Location), in.Tags)
		c.Created(created)
		return newIdentity(p, f.tenant), err
	})
}

// pathIdentity is the identity that the path names, or the refusal that it does not exist.
func (f *Face) pathIdentity(tx *db.Tx, c *operation.Call) (identity.Principal, error) {
	p, err := f.identity.GetByResource(tx, c.Scope.Text)
	if isMissing(err) {
		err = apierr.NotFound("ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found.", identityType, c.Param(identityParam), c.Param(groupParam))
	}
	return p, err
}

func (f *Face) getIdentity(ctx context.Context, c *operation.Call, _ operation.None) (Identity, error) {
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		p, err = f.pathIdentity(tx, c)
		return f.outermost(tx, c, err)
	})
	return newIdentity(p, f.tenant), err
}

// deleteIdentity leaves role assignments, as Azure does: object ids are never used again.
func (f *Face) deleteIdentity(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	err := c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		p, err := f.pathIdentity(tx, c)
		if isMissing(err) {
			return absent("identity", c.Param(identityParam))
		}
		if err != nil {
			return err
		}
		return f.identity.DeletePrincipal(tx, p.ObjectID)
	})
	return operation.None{}, err
}

// listIdentities serves a resource group and, where the path names none, the subscription.
func (f *Face) listIdentities(ctx context.Context, c *operation.Call, _ operation.None) (List[Identity], error) {
	var found []identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		if err := f.checkPlace(tx, placeOf(c.Scope)); err != nil {
			return err
		}
		found, err = f.identity.ListManagedIdentities(tx, c.Scope.Text)
		return err
	})
	wire := func(p identity.Principal) Identity { return newIdentity(p, f.tenant) }
	return List[Identity]{Value: convert(found, wire)}, err
}
