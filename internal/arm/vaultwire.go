package arm

import (
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/operation"
	"strongroom/internal/vaults"
)

// A VaultChange is the body of PUT and PATCH of a vault. What is absent or null stays as it is, or
// has its default at creation; vaultUri and other read-only members are passed over.
type VaultChange struct {
	Location   *string                `json:"location"`
	Tags       *operation.Tags        `json:"tags"`
	Properties *VaultChangeProperties `json:"properties"` // required for PUT
}

// VaultChangeProperties are the settings that a caller may send.
type VaultChangeProperties struct {
	SKU                          *SKUChange             `json:"sku"`
	TenantID                     *string                `json:"tenantId"`
	AccessPolicies               *[]vaults.AccessPolicy `json:"accessPolicies"`
	NetworkACLs                  *vaults.NetworkACLs    `json:"networkAcls"`
	EnabledForDeployment         *bool                  `json:"enabledForDeployment"`
	EnabledForDiskEncryption     *bool                  `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment *bool                  `json:"enabledForTemplateDeployment"`
	EnableSoftDelete             *bool                  `json:"enableSoftDelete"`
	RetentionDays                *int                   `json:"softDeleteRetentionInDays"`
	RBAC                         *bool                  `json:"enableRbacAuthorization"`
	PurgeProtection              *bool                  `json:"enablePurgeProtection"`
	PublicNetworkAccess          *string                `json:"publicNetworkAccess"`
	CreateMode                   *string                `json:"createMode"` // default or recover
}

// A SKUChange is the sku of a request; both parts compare without letter case.
type SKUChange struct {
	Family *string `json:"family"`
	Name   *string `json:"name"`
}

// recovers says whether the body asks for a deleted vault instead of a new one.
func (p VaultChangeProperties) recovers() (bool, error) {
	switch {
	case p.CreateMode == nil || strings.EqualFold(*p.CreateMode, "default"):
		return false, nil
	case strings.EqualFold(*p.CreateMode, "recover"):
		return true, nil
	}
	return false, apierr.BadRequest("InvalidParameter", "The property \"createMode\" is '%s'; want default or recover.", *p.CreateMode)
}

// change is the body in the domain's words.
func (b VaultChange) change() vaults.Change {
	c := vaults.Change{Location: b.Location, Tags: b.Tags.Change()}
	p := b.Properties
	if p == nil {
		return c
	}
	if p.SKU != nil {
		c.SKUFamily, c.SKUName = p.SKU.Family, p.SKU.Name
	}
	c.TenantID, c.RBAC, c.SoftDelete = p.TenantID, p.RBAC, p.EnableSoftDelete
	c.RetentionDays, c.PurgeProtection = p.RetentionDays, p.PurgeProtection
	c.EnabledForDeployment, c.EnabledForDiskEncryption = p.EnabledForDeployment, p.EnabledForDiskEncryption
	c.EnabledForTemplateDeployment = p.EnabledForTemplateDeployment
	c.AccessPolicies, c.NetworkACLs, c.PublicNetworkAccess = p.AccessPolicies, p.NetworkACLs, p.PublicNetworkAccess
	return c
}

// rbacByDefault is the api-version from which a new vault uses RBAC unless it says otherwise
// (Key Vault, "Prepare for API version 2026-02-01"). Earlier ones make it use access policies.
var rbacByDefault = operation.MustVersion("2026-02-01")

// withDefaults adds what a creation leaves out and what depends on the api-version.
func withDefaults(c vaults.Change, v operation.Version) vaults.Change {
	if c.RBAC == nil {
		on := v.AtLeast(rbacByDefault)
		c.RBAC = &on
	}
	return c
}

const vaultType = "Microsoft.KeyVault/vaults"

// A Vault is the wire form of a vault: one model for every api-version, since clients pass over
// members that they do not know.
type Vault struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData SystemData        `json:"systemData"`
	Properties VaultProperties   `json:"properties"`
}

// VaultProperties are a vault's settings as an answer shows them.
type VaultProperties struct {
	SKU                          SKU                   `json:"sku"`
	TenantID                     string                `json:"tenantId"`
	AccessPolicies               []vaults.AccessPolicy `json:"accessPolicies"`
	NetworkACLs                  *vaults.NetworkACLs   `json:"networkAcls,omitzero"`
	EnabledForDeployment         bool                  `json:"enabledForDeployment"`
	EnabledForDiskEncryption     bool                  `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment bool                  `json:"enabledForTemplateDeployment"`
	EnableSoftDelete             bool                  `json:"enableSoftDelete"`
	RetentionDays                int                   `json:"softDeleteRetentionInDays"`
	RBAC                         bool                  `json:"enableRbacAuthorization"`
	PurgeProtection              bool                  `json:"enablePurgeProtection,omitzero"` // true or absent
	VaultURI                     string                `json:"vaultUri"`
	ProvisioningState            string                `json:"provisioningState"`
	PublicNetworkAccess          string                `json:"publicNetworkAccess"`
	PrivateEndpointConnections   []struct{}            `json:"privateEndpointConnections"`
	HSMPool                      *string               `json:"hsmPoolResourceId"`
}

// A SKU is the sku of an answer.
type SKU struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

// newVault turns a vault into its wire form; uri is the vault's URL in the request's family.
func newVault(v vaults.Vault, tenant, uri string, data SystemData) Vault {
	p := v.Properties
	if p.AccessPolicies == nil {
		p.AccessPolicies = []vaults.AccessPolicy{}
	}
	return Vault{
		ID: v.Scope().Text, Name: v.Name, Type: vaultType, Location: v.Location, Tags: orEmpty(v.Tags), SystemData: data,
		Properties: VaultProperties{
			SKU: SKU{Family: "A", Name: v.SKU}, TenantID: tenant,
			AccessPolicies: p.AccessPolicies, NetworkACLs: p.NetworkACLs,
			EnabledForDeployment: p.EnabledForDeployment, EnabledForDiskEncryption: p.EnabledForDiskEncryption,
			EnabledForTemplateDeployment: p.EnabledForTemplateDeployment,
			EnableSoftDelete:             true, RetentionDays: v.RetentionDays, RBAC: v.RBAC, PurgeProtection: v.PurgeProtection,
			VaultURI: uri + "/", ProvisioningState: "Succeeded", PublicNetworkAccess: p.PublicNetworkAccess,
			PrivateEndpointConnections: []struct{}{},
		},
	}
}
