// Package vaults keeps resource groups and vaults: their settings, their data keys, and the life
// of a vault from creation over soft deletion to recovery or purge.
//
// A vault has an id of ours that is never reused, beside its name, which may come back after a
// purge: all that belongs to a vault hangs on the id, so a new vault of an old name finds no old
// rows, rights or cache entries. A purge destroys the vault's data key with its row.
package vaults

import (
	"net/netip"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/resource"
)

// A Store keeps vaults and resource groups of the home tenant. It may be shared.
type Store struct {
	Ring   *envelope.Ring
	Tenant string
	Authz  *authz.Store
	// Contents are called by a purge, in its transaction, to remove what other packages keep for
	// the vault.
	Contents []func(tx *db.Tx, vaultID string) error

	known directory
}

// Retention of deleted vaults and objects in days (Key Vault soft-delete overview).
const (
	MinRetention     = 7
	MaxRetention     = 90
	DefaultRetention = 90
)

// A Vault is one vault with its settings.
type Vault struct {
	ID              string // ours, a GUID, never reused
	Subscription    string
	Group           string
	Name            string
	Location        string
	SKU             string // standard or premium
	RBAC            bool   // else legacy access policies, which are stored and never honoured
	RetentionDays   int    // of deleted objects and of the vault itself
	PurgeProtection bool
	Properties      Properties
	Tags            map[string]string
	CreatedBy       string // object id
	Created         time.Time
	UpdatedBy       string
	Updated         time.Time
	Deleted         time.Time // zero while the vault lives
	Purge           time.Time // when a deleted vault goes for good
	DataKeySealed   []byte
}

// Properties are the settings that have no column of their own. They are stored as JSON.
type Properties struct {
	EnabledForDeployment         bool           `json:"enabledForDeployment"`
	EnabledForDiskEncryption     bool           `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment bool           `json:"enabledForTemplateDeployment"`
	AccessPolicies               []AccessPolicy `json:"accessPolicies"`
	NetworkACLs                  *NetworkACLs   `json:"networkAcls,omitzero"`
	PublicNetworkAccess          string         `json:"publicNetworkAccess"` // Enabled or Disabled
}

// An AccessPolicy is one entry of the legacy permission model.
type AccessPolicy struct {
	TenantID      string      `json:"tenantId"`
	ObjectID      string      `json:"objectId"`
	ApplicationID string      `json:"applicationId,omitempty"`
	Permissions   Permissions `json:"permissions"`
}

// Permissions are the words of an access policy, in the caller's own casing.
type Permissions struct {
	Keys         []string `json:"keys,omitempty"`
	Secrets      []string `json:"secrets,omitempty"`
	Certificates []string `json:"certificates,omitempty"`
	Storage      []string `json:"storage,omitempty"`
}

// NetworkACLs are the vault's firewall.
type NetworkACLs struct {
	Bypass              string        `json:"bypass"`        // AzureServices or None
	DefaultAction       string        `json:"defaultAction"` // Allow or Deny
	IPRules             []IPRule      `json:"ipRules"`
	VirtualNetworkRules []NetworkRule `json:"virtualNetworkRules"`
}

// An IPRule admits an IPv4 address or range.
type IPRule struct {
	Value string `json:"value"`
}

// A NetworkRule names a subnet. Strongroom has no virtual networks: such a rule admits nobody.
type NetworkRule struct {
	ID                               string `json:"id"`
	IgnoreMissingVnetServiceEndpoint bool   `json:"ignoreMissingVnetServiceEndpoint,omitzero"`
}

// Scope is the vault's ARM scope.
func (v Vault) Scope() resource.Scope {
	return resource.VaultScope(v.Subscription, v.Group, v.Name)
}

// RecoveryLevel is the vault's word for what can be done with a deleted object
// (Key Vault REST, DeletionRecoveryLevel).
func (v Vault) RecoveryLevel() string {
	level := "Recoverable"
	if v.RetentionDays < MaxRetention {
		level = "CustomizedRecoverable"
	}
	if !v.PurgeProtection {
		level += "+Purgeable"
	}
	return level
}

// Deletion returns when something deleted now counts as deleted and when it goes for good: whole
// seconds, as the wire shows them, so that a date that is shown as come has come.
func (v Vault) Deletion(now time.Time) (deleted, purge time.Time) {
	deleted = now.Truncate(time.Second)
	return deleted, deleted.AddDate(0, 0, v.RetentionDays)
}

// Admit says whether the network rules let an address in. The local socket has no address: it
// is the break-glass way in and always passes.
func (v Vault) Admit(address netip.Addr, caller string) error {
	if !address.IsValid() {
		return nil
	}
	if strings.EqualFold(v.Properties.PublicNetworkAccess, "Disabled") {
		return apierr.Forbidden("ForbiddenByConnection", "Connection is not an approved private link and caller was ignored because bypass is not set to 'AzureServices' and PublicNetworkAccess is set to 'Disabled'.")
	}
	acls := v.Properties.NetworkACLs
	if acls == nil || strings.EqualFold(acls.DefaultAction, "Allow") {
		return nil
	}
	address = address.Unmap()
	for _, rule := range acls.IPRules {
		if prefix, err := parseRange(rule.Value); err == nil && prefix.Contains(address) {
			return nil
		}
	}
	return apierr.Forbidden("ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.\r\nClient address: %s\r\nCaller: %s\r\nVault: %s;location=%s\r\n", address, caller, v.Name, v.Location)
}

// parseRange reads "a.b.c.d" or "a.b.c.d/n".
func parseRange(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		s += "/32"
	}
	return netip.ParsePrefix(s)
}
