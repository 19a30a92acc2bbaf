package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/vaults"
)

// declareResources declares the generic list by which az and Terraform find the resource group
// of a vault that they know by name only.
func (f *Face) declareResources(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "ResourceList", Method: http.MethodGet, Path: subscriptionPath + "/resources",
		Action: "Microsoft.Resources/subscriptions/resources/read", Level: operation.SubscriptionLevel,
		Summary: "List the vaults of a subscription as generic resources, by $filter on resourceType, name and resourceGroup.",
	}, f.listResources)
}

// A Resource is the generic form of a resource.
type Resource struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

func newResource(v vaults.Vault) Resource {
	return Resource{ID: v.Scope().Text, Name: v.Name, Type: vaultType, Location: v.Location, Tags: orEmpty(v.Tags)}
}

// A resourceFilter says which resources a list is to show; "" does not narrow.
type resourceFilter struct{ kind, name, group string }

func parseResourceFilter(text string) (resourceFilter, error) {
	terms, err := parseFilter(text)
	if err != nil {
		return resourceFilter{}, err
	}
	var out resourceFilter
	for _, t := range terms {
		switch {
		case t.is("resourceType", false):
			out.kind = t.value
		case t.is("name", false):
			out.name = t.value
		case t.is("resourceGroup", false):
			out.group = t.value
		default:
			return resourceFilter{}, badFilter()
		}
	}
	return out, nil
}

// listResources knows vaults only: a filter for another type finds nothing.
func (f *Face) listResources(ctx context.Context, c *operation.Call, _ operation.None) (List[Resource], error) {
	filter, err := parseResourceFilter(c.Query.Get("$filter"))
	if err != nil {
		return List[Resource]{}, err
	}
	p, err := f.readPage(c)
	if err != nil {
		return List[Resource]{}, err
	}
	var found []vaults.Vault
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		found, err = f.findResources(tx, filter, p)
		return err
	})
	return paged(f, c, p, found, newResource), err
}

func (f *Face) findResources(tx *db.Tx, filter resourceFilter, p page) ([]vaults.Vault, error) {
	if filter.kind != "" && !sameName(filter.kind, vaultType) {
		return nil, nil
	}
	if filter.name == "" {
		return f.vaults.List(tx, f.subscription, filter.group, p.domain())
	}
	v, err := f.vaults.Named(tx, filter.name)
	if err != nil || !strings.EqualFold(v.Subscription, f.subscription) ||
		filter.group != "" && !strings.EqualFold(v.Group, filter.group) {
		return nil, unlessMissing(err)
	}
	return []vaults.Vault{v}, nil
}
