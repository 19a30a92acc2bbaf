package cli

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The api-versions of the wire that the commands speak.
const (
	vaultVersion      = "2026-02-01"
	groupVersion      = "2024-03-01"
	identityVersion   = "2024-11-30"
	assignmentVersion = "2022-04-01"
	dataVersion       = "7.6"
)

var vaultView = view{
	{title: "Name", path: "name"},
	{title: "Group", path: "id", format: pathSegment("resourceGroups")},
	{title: "Location", path: "location"},
	{title: "URI", path: "properties.vaultUri"},
	{title: "RBAC", path: "properties.enableRbacAuthorization"},
	{title: "Retention days", path: "properties.softDeleteRetentionInDays"},
	{title: "Purge protection", path: "properties.enablePurgeProtection"},
	{title: "Tags", path: "tags", format: tags},
}

var deletedVaultView = view{
	{title: "Name", path: "name"},
	{title: "Group", path: "properties.vaultId", format: pathSegment("resourceGroups")},
	{title: "Location", path: "properties.location"},
	{title: "Deleted", path: "properties.deletionDate"},
	{title: "Purge due", path: "properties.scheduledPurgeDate"},
	{title: "Purge protection", path: "properties.purgeProtectionEnabled"},
}

func (a *app) vaultGroup() *cobra.Command {
	return a.group("vault", "Create, show, delete and recover vaults",
		"  strongroom vault create payroll\n  strongroom vault list --output json",
		func(f *pflag.FlagSet) { connectionFlags(f); groupFlags(f) },
		spec{
			use: "create NAME", short: "Create a vault that decides by role assignments",
			example: "  strongroom vault create payroll --retention-days 30 --tag team=hr",
			flags: func(f *pflag.FlagSet) {
				f.String("location", "", "where it lies (default: that of the resource group)")
				f.Int("retention-days", 90, "how long deleted objects can be recovered, 7 to 90; fixed for ever")
				f.Bool("purge-protection", false, "nobody can purge before that time is over; cannot be undone")
				f.StringArray("tag", nil, "a tag as name=value; may be repeated")
			},
			run: (*call).createVault,
		},
		spec{
			use: "list", short: "List the vaults of the subscription",
			example: "  strongroom vault list", run: (*call).listVaults,
		},
		spec{
			use: "show NAME", short: "Show a vault",
			example: "  strongroom vault show payroll", run: (*call).showVault,
		},
		spec{
			use: "delete NAME", short: "Delete a vault; it can be recovered until its purge",
			example: "  strongroom vault delete payroll", run: (*call).deleteVault,
		},
		spec{
			use: "recover NAME", short: "Recover a deleted vault with all that was in it",
			long:    "Recover a deleted vault with all that was in it. Role assignments do not come back.",
			example: "  strongroom vault recover payroll", run: (*call).recoverVault,
		},
		spec{
			use: "purge NAME", short: "Remove a deleted vault for good",
			example: "  strongroom vault purge payroll", run: (*call).purgeVault,
		},
		spec{
			use: "rotate-key NAME", short: "Seal the vault's values by a new data key",
			long: "Seal the vault's values by a new data key. Requests go on meanwhile. The old key is destroyed when the last\n" +
				"value is sealed anew.",
			example: "  strongroom vault rotate-key payroll", run: (*call).rotateDataKey,
		},
		spec{
			use: "list-deleted", short: "List the deleted vaults",
			example: "  strongroom vault list-deleted", run: (*call).listDeletedVaults,
		},
	)
}

func groupFlags(f *pflag.FlagSet) {
	f.String("subscription", "", "the subscription's id (default: the server's first)")
	f.String("group", "", "the resource group (default: the server's first)")
}

// subscription is the path of the subscription that is meant.
func (c *call) subscription() (string, error) {
	cl, err := c.client()
	if err != nil {
		return "", err
	}
	id := c.text("subscription")
	if id == "" {
		id = cl.Subscription
	}
	if id == "" {
		var page struct {
			Value []struct {
				SubscriptionID string `json:"subscriptionId"`
			} `json:"value"`
		}
		if err := cl.get(c.ctx, cl.management(), "/subscriptions?api-version="+groupVersion, &page); err != nil {
			return "", err
		}
		if len(page.Value) == 0 {
			return "", failed("", "this identity sees no subscription; name one with --subscription")
		}
		id = page.Value[0].SubscriptionID
		cl.Subscription = id
	}
	return "/subscriptions/" + url.PathEscape(id), nil
}

// resourceGroup is the path of the resource group that is meant.
func (c *call) resourceGroup() (string, error) {
	subscription, err := c.subscription()
	if err != nil {
		return "", err
	}
	name := c.text("group")
	if name == "" {
		name = c.connection.Group
	}
	if name == "" {
		groups, err := c.manage(subscription+"/resourceGroups", groupVersion)
		if err != nil {
			return "", err
		}
		if len(groups) != 1 {
			return "", usage("", "want the resource group with --group: there are %d", len(groups))
		}
		if name, err = stringMember(groups[0], "name"); err != nil {
			return "", err
		}
	}
	return subscription + "/resourceGroups/" + url.PathEscape(name), nil
}

// manage reads a list of the management face.
func (c *call) manage(path, version string) ([]jsontext.Value, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return cl.list(c.ctx, cl.management(), path+"?api-version="+version)
}

// stringMember reads one member of an object, which has to be there.
func stringMember(item jsontext.Value, path string) (string, error) {
	var object any
	if json.Unmarshal(item, &object) != nil {
		return "", errNotJSON
	}
	text, ok := member(object, path).(string)
	if !ok || text == "" {
		return "", errNotJSON
	}
	return text, nil
}

// find picks the item whose member is the name, in any letter case.
func find(items []jsontext.Value, path, name string) (jsontext.Value, bool) {
	for _, item := range items {
		if text, err := stringMember(item, path); err == nil && strings.EqualFold(text, name) {
			return item, true
		}
	}
	return nil, false
}

const vaultProvider = "/providers/Microsoft.KeyVault"

// vaultID is the path of a vault: in the resource group that was given, or where it is found.
func (c *call) vaultID(name string) (string, error) {
	if c.given("group") {
		group, err := c.resourceGroup()
		return group + vaultProvider + "/vaults/" + url.PathEscape(name), err
	}
	subscription, err := c.subscription()
	if err != nil {
		return "", err
	}
	vaults, err := c.manage(subscription+vaultProvider+"/vaults", vaultVersion)
	if err != nil {
		return "", err
	}
	item, ok := find(vaults, "name", name)
	if !ok {
		return "", noVault(name)
	}
	id, err := stringMember(item, "id")
	return id, err
}

func noVault(name string) error {
	return failed(`"strongroom vault list" shows the names`, "no vault named %q", name)
}

// onVault sends a request for the vault that the first argument names, or for what lies below it.
func (c *call) onVault(method string, below ...string) (jsontext.Value, error) {
	id, err := c.vaultID(c.args[0])
	if err != nil {
		return nil, err
	}
	v, err := c.connection.do(c.ctx, c.connection.management(), method, id+strings.Join(below, "")+"?api-version="+vaultVersion, nil)
	if isNotFound(err) {
		return nil, noVault(c.args[0])
	}
	return v, err
}

func (c *call) createVault() error {
	group, err := c.resourceGroup()
	if err != nil {
		return err
	}
	cl := c.connection
	id := group + vaultProvider + "/vaults/" + url.PathEscape(c.args[0]) + "?api-version=" + vaultVersion
	if _, err = cl.do(c.ctx, cl.management(), http.MethodGet, id, nil); err == nil {
		return failed("", "the vault %q exists already", c.args[0])
	} else if !isNotFound(err) {
		return err
	}
	body, err := c.newVault(group)
	if err != nil {
		return err
	}
	made, err := cl.do(c.ctx, cl.management(), http.MethodPut, id, body)
	if err != nil {
		return err
	}
	return c.showOne(vaultView, made)
}

// newVault is the body of a new vault: RBAC is asked for by name, whatever an api-version means
// by leaving it out.
func (c *call) newVault(group string) (map[string]any, error) {
	location, err := c.location(group)
	if err != nil {
		return nil, err
	}
	tenant, err := c.tenant()
	if err != nil {
		return nil, err
	}
	tags, err := c.pairs("tag")
	if err != nil {
		return nil, err
	}
	days, err := c.flags.GetInt("retention-days")
	if err != nil {
		return nil, err
	}
	properties := map[string]any{
		"tenantId": tenant, "sku": map[string]string{"family": "A", "name": "standard"},
		"enableRbacAuthorization": true, "softDeleteRetentionInDays": days,
	}
	if c.text("purge-protection") == "true" {
		properties["enablePurgeProtection"] = true
	}
	return map[string]any{"location": location, "tags": tags, "properties": properties}, nil
}

// location is the value of --location, or that of the resource group.
func (c *call) location(group string) (string, error) {
	if location := c.text("location"); location != "" {
		return location, nil
	}
	v, err := c.connection.do(c.ctx, c.connection.management(), http.MethodGet, group+"?api-version="+groupVersion, nil)
	if err != nil {
		return "", err
	}
	return stringMember(v, "location")
}

// tenant is the server's tenant.
func (c *call) tenant() (string, error) {
	if c.connection.Tenant != "" {
		return c.connection.Tenant, nil
	}
	tenants, err := c.manage("/tenants", groupVersion)
	if err != nil {
		return "", err
	}
	if len(tenants) == 0 {
		return "", errNotJSON
	}
	return stringMember(tenants[0], "tenantId")
}

func (c *call) listVaults() error {
	scope, err := c.subscription()
	if c.given("group") {
		scope, err = c.resourceGroup()
	}
	if err != nil {
		return err
	}
	vaults, err := c.manage(scope+vaultProvider+"/vaults", vaultVersion)
	if err != nil {
		return err
	}
	return c.showList(vaultView, vaults)
}

func (c *call) showVault() error {
	vault, err := c.onVault(http.MethodGet)
	if err != nil {
		return err
	}
	return c.showOne(vaultView, vault)
}

func (c *call) deleteVault() error {
	if _, err := c.onVault(http.MethodDelete); err != nil {
		return err
	}
	c.say("deleted the vault %q; \"strongroom vault recover %s\" brings it back", c.args[0], c.args[0])
	return nil
}

func (c *call) rotateDataKey() error {
	if _, err := c.onVault(http.MethodPost, "/rotateDataKey"); err != nil {
		return err
	}
	c.say("the vault %q has a new data key; its values are being sealed by it", c.args[0])
	return nil
}

func (c *call) deletedVaults() ([]jsontext.Value, error) {
	subscription, err := c.subscription()
	if err != nil {
		return nil, err
	}
	return c.manage(subscription+vaultProvider+"/deletedVaults", vaultVersion)
}

func (c *call) listDeletedVaults() error {
	vaults, err := c.deletedVaults()
	if err != nil {
		return err
	}
	return c.showList(deletedVaultView, vaults)
}

// deletedVault finds the deleted vault that the first argument names.
func (c *call) deletedVault() (jsontext.Value, error) {
	vaults, err := c.deletedVaults()
	if err != nil {
		return nil, err
	}
	item, ok := find(vaults, "name", c.args[0])
	if !ok {
		return nil, failed(`"strongroom vault list-deleted" shows the names`, "no deleted vault named %q", c.args[0])
	}
	return item, nil
}

func (c *call) recoverVault() error {
	deleted, err := c.deletedVault()
	if err != nil {
		return err
	}
	id, err := stringMember(deleted, "properties.vaultId")
	if err != nil {
		return err
	}
	location, err := stringMember(deleted, "properties.location")
	if err != nil {
		return err
	}
	tenant, err := c.tenant()
	if err != nil {
		return err
	}
	cl := c.connection
	vault, err := cl.do(c.ctx, cl.management(), http.MethodPut, id+"?api-version="+vaultVersion, map[string]any{
		"location": location,
		"properties": map[string]any{
			"createMode": "recover", "tenantId": tenant, "sku": map[string]string{"family": "A", "name": "standard"},
		},
	})
	if err != nil {
		return err
	}
	return c.showOne(vaultView, vault)
}

func (c *call) purgeVault() error {
	deleted, err := c.deletedVault()
	if err != nil {
		return err
	}
	id, err := stringMember(deleted, "id")
	if err != nil {
		return err
	}
	cl := c.connection
	if _, err := cl.do(c.ctx, cl.management(), http.MethodPost, id+"/purge?api-version="+vaultVersion, nil); err != nil {
		return err
	}
	c.say("purged the vault %q", c.args[0])
	return nil
}
