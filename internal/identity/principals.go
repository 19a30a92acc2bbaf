package identity

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

// A Principal can be given roles: a user, an application's service principal, a managed
// identity, or a group.
type Principal struct {
	ObjectID   string // GUID, lower case; never used again after deletion
	AppID      string // client id of service principals and managed identities, else empty
	Name       string // display name; a user's principal name
	Kind       Kind
	Enabled    bool // a disabled principal gets no token, and its tokens hold no more
	ResourceID string
	Location   string            // of managed identities
	Tags       map[string]string // of managed identities
	Created    time.Time
}

var selectPrincipals = `
	SELECT ` + db.Principals.Columns("") + `
	FROM principals `

// A principalRow has the columns as the row MAC covers them.
type principalRow struct {
	objectID, kind, name       string
	appID                      *string
	enabled                    bool
	resourceID, location, tags *string
	created                    int64
}

func (r principalRow) fields(tenant string) []any {
	return []any{tenant, r.objectID, r.kind, r.appID, r.name, r.enabled, r.resourceID, r.location, r.tags, r.created}
}

func scanPrincipal(row db.Scanner) (p Principal, seal db.Seal, err error) {
	var tenant string
	var r principalRow
	err = row.Scan(&tenant, &r.objectID, &r.kind, &r.appID, &r.name, &r.enabled, &r.resourceID, &r.location, &r.tags, &r.created, &seal.MAC)
	if err != nil {
		return p, seal, err
	}
	seal.Fields = r.fields(tenant)
	p = Principal{
		ObjectID: r.objectID, AppID: orEmpty(r.appID), Name: r.name, Kind: Kind(r.kind), Enabled: r.enabled,
		ResourceID: orEmpty(r.resourceID), Location: orEmpty(r.location), Created: micros(r.created),
	}
	if r.tags != nil {
		if json.Unmarshal([]byte(*r.tags), &p.Tags) != nil {
			err = fmt.Errorf("principal %s: its tags cannot be read: %w", p.ObjectID, envelope.ErrTampered)
		}
	}
	return p, seal, err
}

// storePrincipal inserts a principal or replaces what of it can change.
func (s *Store) storePrincipal(tx *db.Tx, p Principal) error {
	r := principalRow{
		objectID: p.ObjectID, kind: string(p.Kind), appID: nullText(p.AppID), name: p.Name, enabled: p.Enabled,
		resourceID: nullText(p.ResourceID), location: nullText(p.Location), created: p.Created.UnixMicro(),
	}
	if p.Tags != nil {
		b, err := json.Marshal(p.Tags, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("encode the tags of principal %s: %w", p.ObjectID, err)
		}
		r.tags = new(string(b))
	}
	return tx.Replace(db.Principals, r.fields(s.Tenant)...)
}

// Principal returns the principal with an object id, in any letter case.
func (s *Store) Principal(tx *db.Tx, objectID string) (Principal, error) {
	p, found, err := db.ReadRow(tx, db.Principals, scanPrincipal,
		selectPrincipals+`WHERE tenant_id = $1 AND object_id = $2`, s.Tenant, idKey(objectID))
	if err == nil && !found {
		err = notFound(objectID)
	}
	if err == nil && p.ObjectID != idKey(objectID) {
		err = db.Principals.NotAsked(objectID)
	}
	return p, err
}

// ByAppID returns the service principal or managed identity with a client id.
func (s *Store) ByAppID(tx *db.Tx, appID string) (Principal, error) {
	p, found, err := s.byAppID(tx, appID)
	if err == nil && !found {
		err = notFound(appID)
	}
	return p, err
}

func (s *Store) byAppID(tx *db.Tx, appID string) (Principal, bool, error) {
	p, found, err := db.ReadRow(tx, db.Principals, scanPrincipal,
		selectPrincipals+`WHERE tenant_id = $1 AND app_id = $2`, s.Tenant, idKey(appID))
	if found && p.AppID != idKey(appID) {
		err = db.Principals.NotAsked(appID)
	}
	return p, found, err
}

// ListPrincipals returns the principals of a kind, ordered by object id.
func (s *Store) ListPrincipals(tx *db.Tx, kind Kind) ([]Principal, error) {
	return db.ReadRows(tx, db.Principals, scanPrincipal,
		selectPrincipals+`WHERE tenant_id = $1 AND kind = $2 ORDER BY object_id`, s.Tenant, string(kind))
}

// CreateServicePrincipal makes the principal of an application; an application has at most one.
func (s *Store) CreateServicePrincipal(tx *db.Tx, appID string) (Principal, error) {
	app, found, err := s.application(tx, appID)
	if err != nil {
		return Principal{}, err
	}
	if !found || !strings.EqualFold(app.AppID, appID) {
		return Principal{}, apierr.BadRequest(codeBadRequest, "The appId '%s' of the service principal does not reference a valid application object.", printable(appID))
	}
	if _, exists, err := s.byAppID(tx, app.AppID); err != nil {
		return Principal{}, err
	} else if exists {
		return Principal{}, apierr.Conflict(codeDuplicate, "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", app.AppID)
	}
	p := Principal{ObjectID: db.NewGUID(), AppID: app.AppID, Name: app.Name, Kind: ServicePrincipal, Enabled: true, Created: tx.Now}
	return p, s.storePrincipal(tx, p)
}

// CreateUser makes a user of the directory. The user principal name has the form name@domain and
// is unique without letter case.
func (s *Store) CreateUser(tx *db.Tx, upn string) (Principal, error) {
	if err := checkName(upn); err != nil {
		return Principal{}, err
	}
	local, domain, ok := strings.Cut(upn, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(upn, " '") {
		return Principal{}, apierr.BadRequest(codeBadRequest, "Property userPrincipalName is invalid; want name@domain.")
	}
	users, err := s.ListPrincipals(tx, User)
	if err != nil {
		return Principal{}, err
	}
	for _, u := range users {
		if strings.EqualFold(u.Name, upn) {
			return Principal{}, apierr.Conflict(codeDuplicate, "Another object with the same value for property userPrincipalName already exists.")
		}
	}
	p := Principal{ObjectID: db.NewGUID(), Name: upn, Kind: User, Enabled: true, Created: tx.Now}
	return p, s.storePrincipal(tx, p)
}

// SetEnabled lets a principal in or keeps it out; it counts from the next request on. Groups
// cannot be disabled.
func (s *Store) SetEnabled(tx *db.Tx, objectID string, enabled bool) error {
	p, err := s.Principal(tx, objectID)
	if err != nil {
		return err
	}
	if p.Kind == Group {
		return apierr.BadRequest(codeBadRequest, "A group has no property accountEnabled.")
	}
	if p.Enabled == enabled {
		return nil
	}
	p.Enabled = enabled
	return s.storePrincipal(tx, p)
}

// DeletePrincipal removes a principal of any kind and its memberships. Its role assignments
// stay and give nobody anything, as in Azure; an application keeps its credentials.
func (s *Store) DeletePrincipal(tx *db.Tx, objectID string) error {
	p, err := s.Principal(tx, objectID)
	if err != nil {
		return err
	}
	const members = `tenant_id = $1 AND (group_id = $2 OR member_id = $2)`
	if _, err := tx.Remove(db.GroupMembers, members, s.Tenant, p.ObjectID); err != nil {
		return err
	}
	_, err = tx.Remove(db.Principals, `tenant_id = $1 AND object_id = $2`, s.Tenant, p.ObjectID)
	return err
}

// PutManagedIdentity makes the managed identity of an ARM resource, or replaces the tags of the
// one that is there. Its location cannot change. The caller has checked the resource id, the
// name (its last part) and the tags by ARM's rules.
func (s *Store) PutManagedIdentity(tx *db.Tx, resourceID, name, location string, tags map[string]string) (p Principal, created bool, err error) {
	if tags == nil {
		tags = map[string]string{}
	}
	if err := checkName(name); err != nil {
		return Principal{}, false, err
	}
	if !isPlain(location) || location == "" {
		return Principal{}, false, apierr.BadRequest("LocationRequired", "The location property is required for this definition.")
	}
	p, found, err := s.byResource(tx, resourceID)
	if err != nil {
		return Principal{}, false, err
	}
	if found && !strings.EqualFold(p.Location, location) {
		return Principal{}, false, apierr.Conflict("InvalidResourceLocation", "The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.", p.Name, p.Location, printable(location))
	}
	if !found {
		if !isPlain(resourceID) {
			return Principal{}, false, apierr.BadRequest("InvalidResourceName", "The resource id holds control characters.")
		}
		p = Principal{
			ObjectID: db.NewGUID(), AppID: db.NewGUID(), Name: name, Kind: ManagedIdentity, Enabled: true,
			ResourceID: resourceID, Location: location, Created: tx.Now,
		}
	}
	p.Tags = tags
	return p, !found, s.storePrincipal(tx, p)
}

// GetByResource returns the managed identity of an ARM resource id, in any letter case.
func (s *Store) GetByResource(tx *db.Tx, resourceID string) (Principal, error) {
	p, found, err := s.byResource(tx, resourceID)
	if err == nil && !found {
		err = apierr.NotFound("ResourceNotFound", "The Resource '%s' was not found.", printable(resourceID))
	}
	return p, err
}

// byResource compares without letter case, which the unique index does not; that two writers do
// not make the same identity twice is the authorisation lock's work.
func (s *Store) byResource(tx *db.Tx, resourceID string) (Principal, bool, error) {
	if !isPlain(resourceID) {
		return Principal{}, false, nil
	}
	p, found, err := db.ReadRow(tx, db.Principals, scanPrincipal,
		selectPrincipals+`WHERE tenant_id = $1 AND lower(resource_id) = $2`, s.Tenant, strings.ToLower(resourceID))
	if found && !strings.EqualFold(p.ResourceID, resourceID) {
		err = db.Principals.NotAsked(resourceID)
	}
	return p, found, err
}

// ListManagedIdentities returns the managed identities at or below an ARM scope, ordered by
// object id; "" or "/" is all of them.
func (s *Store) ListManagedIdentities(tx *db.Tx, scope string) ([]Principal, error) {
	all, err := s.ListPrincipals(tx, ManagedIdentity)
	if err != nil {
		return nil, err
	}
	out := []Principal{}
	for _, p := range all {
		if (resource.Scope{Text: scope}).Covers(resource.Scope{Text: p.ResourceID}.Key()) {
			out = append(out, p)
		}
	}
	return out, nil
}
