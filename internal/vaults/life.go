package vaults

import (
	"fmt"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
)

// A Change is what a caller asks of a vault's settings; nil leaves a setting as it is, or at its
// default at creation.
type Change struct {
	Location                     *string
	TenantID                     *string
	SKUFamily, SKUName           *string
	RBAC                         *bool
	SoftDelete                   *bool
	RetentionDays                *int
	PurgeProtection              *bool
	EnabledForDeployment         *bool
	EnabledForDiskEncryption     *bool
	EnabledForTemplateDeployment *bool
	AccessPolicies               *[]AccessPolicy
	NetworkACLs                  *NetworkACLs
	PublicNetworkAccess          *string
	Tags                         *map[string]string
}

// NewID chooses the id of a vault before the transaction that creates it.
func NewID() string { return db.NewGUID() }

// Create makes a vault in an existing resource group. id is from NewID; by is an object id.
func (s *Store) Create(tx *db.Tx, id, subscription, group, name string, c Change, by string) (Vault, error) {
	g, err := s.Group(tx, subscription, group)
	if err != nil {
		return Vault{}, err
	}
	if !validName(name) {
		return Vault{}, apierr.BadRequest("VaultNameNotValid", "The vault name '%s' is invalid. A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, and not contain consecutive hyphens.", name)
	}
	if err := s.checkFree(tx, name); err != nil {
		return Vault{}, err
	}
	if c.Location == nil {
		c.Location = new(string)
	}
	if err := checkLocation(*c.Location); err != nil {
		return Vault{}, err
	}
	if c.SKUName == nil {
		return Vault{}, missing("sku")
	}
	if c.TenantID == nil {
		return Vault{}, missing("tenantId")
	}
	v := Vault{
		ID: id, Subscription: strings.ToLower(subscription), Group: g.Name, Name: name, Location: locationKey(*c.Location),
		RetentionDays: DefaultRetention, Tags: map[string]string{},
		Properties: Properties{AccessPolicies: []AccessPolicy{}, PublicNetworkAccess: "Enabled"},
		CreatedBy:  by, Created: tx.Now, UpdatedBy: by, Updated: tx.Now,
	}
	if c.RetentionDays != nil {
		v.RetentionDays = *c.RetentionDays
	}
	if err := s.apply(&v, c); err != nil {
		return Vault{}, err
	}
	if v.DataKeySealed, err = s.newDataKeys(tx, v.ID); err != nil {
		return Vault{}, fmt.Errorf("make the data key of vault %s: %w", v.ID, err)
	}
	return v, s.insert(tx, v)
}

func missing(property string) error {
	return apierr.BadRequest("BadRequest", "The property \"%s\" is required and was not given.", property)
}

// checkFree refuses a name that a living or deleted vault has.
func (s *Store) checkFree(tx *db.Tx, name string) error {
	v, err := s.named(tx, name)
	if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind {
		return nil
	}
	if err != nil {
		return err
	}
	if v.Deleted.IsZero() {
		return taken(name)
	}
	return apierr.Conflict("ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
}

func taken(name string) error {
	return apierr.Conflict("VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken. If you are sure that the vault name was not taken then it is possible that a vault with the same name was recently deleted but not purged after being placed in a recoverable state. If the vault is in a recoverable state then the vault will need to be purged before reusing the name. For more information about VaultAlreadyExists, soft delete and purging a vault follow this link https://go.microsoft.com/fwlink/?linkid=2147740", name)
}

// Update changes the settings of a living vault.
func (s *Store) Update(tx *db.Tx, v Vault, c Change, by string) (Vault, error) {
	if c.Location != nil && !sameLocation(*c.Location, v.Location) {
		return Vault{}, apierr.BadRequest("InvalidResourceLocation", "The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.", v.Name, v.Location, *c.Location)
	}
	if c.RetentionDays != nil && *c.RetentionDays != v.RetentionDays {
		return Vault{}, apierr.BadRequest("BadRequest", "The property \"softDeleteRetentionInDays\" has been set already and it can't be modified.")
	}
	if err := s.apply(&v, c); err != nil {
		return Vault{}, err
	}
	v.UpdatedBy, v.Updated = by, tx.Now
	return v, s.update(tx, v)
}

// apply checks a change and puts it into a vault, for creation and update alike.
func (s *Store) apply(v *Vault, c Change) error {
	if err := s.check(*v, c); err != nil {
		return err
	}
	if c.SKUName != nil {
		v.SKU = strings.ToLower(*c.SKUName)
	}
	set(&v.RBAC, c.RBAC)
	set(&v.PurgeProtection, c.PurgeProtection)
	p := &v.Properties
	set(&p.EnabledForDeployment, c.EnabledForDeployment)
	set(&p.EnabledForDiskEncryption, c.EnabledForDiskEncryption)
	set(&p.EnabledForTemplateDeployment, c.EnabledForTemplateDeployment)
	set(&p.AccessPolicies, c.AccessPolicies)
	set(&v.Tags, c.Tags)
	if c.PublicNetworkAccess != nil {
		p.PublicNetworkAccess = "Enabled"
		if strings.EqualFold(*c.PublicNetworkAccess, "Disabled") {
			p.PublicNetworkAccess = "Disabled"
		}
	}
	if c.NetworkACLs != nil {
		acls, err := normalise(*c.NetworkACLs)
		if err != nil {
			return err
		}
		p.NetworkACLs = &acls
	}
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// Delete soft-deletes a vault. Its role assignments go with it and do not come back, as in Azure.
func (s *Store) Delete(tx *db.Tx, v Vault, by string) (Vault, error) {
	v.Deleted, v.Purge = v.Deletion(tx.Now)
	v.UpdatedBy, v.Updated = by, tx.Now
	if err := s.Authz.RemoveBelow(tx, v.Scope()); err != nil {
		return Vault{}, err
	}
	return v, s.update(tx, v)
}

// Recover brings a deleted vault back with its former settings.
func (s *Store) Recover(tx *db.Tx, subscription, group, name string, location *string, by string) (Vault, error) {
	v, err := s.named(tx, name)
	gone := err == nil && (v.Deleted.IsZero() || !strings.EqualFold(v.Subscription, subscription) ||
		!strings.EqualFold(v.Group, group) || location != nil && !sameLocation(*location, v.Location))
	if refusal, ok := apierr.As(err); gone || ok && refusal.Kind == apierr.NotFoundKind {
		return Vault{}, apierr.NotFound("DeletedVaultNotFound", "No deleted vault '%s' of resource group '%s' can be recovered; check its name, group and location.", name, group)
	}
	if err != nil {
		return Vault{}, err
	}
	v.Deleted, v.Purge = time.Time{}, time.Time{}
	v.UpdatedBy, v.Updated = by, tx.Now
	return v, s.update(tx, v)
}

// PurgeVault removes a deleted vault and all in it for good. With purge protection that is
// refused until its date. So it is for whoever purges what is due: it may have been recovered and
// deleted again since, or be another vault of that name.
func (s *Store) PurgeVault(tx *db.Tx, v Vault, onlyDue bool) error {
	if onlyDue && tx.Now.Before(v.Purge) {
		return apierr.Conflict("Conflict", "The vault '%s' is not due for purge.", v.Name)
	}
	if v.PurgeProtection && tx.Now.Before(v.Purge) {
		return apierr.Conflict("MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed: purge protection is enabled for vault '%s' until %s.", v.Name, v.Purge.Format(time.RFC3339))
	}
	for _, remove := range s.Contents {
		if err := remove(tx, v.ID); err != nil {
			return err
		}
	}
	if _, err := tx.Remove(db.Vaults, `vault_id = $1`, v.ID); err != nil {
		return err
	}
	return tx.Drop(db.VaultRevision(v.ID))
}

// Availability says whether a name is free for a new vault; reason and message are Azure's.
func (s *Store) Availability(tx *db.Tx, name string) (free bool, reason, message string, err error) {
	if !validName(name) {
		return false, "AccountNameInvalid", "The vault name is invalid. A vault's name must be between 3-24 alphanumeric characters, begin with a letter, end with a letter or digit, and not contain consecutive hyphens.", nil
	}
	err = s.checkFree(tx, name)
	if refusal, ok := apierr.As(err); ok {
		return false, "AlreadyExists", refusal.Message, nil
	}
	return err == nil, "", "", err
}
