package vaults

import (
	"fmt"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/keyring"
)

// newDataKeys draws the data key of a new vault.
func (s *Store) newDataKeys(tx *db.Tx, id string) ([]byte, error) {
	root, err := keyring.Wrapping(tx)
	if err != nil {
		return nil, err
	}
	return s.Ring.NewDataKeys(id, root)
}

// RotateDataKey draws a new data key for a vault, which seals from now on, and asks for the values
// to be sealed by it (see secrets.Store.Reseal). It locks the vault's contents: whoever writes after it sees the
// new key, so that nothing more is sealed by the old one.
func (s *Store) RotateDataKey(tx *db.Tx, v Vault, by string) (Vault, error) {
	if err := tx.Raise(db.VaultRevision(v.ID)); err != nil {
		return Vault{}, err
	}
	roots, err := envelope.DataKeyRoots(v.DataKeySealed)
	if err != nil {
		return Vault{}, fmt.Errorf("vault %s: %w", v.ID, err)
	}
	if len(roots) > 1 {
		return Vault{}, apierr.Conflict("KeyRotationUnderWay", "The values of the vault '%s' are still being sealed by the data key of the last rotation. Try again later.", v.Name)
	}
	root, err := keyring.Wrapping(tx)
	if err != nil {
		return Vault{}, err
	}
	if v.DataKeySealed, err = s.Ring.AddDataKey(v.ID, v.DataKeySealed, root); err != nil {
		return Vault{}, fmt.Errorf("vault %s: %w", v.ID, err)
	}
	v.UpdatedBy, v.Updated = by, tx.Now
	if err := s.replace(tx, v); err != nil {
		return Vault{}, err
	}
	return v, keyring.SetPending(tx, s.Tenant, true)
}

// A KeyState says by what the data keys of all vaults, living and deleted, are wrapped.
type KeyState struct {
	ByRootKey map[string]int // data keys by the root key that wraps them
	Several   []Vault        // vaults whose values are being sealed by a new data key
	old       []Vault        // vaults with a data key that another root key wraps
}

// Keys reads the state.
func (s *Store) Keys(tx *db.Tx) (KeyState, error) {
	state := KeyState{ByRootKey: map[string]int{}}
	root, err := keyring.Wrapping(tx)
	if err != nil {
		return state, err
	}
	all, err := s.query(tx, selectVaults+` FROM vaults WHERE tenant_id = $1 ORDER BY vault_id`, s.Tenant)
	for _, v := range all {
		roots, err := envelope.DataKeyRoots(v.DataKeySealed)
		if err != nil {
			return state, fmt.Errorf("vault %s: %w", v.ID, err)
		}
		isOld := false
		for _, id := range roots {
			state.ByRootKey[id]++
			isOld = isOld || id != root
		}
		if len(roots) > 1 {
			state.Several = append(state.Several, v)
		}
		if isOld {
			state.old = append(state.old, v)
		}
	}
	return state, err
}

// Rewrap wraps the data keys of some vaults, at most limit, by the root key that wraps now, and says
// how many vaults that were. The transaction holds keyring.ChangeLocks.
func (s *Store) Rewrap(tx *db.Tx, limit int) (int, error) {
	state, err := s.Keys(tx)
	if err != nil {
		return 0, err
	}
	root, err := keyring.Wrapping(tx)
	if err != nil {
		return 0, err
	}
	work := state.old[:min(limit, len(state.old))]
	for _, v := range work {
		if v.DataKeySealed, _, err = s.Ring.RewrapDataKeys(v.ID, v.DataKeySealed, root); err != nil {
			return 0, fmt.Errorf("wrap the data key of vault %s: %w", v.ID, err)
		}
		if err := s.replace(tx, v); err != nil {
			return 0, err
		}
	}
	return len(work), nil
}

// EndRotation destroys the data keys of a vault but the newest. Nothing is sealed by them any more.
// The transaction holds keyring.ChangeLocks.
func (s *Store) EndRotation(tx *db.Tx, id string) error {
	v, err := s.ByID(tx, id)
	if err != nil {
		return err
	}
	if v.DataKeySealed, err = envelope.OnlyNewestDataKey(v.DataKeySealed); err != nil {
		return fmt.Errorf("vault %s: %w", id, err)
	}
	return s.replace(tx, v)
}

// EndRenewal notes that nothing stands under an old key any more, unless something has come to do so
// meanwhile: ended says which. The transaction holds keyring.ChangeLocks.
func (s *Store) EndRenewal(tx *db.Tx) (ended bool, err error) {
	state, err := s.Keys(tx)
	if err != nil || len(state.old) > 0 || len(state.Several) > 0 {
		return false, err
	}
	return true, keyring.SetPending(tx, s.Tenant, false)
}
