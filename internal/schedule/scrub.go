package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// A proof looks at a part of what is stored, in one or more steps. Each step has a snapshot of its own,
// so that none is held for long.
type proof struct {
	name  string
	step  func(tx *db.Tx) (done bool, err error)
	twice bool // looks at more than a snapshot: what it finds is named when it is there at a second look
}

// whole is a proof of one step.
func whole(name string, prove func(tx *db.Tx) error) proof {
	return proof{name: name, step: func(tx *db.Tx) (bool, error) { return true, prove(tx) }}
}

// secondLook is how long after the first the second look is: another node migrates meanwhile, and
// vouches for that.
const secondLook = 3 * time.Second

// restAfter is how much longer than a step the rest behind it is: a scrub takes a fifth of a processor
// at most, since nobody waits for it.
const restAfter = 4

// Scrub proves everything that is stored, whether or not anybody asks for it: rows that were
// edited, forged, deleted or brought back by somebody else's hand. Each finding is named in the log
// and in the audit log and counted; the rest is looked at all the same.
func (s *Scheduler) Scrub(ctx context.Context) error {
	proofs, err := s.proofs(ctx)
	if err != nil || len(proofs) == 0 {
		return err
	}
	for _, p := range proofs {
		if err := s.scrub(ctx, p); err != nil {
			return fmt.Errorf("scrub %s: %w", p.name, err)
		}
	}
	if s.Scrubbed != nil {
		s.Scrubbed()
	}
	return nil
}

// scrub runs a proof until it is done, or has found something.
func (s *Scheduler) scrub(ctx context.Context, p proof) error {
	for done := false; !done; {
		began := time.Now()
		err := s.DB.View(ctx, func(tx *db.Tx) (err error) {
			done, err = p.step(tx)
			return err
		})
		pause := restAfter * time.Since(began)
		switch {
		case errors.Is(err, db.ErrUnavailable):
			return err
		case err != nil && p.twice:
			p.twice, done, pause = false, false, secondLook
		case err != nil: // a column that cannot be read was changed as well
			return s.report(ctx, p.name, err)
		}
		if err := db.Rest(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// Prove is Scrub within one transaction, whatever it may show, and ends at the first finding. It is
// for a database that was filled and is not served yet: only the stores and the pipeline's Authz are
// needed.
func (s *Scheduler) Prove(tx *db.Tx) error {
	ids, err := s.Vaults.IDs(tx)
	if err != nil {
		return fmt.Errorf("prove the directory: %w", err)
	}
	for _, p := range append(s.common(s.proveAllEntries), s.contents(ids)...) {
		for done := false; !done; {
			if done, err = p.step(tx); err != nil {
				return fmt.Errorf("prove the %s: %w", p.name, err)
			}
		}
	}
	return nil
}

// common are the proofs of what every deployment has; those of the audit log's entries have more
// than one way.
func (s *Scheduler) common(entries func(*db.Tx) error) (proofs []proof) {
	if s.Keyring != nil {
		proofs = append(proofs, whole("keyring", s.Keyring))
	}
	return append(proofs,
		whole("authorisation", s.proveAuthorisation),
		whole("directory", s.proveDirectory),
		proof{name: "audit log", step: new(audit.Places).Step},
		whole("audit segments", audit.ProveSegments),
		whole("audit log", entries),
		proof{name: "schema", step: func(tx *db.Tx) (bool, error) { return true, tx.ProveSchema() }, twice: true},
		whole("meta", func(tx *db.Tx) error { return tx.ProveMeta() }),
	)
}

func (s *Scheduler) contents(vaultIDs []string) (out []proof) {
	for _, id := range vaultIDs {
		scrub := s.Secrets.Scrub(id)
		out = append(out, proof{name: "vault " + id, step: func(tx *db.Tx) (bool, error) {
			if lives, err := s.Vaults.Exists(tx, id); err != nil || !lives {
				return true, err // purged since the scrub began
			}
			return scrub(tx)
		}})
	}
	return out
}

func (s *Scheduler) proofs(ctx context.Context) ([]proof, error) {
	var ids []string
	err := s.DB.View(ctx, func(tx *db.Tx) (err error) {
		ids, err = s.Vaults.IDs(tx)
		return err
	})
	if errors.Is(err, envelope.ErrTampered) { // the revisions themselves: nothing can be read then
		return nil, s.report(ctx, "revisions", err)
	}
	return append(s.common(s.proveEntries), s.contents(ids)...), err
}

func (s *Scheduler) proveAuthorisation(tx *db.Tx) error {
	if err := tx.ProvePart(db.Authorisation, 0); err != nil {
		return err
	}
	if _, err := s.Pipeline.Authz.List(tx, resource.Root, authz.Filter{}); err != nil {
		return err
	}
	return s.Pipeline.Authz.Identity.Scrub(tx)
}

func (s *Scheduler) proveDirectory(tx *db.Tx) error {
	if err := tx.ProvePart(db.Directory, 0); err != nil {
		return err
	}
	return errors.Join(s.Vaults.Scrub(tx), s.Issuer.Scrub(tx))
}

// entriesAtOnce is how many rows of the journal one scrub reads: the log may be longer than anybody
// wants to read every time, so each scrub goes on where the last ended.
const entriesAtOnce = 5000

func (s *Scheduler) proveEntries(tx *db.Tx) (err error) {
	s.proved, err = audit.ProveEntries(tx, s.proved, entriesAtOnce)
	return err
}

func (s *Scheduler) proveAllEntries(tx *db.Tx) (err error) {
	for next := int64(1); next > 0 && err == nil; {
		next, err = audit.ProveEntries(tx, next, entriesAtOnce)
	}
	return err
}

// report names a finding wherever somebody looks.
func (s *Scheduler) report(ctx context.Context, name string, found error) error {
	s.Pipeline.OnTampered()
	s.Log.LogAttrs(ctx, slog.LevelError, "stored data was changed by somebody else", slog.String("where", name), slog.Any("found", found))
	now := time.Now().UTC().Truncate(time.Microsecond)
	system := operation.System()
	e := audit.Entry{
		Time: now, RequestID: db.NewGUID(), Operation: "IntegrityScrub", Status: 500, Code: operation.TamperedData,
		PrincipalKind: string(system.Kind), ObjectID: system.ObjectID, Principal: system.Name,
		Detail: audit.Clean(name+": "+found.Error(), 300), Node: s.Node,
	}
	return s.DB.Append(ctx, e.Encode())
}
