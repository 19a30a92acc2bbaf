package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/durable"
	"strongroom/internal/operation"
)

// A Progress says how far the database had come when this node last looked. It is kept outside the
// database: nothing inside can tell that the whole of it was put back to yesterday, with revoked
// rights and old values alive again.
type Progress struct {
	Deployment    string `json:"deployment"`
	Authorisation int64  `json:"authorisation"` // revision
	Directory     int64  `json:"directory"`     // revision
	Entries       int64  `json:"entries"`       // of the audit log
	// Vaults are the revisions of the vaults' sets that this node has seen.
	Vaults map[string]int64 `json:"vaults,omitempty"`
}

// rememberEvery is how often the progress is written down, if it has moved.
const rememberEvery = 5 * time.Second

func progressFile(cfg config.Config) string { return filepath.Join(cfg.DataDir, "progress.json") }

func (a *app) readProgress(ctx context.Context) (Progress, error) {
	p := Progress{Deployment: a.deployment.id, Vaults: a.db.Newest()}
	err := a.db.View(ctx, func(tx *db.Tx) (err error) {
		p.Authorisation, p.Directory = tx.Revision(db.Authorisation), tx.Revision(db.Directory)
		p.Entries, err = audit.Last(tx)
		return err
	})
	return p, err
}

// checkProgress refuses a database that lies behind what this node has seen.
func (a *app) checkProgress(ctx context.Context) error {
	had, found, err := loadProgress(a.config)
	if err != nil || !found {
		return err
	}
	now, err := a.readProgress(ctx)
	if err != nil {
		return err
	}
	if err := a.checkServed(had); err != nil {
		return err
	}
	if err := a.checkVaults(ctx, had.Vaults); err != nil {
		return err
	}
	a.seen = had.Vaults
	if now.Authorisation >= had.Authorisation && now.Directory >= had.Directory && now.Entries >= had.Entries {
		return nil
	}
	return fmt.Errorf("%w: it lies behind what this node has seen: revision %d of authorisation, %d of the directory and %d audit entries, but there were %d, %d and %d. "+
		"Somebody has put an old state in its place. If that was you, with a dump or a backup, confirm it",
		ErrUnconfirmed, now.Authorisation, now.Directory, now.Entries, had.Authorisation, had.Directory, had.Entries)
}

// checkServed refuses another deployment than this node has served.
func (a *app) checkServed(had Progress) error {
	if had.Deployment != a.deployment.id {
		return fmt.Errorf("%w: it is of deployment %s, and this node has served %s. Put the right one back, or, if this one is meant, confirm it",
			ErrUnconfirmed, a.deployment.id, had.Deployment)
	}
	return nil
}

// loadProgress reads what this node has seen; nothing where it is new, or has not served yet.
func loadProgress(cfg config.Config) (had Progress, found bool, err error) {
	b, err := os.ReadFile(progressFile(cfg))
	if errors.Is(err, os.ErrNotExist) {
		return had, false, nil
	}
	if err != nil {
		return had, false, fmt.Errorf("read how far the database had come: %w", err)
	}
	if err := json.Unmarshal(b, &had); err != nil {
		return had, false, fmt.Errorf("%w: %s does not say how far it had come: %w. If it is as it should be, confirm it", ErrUnconfirmed, progressFile(cfg), err)
	}
	return had, true, nil
}

// checkVaults refuses a vault that lies behind what this node has seen of it. One that is gone was
// purged; the directory vouches for that.
func (a *app) checkVaults(ctx context.Context, had map[string]int64) error {
	return a.db.View(ctx, func(tx *db.Tx) error {
		for scope, number := range had {
			now, err := tx.RevisionOf(scope)
			if err != nil {
				return err
			}
			if now != 0 && now < number {
				return fmt.Errorf("%w: it lies behind what this node has seen: revision %d of %s, but there was %d. "+
					"Somebody has put an old state in its place. If that was you, confirm it", ErrUnconfirmed, now, scope, number)
			}
		}
		return nil
	})
}

// remember writes the progress down while the server runs, and once at its end.
func (a *app) remember(ctx context.Context) error {
	tick := time.NewTicker(rememberEvery)
	defer tick.Stop()
	var last Progress
	for {
		done := false
		select {
		case <-ctx.Done():
			done = true
		case <-tick.C:
		}
		read, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberEvery)
		now, err := a.readProgress(read)
		cancel()
		for scope, number := range a.seen { // of vaults that nobody has asked for since the start
			now.Vaults[scope] = max(now.Vaults[scope], number)
		}
		if err == nil && !reflect.DeepEqual(now, last) {
			if err = now.store(a.config); err == nil {
				last = now
			}
		}
		if err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "how far the database has come was not written down", slog.Any("error", err))
		}
		if done {
			return nil
		}
	}
}

// store writes the file in one step, so that a crash leaves the old one.
func (p Progress) store(cfg config.Config) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	temporary := progressFile(cfg) + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary)) // on a full disk its room is wanted
	}
	return durable.Rename(temporary, progressFile(cfg))
}

// ConfirmRestore takes the state of the database as the right one: a dump that was restored, or a state
// that lies behind what this node has seen. It leaves an audit entry, and the server must not run.
func ConfirmRestore(ctx context.Context, o Options) (now Progress, err error) {
	if o.Config.Database.Engine == string(db.SQLite) && !exists(o.Config.Database.Path) {
		return now, fmt.Errorf("there is no database at %s: nothing was changed", o.Config.Database.Path)
	}
	a, err := openApp(ctx, o, slog.New(slog.DiscardHandler), func(*app, context.Context) error { return nil })
	if err != nil {
		return now, err
	}
	defer func() { err = errors.Join(err, a.db.Close()) }()
	if a.checkRestored(ctx) == nil && a.checkProgress(ctx) == nil {
		return now, errors.New("there is nothing to confirm: the database was not restored from a dump, and is as far as this node has seen it")
	}
	if err := a.scheduler.Number(ctx); err != nil { // what waited in the dump is older than what follows
		return now, err
	}
	if now, err = a.readProgress(ctx); err != nil {
		return now, err
	}
	owner := operation.LocalOwner()
	e := audit.Entry{
		Time: time.Now().UTC().Truncate(time.Microsecond), RequestID: db.NewGUID(), Operation: "RestoreConfirm", Status: 200,
		PrincipalKind: string(owner.Kind), ObjectID: owner.ObjectID, Principal: owner.Name, Node: nodeName(),
		Detail: fmt.Sprintf("authorisation %d, directory %d, entries %d", now.Authorisation, now.Directory, now.Entries),
	}
	err = a.db.Update(ctx, nil, func(tx *db.Tx) error {
		from, err := tx.Meta(metaRestored)
		if err != nil {
			return err
		}
		confirmed := e // fn may run more than once
		if from != "" {
			confirmed.Detail += ", from " + from
		}
		tx.Record(confirmed.Encode())
		_, err = tx.Exec(`DELETE FROM meta WHERE key = $1`, metaRestored)
		return err
	})
	if err != nil {
		return now, err
	}
	return now, now.store(a.config)
}
