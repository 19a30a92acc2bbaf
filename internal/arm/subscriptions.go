package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/operation"
)

// A deployment has one tenant and one subscription. Every caller may see both, as in Azure, where
// a sign-in without any subscription is an error to most tools.
func (f *Face) declareSubscriptions(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "SubscriptionList", Method: http.MethodGet, Path: "/subscriptions",
		Level: operation.TenantLevel, Summary: "List the subscriptions: a deployment has one.",
	}, f.listSubscriptions)
	operation.Handle(t, operation.Op{
		Name: "SubscriptionGet", Method: http.MethodGet, Path: subscriptionPath,
		Level: operation.TenantLevel, Summary: "Get the subscription.",
	}, f.getSubscription)
	operation.Handle(t, operation.Op{
		Name: "TenantList", Method: http.MethodGet, Path: "/tenants",
		Level: operation.TenantLevel, Summary: "List the tenants: a deployment has one.",
	}, f.listTenants)
}

// A Subscription is the wire form of a subscription.
type Subscription struct {
	ID                  string             `json:"id"`
	SubscriptionID      string             `json:"subscriptionId"`
	TenantID            string             `json:"tenantId"`
	DisplayName         string             `json:"displayName"`
	State               string             `json:"state"`
	Policies            SubscriptionPolicy `json:"subscriptionPolicies"`
	AuthorizationSource string             `json:"authorizationSource"`
	ManagedByTenants    []struct{}         `json:"managedByTenants"`
	HomeTenantID        string             `json:"homeTenantId"`
}

// A SubscriptionPolicy holds words that clients print and nobody acts on.
type SubscriptionPolicy struct {
	LocationPlacementID string `json:"locationPlacementId"`
	QuotaID             string `json:"quotaId"`
	SpendingLimit       string `json:"spendingLimit"`
}

func newSubscription(id, name, tenant string) Subscription {
	return Subscription{
		ID: "/subscriptions/" + id, SubscriptionID: id, TenantID: tenant, DisplayName: name, State: "Enabled",
		Policies:            SubscriptionPolicy{LocationPlacementID: "Public_2014-09-01", QuotaID: "Internal_2014-09-01", SpendingLimit: "Off"},
		AuthorizationSource: "RoleBased", ManagedByTenants: []struct{}{}, HomeTenantID: tenant,
	}
}

func (f *Face) theSubscription() Subscription {
	return newSubscription(f.subscription, f.subscriptionName, f.tenant)
}

func (f *Face) listSubscriptions(context.Context, *operation.Call, operation.None) (List[Subscription], error) {
	return List[Subscription]{Value: []Subscription{f.theSubscription()}}, nil
}

func (f *Face) getSubscription(_ context.Context, c *operation.Call, _ operation.None) (Subscription, error) {
	if id := c.Param(subscriptionParam); !strings.EqualFold(id, f.subscription) {
		return Subscription{}, unknownSubscription(id)
	}
	return f.theSubscription(), nil
}

func unknownSubscription(id string) error {
	return apierr.NotFound("SubscriptionNotFound", "The subscription '%s' could not be found.", id)
}

// A Tenant is the wire form of a tenant.
type Tenant struct {
	ID          string   `json:"id"`
	TenantID    string   `json:"tenantId"`
	Category    string   `json:"tenantCategory"`
	DisplayName string   `json:"displayName"`
	Domains     []string `json:"domains"`
	Type        string   `json:"tenantType"`
}

func (f *Face) listTenants(context.Context, *operation.Call, operation.None) (List[Tenant], error) {
	return List[Tenant]{Value: []Tenant{{
		ID: "/tenants/" + f.tenant, TenantID: f.tenant, Category: "Home", DisplayName: cloudName, Domains: []string{}, Type: "AAD",
	}}}, nil
}
