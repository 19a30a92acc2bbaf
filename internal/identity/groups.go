package identity

import (
	"slices"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
)

// A membership puts a principal, perhaps a group itself, into a group.
type membership struct {
	group, member string
	created       int64
}

var selectMembers = `
	SELECT ` + db.GroupMembers.Columns("") + `
	FROM group_members `

func scanMember(row db.Scanner) (m membership, seal db.Seal, err error) {
	var tenant string
	err = row.Scan(&tenant, &m.group, &m.member, &m.created, &seal.MAC)
	seal.Fields = []any{tenant, m.group, m.member, m.created}
	return m, seal, err
}

// CreateGroup makes a group without members. Names need not be unique.
func (s *Store) CreateGroup(tx *db.Tx, name string) (Principal, error) {
	if err := checkName(name); err != nil {
		return Principal{}, err
	}
	p := Principal{ObjectID: db.NewGUID(), Name: name, Kind: Group, Enabled: true, Created: tx.Now}
	return p, s.storePrincipal(tx, p)
}

func (s *Store) group(tx *db.Tx, id string) (Principal, error) {
	p, err := s.Principal(tx, id)
	if err == nil && p.Kind != Group {
		err = notFound(id)
	}
	return p, err
}

// AddMember puts a principal into a group. Groups nest, and may do so in a circle; a group is
// not its own direct member.
func (s *Store) AddMember(tx *db.Tx, groupID, memberID string) error {
	group, err := s.group(tx, groupID)
	if err != nil {
		return err
	}
	member, err := s.Principal(tx, memberID)
	if err != nil {
		return err
	}
	if group.ObjectID == member.ObjectID {
		return apierr.BadRequest(codeBadRequest, "A group cannot be a member of itself.")
	}
	_, found, err := db.ReadRow(tx, db.GroupMembers, scanMember,
		selectMembers+`WHERE tenant_id = $1 AND group_id = $2 AND member_id = $3`, s.Tenant, group.ObjectID, member.ObjectID)
	if err != nil {
		return err
	}
	if found {
		return apierr.BadRequest(codeBadRequest, "One or more added object references already exist for the following modified properties: 'members'.")
	}
	_, err = tx.Put(db.GroupMembers, nil, s.Tenant, group.ObjectID, member.ObjectID, tx.Micros())
	return err
}

// RemoveMember takes a direct member out of a group.
func (s *Store) RemoveMember(tx *db.Tx, groupID, memberID string) error {
	group, err := s.group(tx, groupID)
	if err != nil {
		return err
	}
	n, err := tx.Remove(db.GroupMembers, `tenant_id = $1 AND group_id = $2 AND member_id = $3`, s.Tenant, group.ObjectID, idKey(memberID))
	if err == nil && n == 0 {
		err = notFound(memberID)
	}
	return err
}

// ListMembers returns a group's direct members, ordered by object id.
func (s *Store) ListMembers(tx *db.Tx, groupID string) ([]Principal, error) {
	group, err := s.group(tx, groupID)
	if err != nil {
		return nil, err
	}
	members, err := db.ReadRows(tx, db.GroupMembers, scanMember,
		selectMembers+`WHERE tenant_id = $1 AND group_id = $2 ORDER BY member_id`, s.Tenant, group.ObjectID)
	if err != nil {
		return nil, err
	}
	out := []Principal{}
	for _, m := range members {
		p, err := s.Principal(tx, m.member)
		if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Scrub proves the rows of all principals, memberships, applications and credentials.
func (s *Store) Scrub(tx *db.Tx) error {
	if _, err := db.ReadRows(tx, db.Principals, scanPrincipal, selectPrincipals); err != nil {
		return err
	}
	if _, err := db.ReadRows(tx, db.GroupMembers, scanMember, selectMembers); err != nil {
		return err
	}
	if _, err := db.ReadRows(tx, db.Applications, scanApplication, selectApplications); err != nil {
		return err
	}
	_, err := db.ReadRows(tx, db.Credentials, scanCredential, selectCredentials)
	return err
}

// A Directory is all that authorisation needs to know, read at once. It is not changed after
// it was made.
type Directory struct {
	Principals map[string]Principal // by object id
	Groups     map[string][]string  // member to all groups that it is in, however deeply; sorted
}

// LoadDirectory reads the tenant's principals and works out who is in which group. A membership
// of a group that is not there counts for nothing.
func (s *Store) LoadDirectory(tx *db.Tx) (*Directory, error) {
	all, err := db.ReadRows(tx, db.Principals, scanPrincipal, selectPrincipals+`WHERE tenant_id = $1 ORDER BY object_id`, s.Tenant)
	if err != nil {
		return nil, err
	}
	members, err := db.ReadRows(tx, db.GroupMembers, scanMember,
		selectMembers+`WHERE tenant_id = $1 ORDER BY group_id, member_id`, s.Tenant)
	if err != nil {
		return nil, err
	}
	d := &Directory{Principals: make(map[string]Principal, len(all)), Groups: map[string][]string{}}
	for _, p := range all {
		d.Principals[p.ObjectID] = p
	}
	direct := map[string][]string{}
	for _, m := range members {
		if d.Principals[m.group].Kind == Group {
			direct[m.member] = append(direct[m.member], m.group)
		}
	}
	for member := range direct {
		d.Groups[member] = closure(direct, member)
	}
	return d, nil
}

// closure follows memberships upwards until nothing new comes; a circle ends by itself. A group
// that contains itself through others is not listed as its own.
func closure(direct map[string][]string, member string) []string {
	seen := map[string]bool{member: true}
	var out []string
	for next := slices.Clone(direct[member]); len(next) > 0; {
		group := next[0]
		next = next[1:]
		if seen[group] {
			continue
		}
		seen[group] = true
		out = append(out, group)
		next = append(next, direct[group]...)
	}
	slices.Sort(out)
	return out
}
