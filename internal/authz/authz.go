// Package authz decides who may do what: Azure RBAC with built-in roles, assigned at any scope
// from a management group down to one secret, to principals and groups.
//
// Decisions are made from a Snapshot, compiled from one database snapshot and kept until the
// authorisation revision moves. A request reads the revision in the same transaction from which
// it answers, so a grant or its removal counts for the next request on every node. A writer to
// the database can't let himself in by inserting an assignment: every row that is read carries a
// MAC, and a row that does not verify makes the whole snapshot fail.
package authz

import (
	"fmt"
	"strings"
	"sync/atomic"

	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

// A Store keeps role assignments and the compiled snapshot. It may be shared.
type Store struct {
	Tenant   string
	Identity *identity.Store

	current atomic.Pointer[Snapshot]
}

// A Need is a question: may the action be done at the scope?
type Need struct {
	Action string
	Data   bool           // a data action; else a control action
	Scope  resource.Scope // at which it is asked
	// Role is the role definition id of the assignment to be written or deleted. Left empty,
	// roles that may assign only some roles pass: the caller asks again when it knows the role, or
	// names the owner's to ask for the right to assign any.
	Role string
}

// A Decision answers a Need.
type Decision struct {
	Allowed    bool
	Assignment string // the assignment that allowed it
	Revision   int64  // of authorisation
}

// A Snapshot is compiled authorisation at one revision. It is immutable.
type Snapshot struct {
	revision  int64
	directory *identity.Directory
	grants    map[string][]grant // by principal or group id
}

type grant struct {
	scope      string // its key
	role       *Role
	assignment string
}

// Current returns the snapshot of the transaction's authorisation revision, compiled anew only
// when the revision has moved.
func (s *Store) Current(tx *db.Tx) (*Snapshot, error) {
	revision := tx.Revision(db.Authorisation)
	if snap := s.current.Load(); snap != nil && snap.revision == revision {
		return snap, nil
	}
	snap, err := s.compile(tx, revision)
	if err != nil {
		return nil, fmt.Errorf("compile authorisation at revision %d: %w", revision, err)
	}
	if !tx.ReadOnly() {
		return snap, nil // it may show what is not committed yet, and may never be
	}
	// An older snapshot must not replace a newer one that another request compiled meanwhile.
	for {
		have := s.current.Load()
		if have != nil && have.revision > revision || s.current.CompareAndSwap(have, snap) {
			return snap, nil
		}
	}
}

func (s *Store) compile(tx *db.Tx, revision int64) (*Snapshot, error) {
	directory, err := s.Identity.LoadDirectory(tx)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{revision: revision, directory: directory, grants: fixedGrants()}
	all, err := s.query(tx, listAssignments, s.Tenant)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		role, ok := RoleByID(a.RoleDefinitionID)
		if !ok {
			return nil, fmt.Errorf("role assignment %s: no role %s", a.ID, a.RoleDefinitionID)
		}
		g := grant{scope: resource.Scope{Text: a.Scope}.Key(), role: role, assignment: a.ID}
		snap.grants[a.PrincipalID] = append(snap.grants[a.PrincipalID], g)
	}
	return snap, nil
}

// fixedGrants are the rights that no one can take away: the scheduler's, and those of the owner
// of the data folder, who holds the root key anyway. They are the break-glass way in.
func fixedGrants() map[string][]grant {
	owner, _ := RoleByID(RoleOwner)
	administrator, _ := RoleByID(RoleAdministrator)
	grants := map[string][]grant{}
	for _, id := range []string{identity.LocalOwnerID, identity.SystemID} {
		grants[id] = []grant{
			{scope: resource.Root.Key(), role: owner, assignment: id},
			{scope: resource.Root.Key(), role: administrator, assignment: id},
		}
	}
	return grants
}

// Revision is the authorisation revision of which the snapshot speaks.
func (s *Snapshot) Revision() int64 { return s.revision }

// Principal returns a principal of the directory; the fixed ones are always there.
func (s *Snapshot) Principal(objectID string) (identity.Principal, bool) {
	switch objectID {
	case identity.LocalOwnerID:
		return identity.Principal{ObjectID: objectID, Kind: identity.LocalOwner, Name: "local owner", Enabled: true}, true
	case identity.SystemID:
		return identity.Principal{ObjectID: objectID, Kind: identity.System, Name: "system", Enabled: true}, true
	}
	p, ok := s.directory.Principals[objectID]
	return p, ok
}

// Decide answers a need of a principal: any assignment to it or to one of its groups, at the
// scope or above, whose role holds the action.
func (s *Snapshot) Decide(objectID string, need Need) Decision {
	scope := need.Scope.Key()
	decide := func(id string) (Decision, bool) {
		for _, g := range s.grants[id] {
			if resource.Covers(g.scope, scope) && g.role.allows(need.Action, need.Data) && g.role.mayAssign(need.Role) {
				return Decision{Allowed: true, Assignment: g.assignment, Revision: s.revision}, true
			}
		}
		return Decision{}, false
	}
	if d, ok := decide(objectID); ok {
		return d
	}
	for _, group := range s.directory.Groups[objectID] {
		if d, ok := decide(group); ok {
			return d
		}
	}
	return Decision{Revision: s.revision}
}

// roleGUID cuts the GUID off a role definition id, which has several forms; roles compare by it.
func roleGUID(definitionID string) string {
	id := definitionID[strings.LastIndex(definitionID, "/")+1:]
	return strings.ToLower(id)
}
