package schedule

import (
	"context"
	"fmt"

	"strongroom/internal/db"
	"strongroom/internal/keyring"
	"strongroom/internal/secrets"
)

// rewrapAtOnce bounds the vaults whose keys one transaction wraps anew.
const rewrapAtOnce = 50

// RenewKeys ends what a change of the root key, or of a vault's data key, has left to do: data keys are
// wrapped by the root key that wraps now, values are sealed by their vault's newest data key, and only
// then old data keys are destroyed. It may die at any moment, and goes on at its next time.
func (s *Scheduler) RenewKeys(ctx context.Context) error {
	pending := false
	var several []string
	err := s.DB.View(ctx, func(tx *db.Tx) (err error) {
		if pending, err = keyring.Pending(tx); err != nil || !pending {
			return err
		}
		keys, err := s.Vaults.Keys(tx)
		for _, v := range keys.Several {
			several = append(several, v.ID)
		}
		return err
	})
	if err != nil || !pending {
		return err
	}
	for n := rewrapAtOnce; n == rewrapAtOnce; {
		err := s.DB.Update(ctx, keyring.ChangeLocks(), func(tx *db.Tx) (err error) {
			n, err = s.Vaults.Rewrap(tx, rewrapAtOnce)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, id := range several {
		if err := s.reseal(ctx, id); err != nil {
			return fmt.Errorf("seal the values of vault %s by its new data key: %w", id, err)
		}
	}
	return s.DB.Update(ctx, keyring.ChangeLocks(), func(tx *db.Tx) error {
		ended, err := s.Vaults.EndRenewal(tx)
		if err == nil && ended {
			err = s.Renewed(tx)
		}
		return err
	})
}

// reseal seals all values of a vault by its newest data key, and destroys the older ones.
func (s *Scheduler) reseal(ctx context.Context, id string) error {
	var from secrets.Mark
	for done := false; !done; {
		var next secrets.Mark
		err := s.DB.Update(ctx, secrets.ResealLocks(id), func(tx *db.Tx) error {
			v, err := s.Vaults.ByID(tx, id)
			if err == nil {
				next, done, err = s.Secrets.Reseal(tx, v, from)
			}
			return err
		})
		if err != nil {
			return err
		}
		from = next
	}
	return s.DB.Update(ctx, keyring.ChangeLocks(), func(tx *db.Tx) error { return s.Vaults.EndRotation(tx, id) })
}
