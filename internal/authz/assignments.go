package authz

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

// An Assignment gives a role to a principal at a scope.
type Assignment struct {
	ID               string // GUID, lower case
	Scope            string
	RoleDefinitionID string // the role's GUID, lower case
	PrincipalID      string
	PrincipalType    string // User, Group, ServicePrincipal
	Description      string
	CreatedBy        string // object id
	Created          time.Time
	UpdatedBy        string
	Updated          time.Time
}

// maxDescription is the limit of an assignment's description (Azure RBAC limits: 2 KB).
const maxDescription = 2048

var selectAssignments = `
	SELECT ` + db.RoleAssignments.Columns("")

var listAssignments = selectAssignments + `
	FROM role_assignments
	WHERE tenant_id = $1
	ORDER BY scope_key, assignment_id`

// Assign stores an assignment under its scope and id. An assignment of the same content is
// answered as it is (created false); one of the same id and other principal, role or scope is
// refused, and so is a second id for the same content.
func (s *Store) Assign(tx *db.Tx, a Assignment, by string) (stored Assignment, created bool, err error) {
	a.ID, a.RoleDefinitionID = strings.ToLower(a.ID), roleGUID(a.RoleDefinitionID)
	a.PrincipalID = strings.ToLower(a.PrincipalID)
	if err := s.checkAssignment(tx, &a); err != nil {
		return Assignment{}, false, err
	}
	have, err := s.Assignment(tx, resource.Scope{Text: a.Scope}, a.ID)
	if err == nil {
		return s.update(tx, have, a, by)
	}
	if refusal, ok := apierr.As(err); !ok || refusal.Kind != apierr.NotFoundKind {
		return Assignment{}, false, err
	}
	a.CreatedBy, a.UpdatedBy, a.Created, a.Updated = by, by, tx.Now, tx.Now
	return a, true, s.insert(tx, a)
}

func (s *Store) checkAssignment(tx *db.Tx, a *Assignment) error {
	if _, ok := RoleByID(a.RoleDefinitionID); !ok {
		return apierr.NotFound("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", a.RoleDefinitionID)
	}
	if len(a.Description) > maxDescription || strings.Contains(a.Description, "\x00") {
		return apierr.BadRequest("BadRequestFormat", "The description has %d bytes; want at most %d, without the character U+0000.", len(a.Description), maxDescription)
	}
	p, err := s.Identity.Principal(tx, a.PrincipalID)
	if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind {
		return apierr.BadRequest("PrincipalNotFound", "Principal %s does not exist in the directory %s. Check that you have the correct principal ID.", a.PrincipalID, s.Tenant)
	}
	if err != nil {
		return err
	}
	actual := principalType(p.Kind)
	if a.PrincipalType != "" && !strings.EqualFold(a.PrincipalType, actual) {
		return apierr.BadRequest("UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s', which is different from specified PrincipalType '%s'.", a.PrincipalID, actual, a.PrincipalType)
	}
	a.PrincipalType = actual
	return nil
}

func principalType(k identity.Kind) string {
	if k == identity.ManagedIdentity {
		return string(identity.ServicePrincipal)
	}
	return string(k)
}

func (s *Store) update(tx *db.Tx, have, a Assignment, by string) (Assignment, bool, error) {
	if have.PrincipalID != a.PrincipalID || have.RoleDefinitionID != a.RoleDefinitionID {
		return Assignment{}, false, apierr.BadRequest("RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	}
	if have.Description == a.Description {
		return have, false, nil
	}
	have.Description, have.UpdatedBy, have.Updated = a.Description, by, tx.Now
	return have, false, tx.Replace(db.RoleAssignments, fields(s.Tenant, have)...)
}

func (s *Store) insert(tx *db.Tx, a Assignment) error {
	_, err := tx.Put(db.RoleAssignments, nil, fields(s.Tenant, a)...)
	if db.IsUnique(err) { // another id for the same principal, role and scope
		return apierr.Conflict("RoleAssignmentExists", "The role assignment already exists.")
	}
	return err
}

// Assignment returns the assignment of a scope and id.
func (s *Store) Assignment(tx *db.Tx, scope resource.Scope, id string) (Assignment, error) {
	q := selectAssignments + `
		FROM role_assignments
		WHERE tenant_id = $1 AND scope_key = $2 AND assignment_id = $3`
	var found []Assignment
	if resource.IsGUID(id) { // else no row has it, and PostgreSQL may not even take the text
		var err error
		if found, err = s.query(tx, q, s.Tenant, scope.Key(), strings.ToLower(id)); err != nil {
			return Assignment{}, err
		}
	}
	if len(found) == 0 {
		return Assignment{}, apierr.NotFound("RoleAssignmentNotFound", "The role assignment '%s' is not found.", id)
	}
	return found[0], nil
}

// Remove deletes the assignment of a scope and id and returns it.
func (s *Store) Remove(tx *db.Tx, scope resource.Scope, id string) (Assignment, error) {
	a, err := s.Assignment(tx, scope, id)
	if err != nil {
		return Assignment{}, err
	}
	_, err = tx.Remove(db.RoleAssignments, `tenant_id = $1 AND scope_key = $2 AND assignment_id = $3`, s.Tenant, scope.Key(), a.ID)
	return a, err
}

// RemoveBelow deletes the assignments at a scope and below it, as the deletion of a vault does.
func (s *Store) RemoveBelow(tx *db.Tx, scope resource.Scope) error {
	below := scope.Key() + "/"
	_, err := tx.Remove(db.RoleAssignments, `tenant_id = $1 AND (scope_key = $2 OR SUBSTR(scope_key, 1, $3) = $4)`,
		s.Tenant, scope.Key(), len(below), below)
	return err
}

// A Filter narrows List.
type Filter struct {
	AtScope    bool   // at the scope and above, not below
	Principal  string // assignments of this principal
	AssignedTo string // assignments of this principal and of its groups
}

// List returns the assignments at, above and below a scope, ordered by scope and id.
func (s *Store) List(tx *db.Tx, scope resource.Scope, f Filter) ([]Assignment, error) {
	all, err := s.query(tx, listAssignments, s.Tenant)
	if err != nil {
		return nil, err
	}
	var groups []string
	if f.AssignedTo != "" {
		directory, err := s.Identity.LoadDirectory(tx)
		if err != nil {
			return nil, err
		}
		groups = directory.Groups[strings.ToLower(f.AssignedTo)]
	}
	out := []Assignment{}
	for _, a := range all {
		if f.matches(a, scope, groups) {
			out = append(out, a)
		}
	}
	return out, nil
}

func (f Filter) matches(a Assignment, scope resource.Scope, groups []string) bool {
	at := resource.Scope{Text: a.Scope}
	above, below := at.Covers(scope.Key()), scope.Covers(at.Key())
	if !above && (f.AtScope || !below) {
		return false
	}
	if f.Principal != "" && !strings.EqualFold(f.Principal, a.PrincipalID) {
		return false
	}
	if f.AssignedTo == "" || strings.EqualFold(f.AssignedTo, a.PrincipalID) {
		return true
	}
	for _, g := range groups {
		if g == a.PrincipalID {
			return true
		}
	}
	return false
}

func (s *Store) query(tx *db.Tx, q string, args ...any) ([]Assignment, error) {
	return db.ReadRows(tx, db.RoleAssignments, scan, q, args...)
}

func scan(row db.Scanner) (a Assignment, seal db.Seal, err error) {
	var description sql.NullString
	var created, updated int64
	var tenant, key string
	err = row.Scan(&tenant, &a.ID, &key, &a.Scope, &a.RoleDefinitionID, &a.PrincipalID, &a.PrincipalType,
		&description, &a.CreatedBy, &created, &a.UpdatedBy, &updated, &seal.MAC)
	a.Description = description.String
	a.Created, a.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	seal.Fields = fields(tenant, a)
	// Removal finds a row by its key: under another's it would outlive its scope.
	if err == nil && key != (resource.Scope{Text: a.Scope}).Key() {
		err = fmt.Errorf("role assignment %q: its key is not that of its scope: %w", a.ID, envelope.ErrTampered)
	}
	return a, seal, err
}

func fields(tenant string, a Assignment) []any {
	return []any{
		tenant, a.ID, resource.Scope{Text: a.Scope}.Key(), a.Scope, a.RoleDefinitionID, a.PrincipalID, a.PrincipalType,
		text(a.Description), a.CreatedBy, a.Created.UnixMicro(), a.UpdatedBy, a.Updated.UnixMicro(),
	}
}

// text stores an empty text as NULL.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}
