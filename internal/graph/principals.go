package graph

import (
	"context"
	"net/http"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

const principalActions = "microsoft.directory/servicePrincipals/"

func (f *face) declareServicePrincipals(t *operation.Table) {
	const collection, one = "/v1.0/servicePrincipals", "/v1.0/servicePrincipals/{id}"
	operation.Handle(t, write("ServicePrincipalCreate", "POST", collection, principalActions+"create", http.StatusCreated,
		"Make the service principal of an application: what roles are assigned to."), f.createServicePrincipal)
	operation.Handle(t, read("ServicePrincipalList", "GET", collection, principalActions+"standard/read",
		"List service principals and managed identities; $filter by appId, displayName or servicePrincipalNames."), f.listServicePrincipals)
	operation.Handle(t, read("ServicePrincipalGet", "GET", one, principalActions+"standard/read",
		"Get a service principal."), f.getServicePrincipal)
	operation.Handle(t, write("ServicePrincipalUpdate", "PATCH", one, principalActions+"enable", http.StatusNoContent,
		"Enable or disable a service principal; it counts for the next request."), f.updateServicePrincipal)
	operation.Handle(t, write("ServicePrincipalDelete", "DELETE", one, principalActions+"delete", http.StatusNoContent,
		"Delete a service principal."), f.deleteServicePrincipal)
}

// A ServicePrincipal is a program's identity in the directory.
type ServicePrincipal struct {
	ID               string   `json:"id"`
	AppID            string   `json:"appId"`
	DisplayName      string   `json:"displayName"`
	Enabled          bool     `json:"accountEnabled"`
	Type             string   `json:"servicePrincipalType"`
	Names            []string `json:"servicePrincipalNames"`
	AlternativeNames []string `json:"alternativeNames"` // of a managed identity: its resource id
	OwnerTenant      string   `json:"appOwnerOrganizationId"`
	Created          string   `json:"createdDateTime"`
}

func principalType(k identity.Kind) string {
	if k == identity.ManagedIdentity {
		return "ManagedIdentity"
	}
	return "Application"
}

func (f *face) newServicePrincipal(p identity.Principal) ServicePrincipal {
	out := ServicePrincipal{
		ID: p.ObjectID, AppID: p.AppID, DisplayName: p.Name, Enabled: p.Enabled, Type: principalType(p.Kind),
		Names: []string{p.AppID}, AlternativeNames: []string{}, OwnerTenant: f.tenant, Created: timeText(p.Created),
	}
	if p.ResourceID != "" {
		out.AlternativeNames = []string{"isExplicit=True", p.ResourceID}
	}
	return out
}

// A NewServicePrincipal is the body of POST /servicePrincipals.
type NewServicePrincipal struct {
	AppID string `json:"appId"`
}

func (f *face) createServicePrincipal(ctx context.Context, c *operation.Call, in NewServicePrincipal) (ServicePrincipal, error) {
	return operation.Change(ctx, c, func(_ *operation.Call, tx *db.Tx) (ServicePrincipal, error) {
		p, err := f.store.CreateServicePrincipal(tx, in.AppID)
		return f.newServicePrincipal(p), err
	})
}

func isServicePrincipal(p identity.Principal) bool {
	return p.Kind == identity.ServicePrincipal || p.Kind == identity.ManagedIdentity
}

func (f *face) listServicePrincipals(ctx context.Context, c *operation.Call, _ operation.None) (List[ServicePrincipal], error) {
	search, err := parseFilter(c.Query.Get("$filter"), "appId", "displayName", "servicePrincipalNames/any")
	if err != nil {
		return List[ServicePrincipal]{}, err
	}
	all, err := f.principals(ctx, c, func(p identity.Principal) bool {
		return isServicePrincipal(p) && search.passes(map[string][]string{
			"appId": {p.AppID}, "displayName": {p.Name}, "servicePrincipalNames/any": {p.AppID},
		})
	})
	if err != nil {
		return List[ServicePrincipal]{}, err
	}
	out := make([]ServicePrincipal, len(all))
	for i, p := range all {
		out[i] = f.newServicePrincipal(p)
	}
	return page(c, "servicePrincipals", out, func(s ServicePrincipal) string { return s.ID })
}

// principals returns those principals of the directory that pass.
func (f *face) principals(ctx context.Context, c *operation.Call, pass func(identity.Principal) bool) ([]identity.Principal, error) {
	var out []identity.Principal
	err := c.View(ctx, func(tx *db.Tx) error {
		directory, err := f.store.LoadDirectory(tx)
		if err != nil {
			return err
		}
		for _, p := range directory.Principals {
			if pass(p) {
				out = append(out, p)
			}
		}
		return nil
	})
	return out, err
}

// named returns the principal of the path, if it is of a kind that the path speaks of.
func (f *face) named(tx *db.Tx, c *operation.Call, isKind func(identity.Principal) bool) (identity.Principal, error) {
	p, err := f.store.Principal(tx, c.Param("id"))
	if err == nil && !isKind(p) {
		err = apierr.NotFound("Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", c.Param("id"))
	}
	return p, err
}

func (f *face) getServicePrincipal(ctx context.Context, c *operation.Call, _ operation.None) (ServicePrincipal, error) {
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		p, err = f.named(tx, c, isServicePrincipal)
		return err
	})
	return f.newServicePrincipal(p), err
}

// A ServicePrincipalChange is the body of PATCH /servicePrincipals/{id}.
type ServicePrincipalChange struct {
	Enabled *bool `json:"accountEnabled"`
}

func (f *face) updateServicePrincipal(ctx context.Context, c *operation.Call, in ServicePrincipalChange) (operation.None, error) {
	if in.Enabled == nil {
		return operation.None{}, apierr.BadRequest("Request_BadRequest", "accountEnabled: want true or false; nothing else can be changed.")
	}
	return operation.None{}, c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		if err := requireOwner(tx, c); err != nil {
			return err
		}
		p, err := f.named(tx, c, isServicePrincipal)
		if err != nil {
			return err
		}
		return f.store.SetEnabled(tx, p.ObjectID, *in.Enabled)
	})
}

func (f *face) deleteServicePrincipal(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	return operation.None{}, c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		if err := requireOwner(tx, c); err != nil {
			return err
		}
		p, err := f.named(tx, c, isServicePrincipal)
		if err != nil {
			return err
		}
		if p.Kind == identity.ManagedIdentity {
			return apierr.BadRequest("Request_BadRequest", "A managed identity is deleted by its resource, on the management host.")
		}
		return f.store.DeletePrincipal(tx, p.ObjectID)
	})
}
