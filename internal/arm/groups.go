package arm

import (
	"context"
	"net/http"

	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

func (f *Face) declareGroups(t *operation.Table) {
	const read, write = "Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/subscriptions/resourceGroups/write"
	operation.Handle(t, operation.Op{
		Name: "ResourceGroupPut", Method: http.MethodPut, Path: groupPath,
		Action: write, Level: operation.GroupLevel, Writes: operation.WritesDirectory,
		Summary: "Create a resource group or replace its tags.",
	}, f.putGroup)
	operation.Handle(t, operation.Op{
		Name: "ResourceGroupGet", Method: http.MethodGet, Path: groupPath,
		Action: read, Level: operation.GroupLevel, Summary: "Get a resource group.",
	}, f.getGroup)
	operation.Handle(t, operation.Op{
		Name: "ResourceGroupExists", Method: http.MethodHead, Path: groupPath,
		Action: read, Level: operation.GroupLevel, Status: http.StatusNoContent, Summary: "Say whether a resource group exists.",
	}, f.headGroup)
	operation.Handle(t, operation.Op{
		Name: "ResourceGroupList", Method: http.MethodGet, Path: subscriptionPath + "/resourceGroups",
		Action: read, Level: operation.SubscriptionLevel, Summary: "List the resource groups of a subscription.",
	}, f.listGroups)
}

// A GroupChange is the body of PUT of a resource group.
type GroupChange struct {
	Location string         `json:"location"`
	Tags     operation.Tags `json:"tags"`
}

// A Group is the wire form of a resource group.
type Group struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties GroupProperties   `json:"properties"`
}

// GroupProperties tell clients that there is nothing to wait for.
type GroupProperties struct {
	ProvisioningState string `json:"provisioningState"`
}

func newGroup(g vaults.ResourceGroup) Group {
	return Group{
		ID: resource.Group(g.Subscription, g.Name).Text, Name: g.Name, Type: "Microsoft.Resources/resourceGroups",
		Location: g.Location, Tags: orEmpty(g.Tags), Properties: GroupProperties{"Succeeded"},
	}
}

func (f *Face) putGroup(ctx context.Context, c *operation.Call, in GroupChange) (Group, error) {
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (Group, error) {
		g, created, err := f.vaults.PutGroup(tx, vaults.ResourceGroup{
			Subscription: f.subscription, Name: c.Param(groupParam), Location: in.Location, Tags: in.Tags,
		})
		c.Created(created)
		return newGroup(g), err
	})
}

func (f *Face) getGroup(ctx context.Context, c *operation.Call, _ operation.None) (Group, error) {
	var g vaults.ResourceGroup
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		g, err = f.vaults.Group(tx, f.subscription, c.Param(groupParam))
		return err
	})
	return newGroup(g), err
}

func (f *Face) headGroup(ctx context.Context, c *operation.Call, in operation.None) (operation.None, error) {
	_, err := f.getGroup(ctx, c, in)
	return operation.None{}, err
}

func (f *Face) listGroups(ctx context.Context, c *operation.Call, _ operation.None) (List[Group], error) {
	var found []vaults.ResourceGroup
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		found, err = f.vaults.Groups(tx, f.subscription)
		return err
	})
	return List[Group]{Value: convert(found, newGroup)}, err
}
