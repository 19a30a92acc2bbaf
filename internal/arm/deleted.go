package arm

import (
	"context"
	"net/http"

	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

const deletedPath = subscriptionPath + "/providers/Microsoft.KeyVault/locations/{" + locationParam + "}/deletedVaults/{" + vaultParam + "}"

// Deleted vaults belong to no resource group any more: rights are asked at the subscription.
func (f *Face) declareDeletedVaults(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "VaultListDeleted", Method: http.MethodGet, Path: subscriptionPath + "/providers/Microsoft.KeyVault/deletedVaults",
		Action: "Microsoft.KeyVault/deletedVaults/read", Level: operation.SubscriptionLevel,
		Summary: "List the deleted vaults of a subscription.",
	}, f.listDeleted)
	operation.Handle(t, operation.Op{
		Name: "VaultGetDeleted", Method: http.MethodGet, Path: deletedPath,
		Action: "Microsoft.KeyVault/locations/deletedVaults/read", Level: operation.SubscriptionLevel,
		Summary: "Get a deleted vault.",
	}, f.getDeleted)
	operation.Handle(t, operation.Op{
		Name: "VaultPurge", Method: http.MethodPost, Path: deletedPath + "/purge",
		Action: "Microsoft.KeyVault/locations/deletedVaults/purge/action", Level: operation.SubscriptionLevel, Writes: writesVault,
		Summary: "Remove a deleted vault and all in it for good.",
	}, f.purgeVault)
}

// A DeletedVault is the wire form of a deleted vault.
type DeletedVault struct {
	ID         string                 `json:"id"`
	Name       string                 `json:"name"`
	Type       string                 `json:"type"`
	Properties DeletedVaultProperties `json:"properties"`
}

// DeletedVaultProperties are what remains visible of a deleted vault.
type DeletedVaultProperties struct {
	VaultID         string            `json:"vaultId"`
	Location        string            `json:"location"`
	Deleted         string            `json:"deletionDate"`
	Purge           string            `json:"scheduledPurgeDate"`
	Tags            map[string]string `json:"tags"`
	PurgeProtection bool              `json:"purgeProtectionEnabled,omitzero"` // true or absent
}

func newDeletedVault(v vaults.Vault) DeletedVault {
	return DeletedVault{
		ID:   resource.Subscription(v.Subscription).Text + "/providers/Microsoft.KeyVault/locations/" + v.Location + "/deletedVaults/" + v.Name,
		Name: v.Name, Type: "Microsoft.KeyVault/deletedVaults",
		Properties: DeletedVaultProperties{
			VaultID: v.Scope().Text, Location: v.Location, Deleted: stamp(v.Deleted), Purge: stamp(v.Purge),
			Tags: orEmpty(v.Tags), PurgeProtection: v.PurgeProtection,
		},
	}
}

func (f *Face) listDeleted(ctx context.Context, c *operation.Call, _ operation.None) (List[DeletedVault], error) {
	p, err := f.readPage(c)
	if err != nil {
		return List[DeletedVault]{}, err
	}
	var found []vaults.Vault
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		found, err = f.vaults.ListDeleted(tx, f.subscription, p.domain())
		return err
	})
	return paged(f, c, p, found, newDeletedVault), err
}

func (f *Face) getDeleted(ctx context.Context, c *operation.Call, _ operation.None) (DeletedVault, error) {
	var v vaults.Vault
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		v, err = f.pathDeleted(tx, c)
		return err
	})
	return newDeletedVault(v), err
}

// pathDeleted is the deleted vault that the path names.
func (f *Face) pathDeleted(tx *db.Tx, c *operation.Call) (vaults.Vault, error) {
	return f.vaults.GetDeleted(tx, f.subscription, c.Param(locationParam), c.Param(vaultParam))
}

func (f *Face) purgeVault(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	err := c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		v, err := f.pathDeleted(tx, c)
		if err != nil {
			return err
		}
		return f.vaults.PurgeVault(tx, v, c.IsSystem())
	})
	return operation.None{}, err
}
