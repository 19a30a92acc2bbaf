package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

const (
	subscriptionPath = "/subscriptions/{" + subscriptionParam + "}"
	groupPath        = subscriptionPath + "/resourceGroups/{" + groupParam + "}"
	vaultsBelow      = "/providers/Microsoft.KeyVault/vaults"
	vaultPath        = groupPath + vaultsBelow + "/{" + vaultParam + "}"
)

// maxVaultBody holds a vault with all 1,024 access policies and 1,000 network rules.
const maxVaultBody = 1 << 20

// A change of a vault raises the directory, by which vaults are found, and the vault itself.
const writesVault = operation.WritesVault | operation.WritesDirectory

func (f *Face) declareVaults(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "VaultPut", Method: http.MethodPut, Path: vaultPath,
		Action: "Microsoft.KeyVault/vaults/write", Level: operation.VaultLevel, Writes: writesVault, MaxBody: maxVaultBody,
		Summary: "Create a vault, change its settings, or recover a deleted one with createMode recover.",
	}, f.putVault)
	operation.Handle(t, operation.Op{
		Name: "VaultPatch", Method: http.MethodPatch, Path: vaultPath,
		Action: "Microsoft.KeyVault/vaults/write", Level: operation.VaultLevel, Writes: writesVault, MaxBody: maxVaultBody,
		Summary: "Change the given settings of a vault; tags are replaced as a whole.",
	}, f.patchVault)
	operation.Handle(t, operation.Op{
		Name: "VaultGet", Method: http.MethodGet, Path: vaultPath,
		Action: "Microsoft.KeyVault/vaults/read", Level: operation.VaultLevel,
		Summary: "Get a vault's settings.",
	}, f.getVault)
	operation.Handle(t, operation.Op{
		Name: "VaultDelete", Method: http.MethodDelete, Path: vaultPath,
		Action: "Microsoft.KeyVault/vaults/delete", Level: operation.VaultLevel, Writes: writesVault | operation.WritesAuthorisation,
		Summary: "Delete a vault; it can be recovered until its purge date, without its role assignments.",
	}, f.deleteVault)
	operation.Handle(t, operation.Op{
		Name: "VaultList", Method: http.MethodGet, Path: groupPath + vaultsBelow,
		Action: "Microsoft.KeyVault/vaults/read", Level: operation.GroupLevel,
		Summary: "List the vaults of a resource group.",
	}, f.listVaults)
	operation.Handle(t, operation.Op{
		Name: "VaultListBySubscription", Method: http.MethodGet, Path: subscriptionPath + vaultsBelow,
		Action: "Microsoft.KeyVault/vaults/read", Level: operation.SubscriptionLevel,
		Summary: "List the vaults of a subscription.",
	}, f.listVaults)
	operation.Handle(t, operation.Op{
		Name: "VaultCheckName", Method: http.MethodPost, Path: subscriptionPath + "/providers/Microsoft.KeyVault/checkNameAvailability",
		Action: "Microsoft.KeyVault/checkNameAvailability/read", Level: operation.SubscriptionLevel,
		Summary: "Say whether a name is valid and free for a new vault.",
	}, f.checkName)
}

func (f *Face) putVault(ctx context.Context, c *operation.Call, in VaultChange) (Vault, error) {
	if in.Properties == nil {
		return Vault{}, apierr.BadRequest("InvalidRequestContent", "The member \"properties\" is required and was not given.")
	}
	recovers, err := in.Properties.recovers()
	if err != nil {
		return Vault{}, err
	}
	store := f.storeVault
	if recovers {
		store = f.recoverVault
		c.AuditAs("VaultRecover")
	}
	id := vaults.NewID() // before the transaction, so that an unknown outcome can be looked up
	return f.updateVault(ctx, c, func(c *operation.Call, tx *db.Tx) (vaults.Vault, bool, error) { return store(tx, c, id, in) })
}

// storeVault decides between creation and change by what the transaction sees. PUT describes the
// tags as a whole, so absent ones are none; absent properties stay as they are, as in Azure.
func (f *Face) storeVault(tx *db.Tx, c *operation.Call, id string, in VaultChange) (vaults.Vault, bool, error) {
	change := in.change()
	if change.Tags == nil {
		change.Tags = &map[string]string{}
	}
	have, err := f.pathVault(tx, c)
	if isMissing(err) {
		v, err := f.vaults.Create(tx, id, f.subscription, c.Param(groupParam), c.Param(vaultParam),
			withDefaults(change, c.Version), c.Caller.ObjectID)
		return v, true, err
	}
	if err != nil {
		return vaults.Vault{}, false, err
	}
	v, err := f.vaults.Update(tx, have, change, c.Caller.ObjectID)
	return v, false, err
}

// recoverVault brings a vault back with its former settings; others in the body do not count.
func (f *Face) recoverVault(tx *db.Tx, c *operation.Call, _ string, in VaultChange) (vaults.Vault, bool, error) {
	v, err := f.vaults.Recover(tx, f.subscription, c.Param(groupParam), c.Param(vaultParam), in.Location, c.Caller.ObjectID)
	return v, false, err
}

func (f *Face) patchVault(ctx context.Context, c *operation.Call, in VaultChange) (Vault, error) {
	if p := in.Properties; p != nil && p.CreateMode != nil && !strings.EqualFold(*p.CreateMode, "default") {
		return Vault{}, apierr.BadRequest("InvalidParameter", "The property \"createMode\" is '%s'; want default, since PATCH makes and recovers nothing.", *p.CreateMode)
	}
	return f.updateVault(ctx, c, func(c *operation.Call, tx *db.Tx) (vaults.Vault, bool, error) {
		have, err := f.existingVault(tx, c)
		if err != nil {
			return vaults.Vault{}, false, err
		}
		v, err := f.vaults.Update(tx, have, in.change(), c.Caller.ObjectID)
		return v, false, err
	})
}

// updateVault runs a change and answers the vault as it is then. The audit entry is made behind
// fn, in the same transaction, and so names a vault that fn made.
func (f *Face) updateVault(ctx context.Context, c *operation.Call, fn func(*operation.Call, *db.Tx) (vaults.Vault, bool, error)) (Vault, error) {
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (Vault, error) {
		v, created, err := fn(c, tx)
		if err != nil {
			return Vault{}, err
		}
		wire, err := f.vaultWire(tx, c)
		if err != nil {
			return Vault{}, err
		}
		c.Vault = v
		c.Created(created)
		return wire(v), nil
	})
}

func (f *Face) getVault(ctx context.Context, c *operation.Call, _ operation.None) (Vault, error) {
	var out Vault
	err := c.View(ctx, func(tx *db.Tx) error {
		v, err := f.existingVault(tx, c)
		if err != nil {
			return err
		}
		wire, err := f.vaultWire(tx, c)
		if err == nil {
			out = wire(v)
		}
		return err
	})
	return out, err
}

// pathVault is the living vault that the path names, or the refusal that it does not exist.
func (f *Face) pathVault(tx *db.Tx, c *operation.Call) (vaults.Vault, error) {
	return f.vaults.Get(tx, f.subscription, c.Param(groupParam), c.Param(vaultParam))
}

// existingVault is pathVault for operations that need one.
func (f *Face) existingVault(tx *db.Tx, c *operation.Call) (vaults.Vault, error) {
	v, err := f.pathVault(tx, c)
	return v, f.outermost(tx, c, err)
}

// outermost is the refusal of what the path's resource group lacks, or that of the group itself:
// of all that is missing, the outermost is named.
func (f *Face) outermost(tx *db.Tx, c *operation.Call, err error) error {
	if isMissing(err) {
		if _, groupErr := f.vaults.Group(tx, f.subscription, c.Param(groupParam)); groupErr != nil {
			return groupErr
		}
	}
	return err
}

// vaultWire turns vaults into their wire form, for one answer.
func (f *Face) vaultWire(tx *db.Tx, c *operation.Call) (func(vaults.Vault) Vault, error) {
	kind, err := kinds(f.authz, tx)
	if err != nil {
		return nil, err
	}
	return func(v vaults.Vault) Vault {
		data := newSystemData(v.CreatedBy, v.Created, v.UpdatedBy, v.Updated, kind)
		return newVault(v, f.tenant, c.Host.Family.VaultURL(v.Name), data)
	}, nil
}

func (f *Face) deleteVault(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	err := c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		v, err := f.pathVault(tx, c)
		if isMissing(err) {
			return absent("vault", c.Param(vaultParam))
		}
		if err != nil {
			return err
		}
		_, err = f.vaults.Delete(tx, v, c.Caller.ObjectID)
		return err
	})
	return operation.None{}, err
}

// listVaults serves a resource group and, where the path names none, the subscription.
func (f *Face) listVaults(ctx context.Context, c *operation.Call, _ operation.None) (List[Vault], error) {
	p, err := f.readPage(c)
	if err != nil {
		return List[Vault]{}, err
	}
	var out List[Vault]
	err = c.View(ctx, func(tx *db.Tx) error {
		if err := f.checkPlace(tx, placeOf(c.Scope)); err != nil {
			return err
		}
		found, err := f.vaults.List(tx, f.subscription, c.Param(groupParam), p.domain())
		if err != nil {
			return err
		}
		wire, err := f.vaultWire(tx, c)
		if err == nil {
			out = paged(f, c, p, found, wire)
		}
		return err
	})
	return out, err
}

// checkPlace refuses a resource group or vault that does not exist.
func (f *Face) checkPlace(tx *db.Tx, at place) error {
	if at.group != "" {
		if _, err := f.vaults.Group(tx, f.subscription, at.group); err != nil {
			return err
		}
	}
	if at.vault != "" {
		if _, err := f.vaults.Get(tx, f.subscription, at.group, at.vault); err != nil {
			return err
		}
	}
	return nil
}

// A NameCheck is the body of checkNameAvailability.
type NameCheck struct {
	Name string `json:"name"`
	Type string `json:"type"` // Microsoft.KeyVault/vaults
}

// A NameAvailability is its answer.
type NameAvailability struct {
	Available bool   `json:"nameAvailable"`
	Reason    string `json:"reason,omitempty"` // AccountNameInvalid or AlreadyExists
	Message   string `json:"message,omitempty"`
}

func (f *Face) checkName(ctx context.Context, c *operation.Call, in NameCheck) (NameAvailability, error) {
	if !sameName(in.Type, vaultType) {
		return NameAvailability{}, apierr.BadRequest("InvalidParameter", "The type '%s' is not supported; want %s.", in.Type, vaultType)
	}
	var out NameAvailability
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		out.Available, out.Reason, out.Message, err = f.vaults.Availability(tx, in.Name)
		return err
	})
	return out, err
}

// sameName compares names of resource types and the like, in which letter case does not count.
func sameName(a, b string) bool {
	return resource.Scope{Text: a}.Key() == resource.Scope{Text: b}.Key()
}
