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

const groupColumns = `subscription_id, name_key, name, location, tags, created_us, updated_us, row_mac`

// Group returns a resource group.
func (s *Store) Group(tx *db.Tx, subscription, name string) (ResourceGroup, error) {
	const q = `
		SELECT ` + groupColumns + `
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
	const q = `
		SELECT ` + groupColumns + `
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
	const q = `
		INSERT INTO resource_groups (tenant_id, subscription_id, name_key, name, location, tags, created_us, updated_us, row_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (tenant_id, subscription_id, name_key) DO UPDATE
		SET tags = $6, updated_us = $8, row_mac = $9`
	fields := s.groupFields(g, string(tags))
	if _, err := tx.Exec(q, append(fields, s.Ring.RowMAC("resource_groups", fields...))...); err != nil {
		return fmt.Errorf("store resource group %q: %w", g.Name, err)
	}
	_, err = tx.Raise(db.Directory)
	return err
}

func (s *Store) groupFields(g ResourceGroup, tags string) []any {
	return []any{
		s.Tenant, g.Subscription, strings.ToLower(g.Name), g.Name, g.Location, tags, g.Created.UnixMicro(), g.Updated.UnixMicro(),
	}
}

func (s *Store) queryGroups(tx *db.Tx, q string, args ...any) ([]ResourceGroup, error) {
	out := []ResourceGroup{}
	err := tx.Query(func(row db.Scanner) error {
		var g ResourceGroup
		var key, tags string
		var created, updated int64
		var mac []byte
		if err := row.Scan(&g.Subscription, &key, &g.Name, &g.Location, &tags, &created, &updated, &mac); err != nil {
			return err
		}
		g.Created, g.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
		if err := s.Ring.CheckRow(mac, "resource_groups", s.groupFields(g, tags)...); err != nil {
			return fmt.Errorf("resource group %q: %w", g.Name, err)
		}
		if key != strings.ToLower(g.Name) {
			return fmt.Errorf("resource group %q: its key is not that of its name: %w", g.Name, envelope.ErrTampered)
		}
		err := json.Unmarshal([]byte(tags), &g.Tags)
		out = append(out, g)
		return err
	}, q, args...)
	if err != nil {
		return nil, fmt.Errorf("read resource groups: %w", err)
	}
	return out, nil
}
