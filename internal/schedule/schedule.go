// Package schedule does what is due: it numbers audit entries, moves old ones into segments, purges
// what has reached its date, prunes events, and keeps token signing keys fresh.
//
// Every node runs it; a lease in the database lets one of them do a task at a time. Deletions go
// through the operation pipeline as the system principal, with the same checks and the same
// audit entries as anybody's. If the process dies in the middle of a task, the lease runs out and
// another node looks again at what is still needed.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/event"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
	"strongroom/internal/operation"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

// purgeAtOnce bounds how much one round of a purge takes on.
const purgeAtOnce = 100

// A Scheduler runs the tasks.
type Scheduler struct {
	DB         *db.DB
	Log        *slog.Logger
	Node       string // who holds leases
	Vaults     *vaults.Store
	Secrets    *secrets.Store
	Issuer     *identity.Issuer
	Pipeline   *operation.Pipeline
	DataPlane  *operation.Table
	Management *operation.Table
	Archive    *audit.Archive
	RootKeys   func(context.Context) ([]string, error) // looks which root keys are at hand now
	Keyring    func(*db.Tx) error                      // proves the keyring that is stored; nil where it was just opened
	Renewed    func(*db.Tx) error                      // is called when no old key is needed any more
	ScrubEvery time.Duration
	Scrubbed   func() // is told of each scrub that has looked at everything; may be nil

	proved int64 // position up to which the entries were proven in this round; the scrub's alone
}

// A task is something that one node does from time to time.
type task struct {
	name  string
	every time.Duration
	alone bool // one node at a time
	run   func(ctx context.Context) error
}

// ttl is how long a lease for the task lasts, from when it was taken or renewed.
func (t task) ttl() time.Duration { return 3*t.every + time.Minute }

// longAfter is when after a start the long tasks begin: the first requests come before them.
const longAfter = 5 * time.Second

func (s *Scheduler) tasks() []task {
	return []task{
		{"number", time.Second, true, s.Number},
		{"purge-secrets", 10 * time.Second, true, s.purgeSecrets},
		{"purge-vaults", 10 * time.Second, true, s.purgeVaults},
		{"renew-keys", 5 * time.Second, true, s.RenewKeys},
		{"hold-keys", keyring.HoldEvery, false, s.HoldKeys},
		{"prune-events", time.Minute, true, s.pruneEvents},
		{"signing-keys", time.Hour, true, func(ctx context.Context) error { return s.Issuer.EnsureSigningKey(ctx, s.DB) }},
	}
}

// longTasks are those that may take long; the others do not wait for them.
func (s *Scheduler) longTasks() []task {
	return []task{
		{"close-segments", time.Minute, true, func(ctx context.Context) error { return s.Archive.Close(ctx, s.DB) }},
		{"scrub", s.ScrubEvery, false, s.Scrub}, // whoever holds a lease could keep all from it
	}
}

// Run does each task when it is due, until ctx ends. A task that fails is logged and tried again
// at its next time.
func (s *Scheduler) Run(ctx context.Context) error {
	var long sync.WaitGroup
	for _, t := range s.longTasks() {
		long.Go(func() { s.repeat(ctx, time.Now().Add(min(t.every, longAfter)), []task{t}) })
	}
	s.repeat(ctx, time.Now(), s.tasks())
	long.Wait()
	s.endLeases(ctx)
	return nil
}

// repeat does tasks when they are due, one after the other.
func (s *Scheduler) repeat(ctx context.Context, first time.Time, tasks []task) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := slices.Repeat([]time.Time{first}, len(tasks))
	for {
		for i, t := range tasks {
			if now := time.Now(); !now.Before(next[i]) {
				next[i] = now.Add(t.every)
				s.once(ctx, t)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// endLeases lets another node take over at once.
func (s *Scheduler) endLeases(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := s.DB.Update(ctx, nil, func(tx *db.Tx) error { return tx.EndLeases(s.Node) })
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelInfo, "leases were not given up, others wait for their end", slog.Any("error", err))
	}
}

// once runs a task if its lease can be had.
func (s *Scheduler) once(ctx context.Context, t task) {
	run := t.run
	if t.alone {
		run = func(ctx context.Context) error { return s.alone(ctx, t) }
	}
	if err := run(ctx); err != nil && ctx.Err() == nil {
		s.Log.LogAttrs(ctx, slog.LevelWarn, "scheduled work failed", slog.String("task", t.name), slog.Any("error", err))
	}
}

var errLeaseLost = errors.New("the lease could not be kept: another node may do this work by now")

// alone runs a task if its lease can be had, for as long as it can be kept.
func (s *Scheduler) alone(ctx context.Context, t task) error {
	until, err := s.lease(ctx, t)
	if err != nil || until.IsZero() {
		return err
	}
	held, lose := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		if s.keep(held, t, until); held.Err() == nil {
			lose(errLeaseLost)
		}
	})
	err = t.run(held)
	if lost := context.Cause(held); err != nil && lost != nil {
		err = lost
	}
	lose(nil)
	keeper.Wait()
	return err
}

// lease takes or renews the lease of a task. It says until when this node has it: the zero time if
// another does.
func (s *Scheduler) lease(ctx context.Context, t task) (until time.Time, err error) {
	asked, held := time.Now(), false
	err = s.DB.Update(ctx, nil, func(tx *db.Tx) (err error) {
		_, held, err = tx.Lease(t.name, s.Node, t.ttl())
		return err
	})
	if err != nil || !held {
		return time.Time{}, err
	}
	return asked.Add(t.ttl()), nil
}

// keep renews a lease until ctx ends, or the lease is lost.
func (s *Scheduler) keep(ctx context.Context, t task, until time.Time) {
	for db.Rest(ctx, min(t.ttl()/4, time.Until(until))) == nil {
		within, cancel := context.WithDeadline(ctx, until)
		next, err := s.lease(within, t)
		cancel()
		if err == nil {
			until = next
		}
		if !time.Now().Before(until) {
			return
		}
	}
}

// Number gives a position to every audit entry that is stored by now. Forged ones stay without.
func (s *Scheduler) Number(ctx context.Context) error {
	for {
		waiting := false
		err := s.DB.View(ctx, func(tx *db.Tx) (err error) {
			waiting, err = audit.Waiting(tx)
			return err
		})
		if err != nil || !waiting {
			return err
		}
		rows := 0
		err = s.DB.Update(ctx, audit.NumberingLocks(), func(tx *db.Tx) (err error) {
			rows, err = audit.Number(tx)
			return err
		})
		if err != nil || rows == 0 {
			return err
		}
	}
}

// HoldKeys says which root keys this node has, so that none wraps that a node lacks. It fails when
// the one that wraps now would not be at hand after a start.
func (s *Scheduler) HoldKeys(ctx context.Context) error {
	ids, missing := s.RootKeys(ctx)
	err := s.DB.Update(ctx, nil, func(tx *db.Tx) error { return errors.Join(keyring.Hold(tx, s.Node, ids), keyring.Forget(tx)) })
	return errors.Join(missing, err)
}

// pruneEvents removes events at once, since nobody can subscribe yet.
func (s *Scheduler) pruneEvents(ctx context.Context) error {
	return s.DB.Update(ctx, nil, func(tx *db.Tx) error {
		_, err := event.Prune(tx, time.Hour)
		return err
	})
}

// purgeSecrets purges what has reached its date. One that fails does not keep those behind it
// waiting: it is met again in the next round.
func (s *Scheduler) purgeSecrets(ctx context.Context) error {
	var due []secrets.Due
	names := map[string]string{}
	var failed []error
	err := s.DB.View(ctx, func(tx *db.Tx) (err error) {
		due, err = s.Secrets.Due(tx, purgeAtOnce)
		for _, d := range due {
			v, err := s.Vaults.ByID(tx, d.VaultID)
			if err != nil {
				failed = append(failed, fmt.Errorf("purge secret %s: %w", d.Name, err))
				continue
			}
			names[d.VaultID] = v.Name
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range due {
		name, ok := names[d.VaultID]
		if !ok {
			continue
		}
		r := &operation.Request{
			Method: "DELETE", Path: "/deletedsecrets/" + url.PathEscape(d.Name), Query: "api-version=7.6",
			Host: s.Pipeline.Families[0].VaultHost(name), Caller: operation.System(),
		}
		if resp := s.Pipeline.Do(ctx, s.DataPlane, r); resp.Status >= 300 {
			failed = append(failed, fmt.Errorf("purge secret %s of vault %s: status %d", d.Name, d.VaultID, resp.Status))
		}
	}
	return errors.Join(failed...)
}

// purgeVaults is purgeSecrets for whole vaults.
func (s *Scheduler) purgeVaults(ctx context.Context) error {
	var due []vaults.Vault
	var failed []error
	err := s.DB.View(ctx, func(tx *db.Tx) error {
		ids, err := s.Vaults.Due(tx, purgeAtOnce)
		for _, id := range ids {
			v, err := s.Vaults.ByID(tx, id)
			if err != nil {
				failed = append(failed, fmt.Errorf("purge vault %s: %w", id, err))
				continue
			}
			due = append(due, v)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, v := range due {
		r := &operation.Request{
			Method: "POST", Query: "api-version=2026-02-01",
			Path: "/subscriptions/" + v.Subscription + "/providers/Microsoft.KeyVault/locations/" +
				url.PathEscape(v.Location) + "/deletedVaults/" + url.PathEscape(v.Name) + "/purge",
			Host:   s.Pipeline.Families[0].ManagementHost(),
			Caller: operation.System(),
		}
		if resp := s.Pipeline.Do(ctx, s.Management, r); resp.Status >= 300 {
			failed = append(failed, fmt.Errorf("purge vault %s: status %d", v.ID, resp.Status))
		}
	}
	return errors.Join(failed...)
}
