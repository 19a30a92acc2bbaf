package vaults

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

// A ResourceGroup holds vaults.
type ResourceGroup struct {
	Subscription string
	Name         string
	Location     string
	Tags         map[string]string
	Created      time.Time
	Updated      time.Time
}

// groupName is what a resource group may be called: up to 90 characters, no full stop at the end
// (Azure naming rules, Microsoft.Resources/resourceGroups).
var groupName = regexp.MustCompile(`^[-\w._()]{0,89}[-\w_()]$`)

var selectGroups = `
	SELECT ` + db.ResourceGroups.Columns("")

// Group returns a resource group.
func (s *Store) Group(tx *db.Tx, subscription, name string) (ResourceGroup, error) {
	q := selectGroups + `
		FROM resource_groups
		WHERE tenant_id = $1 AND subscription_id = $2 AND name_key = $3`
	var found []ResourceGroup
	if groupName.MatchString(name) { // else no group has it, and PostgreSQL may not even take the text
		var err error
		if found, err = s.queryGroups(tx, q, s.Tenant, strings.ToLower(subscription), strings.ToLower(name)); err != nil {
			return ResourceGroup{}, err
		}
	}
	if len(found) == 0 {
		return ResourceGroup{}, apierr.NotFound("ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
	}
	return found[0], nil
}

// Groups returns a subscription's resource groups by name.
func (s *Store) Groups(tx *db.Tx, subscription string) ([]ResourceGroup, error) {
	q := selectGroups + `
		FROM resource_groups
		WHERE tenant_id = $1 AND subscription_id = $2
		ORDER BY name_key`
	return s.queryGroups(tx, q, s.Tenant, strings.ToLower(subscription))
}

// PutGroup makes a resource group or replaces its tags. Its location can't change.
func (s *Store) PutGroup(tx *db.Tx, g ResourceGroup) (stored ResourceGroup, created bool, err error) {
	if !groupName.MatchString(g.Name) {
		return g, false, apierr.BadRequest("InvalidResourceGroup", "The resource group name '%s' is not valid; want 1 to 90 letters, digits, '-', '_', '.', '(' or ')', not ending in a full stop.", g.Name)
	}
	if err := checkLocation(g.Location); err != nil {
		return g, false, err
	}
	if err := CheckTags(g.Tags); err != nil {
		return g, false, err
	}
	g.Subscription, g.Location = strings.ToLower(g.Subscription), locationKey(g.Location)
	g.Created, g.Updated = tx.Now, tx.Now
	have, err := s.Group(tx, g.Subscription, g.Name)
	switch refusal, ok := apierr.As(err); {
	case ok && refusal.Kind == apierr.NotFoundKind:
		created = true
	case err != nil:
		return g, false, err
	case have.Location != g.Location:
		return g, false, apierr.Conflict("InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", g.Location, have.Location)
	default:
		g.Name, g.Created = have.Name, have.Created
	}
	return g, created, s.storeGroup(tx, g)
}

func (s *Store) storeGroup(tx *db.Tx, g ResourceGroup) error {
	if g.Tags == nil {
		g.Tags = map[string]string{}
	}
	tags, err := json.Marshal(g.Tags, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode tags: %w", err)
	}
	return tx.Replace(db.ResourceGroups, groupFields(s.Tenant, g, string(tags))...)
}

func groupFields(tenant string, g ResourceGroup, tags string) []any {
	return []any{
		tenant, g.Subscription, strings.ToLower(g.Name), g.Name, g.Location, tags, g.Created.UnixMicro(), g.Updated.UnixMicro(),
	}
}

func (s *Store) queryGroups(tx *db.Tx, q string, args ...any) ([]ResourceGroup, error) {
	return db.ReadRows(tx, db.ResourceGroups, scanGroup, q, args...)
}

func scanGroup(row db.Scanner) (g ResourceGroup, seal db.Seal, err error) {
	var tenant, key, tags string
	var created, updated int64
	err = row.Scan(&tenant, &g.Subscription, &key, &g.Name, &g.Location, &tags, &created, &updated, &seal.MAC)
	if err != nil {
		return g, seal, err
	}
	g.Created, g.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	seal.Fields = groupFields(tenant, g, tags)
	if key != strings.ToLower(g.Name) {
		return g, seal, fmt.Errorf("resource group %q: its key is not that of its name: %w", g.Name, envelope.ErrTampered)
	}
	return g, seal, readJSON(tags, &g.Tags)
}

// readJSON reads a column of JSON. What it finds is not ours if the row does not hold, so a fault
// is the row's and not worth more words.
func readJSON[T any](text string, to *T) error {
	if err := json.Unmarshal([]byte(text), to); err != nil {
		return fmt.Errorf("a column of JSON cannot be read: %w", envelope.ErrTampered)
	}
	return nil
}
