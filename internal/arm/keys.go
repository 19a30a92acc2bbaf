package arm

import (
	"context"
	"net/http"
	"slices"

	"strongroom/internal/db"
	"strongroom/internal/keyring"
	"strongroom/internal/operation"
	"strongroom/internal/vaults"
)

// Names of operations that take no api-version: they are ours alone.
const (
	rootKeyListName   = "RootKeyList"
	rootKeyChangeName = "RootKeyChange"
)

// RootKeys says which root keys there are and what they wrap.
type RootKeys struct {
	Value    []RootKey `json:"value"`
	Wrapping string    `json:"wrapping"` // the key that wraps what is stored from now on
	Pending  bool      `json:"pending"`  // something may still be wrapped, or sealed, by an older key
	Nodes    []string  `json:"nodes"`    // the nodes that live
}

// A RootKey is one of them. Nothing of it is secret.
type RootKey struct {
	ID    string   `json:"id"`
	Wraps int      `json:"wraps"` // keys of the keyring and of vaults
	Nodes []string `json:"nodes"` // that have it
}

func (f *Face) declareKeys(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: rootKeyListName, Method: http.MethodGet, Path: "/rootKeys",
		Action: "Strongroom/rootKeys/read", Level: operation.TenantLevel,
		Summary: "Say which root keys there are, what each wraps, and which nodes have it.",
	}, f.listRootKeys)
	operation.Handle(t, operation.Op{
		Name: rootKeyChangeName, Method: http.MethodPost, Path: "/rootKeys/change",
		Action: "Strongroom/rootKeys/change/action", Level: operation.TenantLevel, Writes: operation.WritesDirectory,
		Summary: "Wrap all keys by the newest root key, when every node has it.",
	}, f.changeRootKey)
	operation.Handle(t, operation.Op{
		Name: "VaultDataKeyRotate", Method: http.MethodPost, Path: vaultPath + "/rotateDataKey",
		Action: "Strongroom/vaults/rotateDataKey/action", Level: operation.VaultLevel, Writes: writesVault,
		Summary: "Seal a vault's values by a new data key; the old one is destroyed when the last value is sealed anew.",
	}, f.rotateDataKey)
}

func (f *Face) listRootKeys(ctx context.Context, c *operation.Call, _ operation.None) (out RootKeys, err error) {
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		out, err = f.rootKeys(tx)
		return err
	})
	return out, err
}

func (f *Face) rootKeys(tx *db.Tx) (out RootKeys, err error) {
	if out.Wrapping, err = keyring.Wrapping(tx); err != nil {
		return out, err
	}
	if out.Pending, err = keyring.Pending(tx); err != nil {
		return out, err
	}
	wraps, err := keyring.Wrapped(tx)
	if err != nil {
		return out, err
	}
	state, err := f.vaults.Keys(tx)
	if err != nil {
		return out, err
	}
	var holders map[string][]string
	if out.Nodes, holders, err = keyring.Holders(tx); err != nil {
		return out, err
	}
	ids := []string{out.Wrapping}
	for id, n := range state.ByRootKey {
		wraps[id] += n
	}
	for id := range wraps {
		ids = append(ids, id)
	}
	for id := range holders {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		out.Value = append(out.Value, RootKey{ID: id, Wraps: wraps[id], Nodes: orNone(holders[id])})
	}
	out.Nodes = orNone(out.Nodes)
	return out, nil
}

// orNone makes an empty list of none, which JSON tells apart.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// changeRootKey does what has to be done at once. The data keys of the vaults follow.
func (f *Face) changeRootKey(ctx context.Context, c *operation.Call, _ operation.None) (RootKeys, error) {
	id, err := f.nextRootKey(ctx)
	if err != nil {
		return RootKeys{}, err
	}
	return operation.Change(ctx, c, func(_ *operation.Call, tx *db.Tx) (RootKeys, error) {
		if err := keyring.Change(tx, f.tenant, tx.Ring(), id); err != nil {
			return RootKeys{}, err
		}
		return f.rootKeys(tx)
	})
}

func (f *Face) rotateDataKey(ctx context.Context, c *operation.Call, _ operation.None) (Vault, error) {
	return f.updateVault(ctx, c, func(c *operation.Call, tx *db.Tx) (vaults.Vault, bool, error) {
		have, err := f.existingVault(tx, c)
		if err != nil {
			return vaults.Vault{}, false, err
		}
		v, err := f.vaults.RotateDataKey(tx, have, c.Caller.ObjectID)
		return v, false, err
	})
}
