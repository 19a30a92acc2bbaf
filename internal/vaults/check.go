package vaults

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/resource"
)

// Limits of a vault's settings (Key Vault REST, Vaults; Azure Resource Manager limits).
const (
	maxTags           = 50
	maxTagName        = 512
	maxTagValue       = 256
	maxIPRules        = 1000
	maxNetworkRules   = 200
	maxAccessPolicies = 1024
)

func validName(name string) bool { return resource.IsVaultName(name) }

// location is what a location may be called once blanks are out of it: there is no list of them.
var location = regexp.MustCompile(`^[a-z0-9][-a-z0-9_.]*$`)

// checkLocation refuses what names no location.
func checkLocation(name string) error {
	switch {
	case name == "":
		return apierr.BadRequest("LocationRequired", "The location property is required for this definition.")
	case len(locationKey(name)) > 90 || !location.MatchString(locationKey(name)):
		return apierr.BadRequest("RegionNotSupported", "The location %q is not valid; want up to 90 letters, digits, '-', '_', '.' and blanks.", name)
	}
	return nil
}

// check refuses a change that breaks a rule, before anything of it is applied.
func (s *Store) check(v Vault, c Change) error {
	switch {
	case c.SKUName != nil && !isOneOf(*c.SKUName, "standard", "premium"):
		return apierr.BadRequest("SkuNotSupported", "The sku name '%s' is not supported; want standard or premium.", *c.SKUName)
	case c.SKUFamily != nil && !isOneOf(*c.SKUFamily, "A"):
		return apierr.BadRequest("SkuNotSupported", "The sku family '%s' is not supported; want A.", *c.SKUFamily)
	case c.TenantID != nil && !strings.EqualFold(*c.TenantID, s.Tenant):
		return apierr.BadRequest("InvalidParameter", "The tenantId '%s' is not the tenant of this deployment, '%s'.", *c.TenantID, s.Tenant)
	case v.RetentionDays < MinRetention || v.RetentionDays > MaxRetention:
		return apierr.BadRequest("BadRequest", "The property \"softDeleteRetentionInDays\" is %d; want %d to %d.", v.RetentionDays, MinRetention, MaxRetention)
	case c.SoftDelete != nil && !*c.SoftDelete:
		return apierr.BadRequest("BadRequest", "The property \"enableSoftDelete\" cannot be set to false. Enabling the soft delete functionality is irreversible and mandatory for new vaults.")
	case c.PurgeProtection != nil && !*c.PurgeProtection:
		return apierr.BadRequest("BadRequest", "The property \"enablePurgeProtection\" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.")
	case c.PublicNetworkAccess != nil && !isOneOf(*c.PublicNetworkAccess, "enabled", "disabled"):
		return apierr.BadRequest("InvalidParameter", "The property \"publicNetworkAccess\" is '%s'; want Enabled or Disabled.", *c.PublicNetworkAccess)
	}
	if err := checkPolicies(s.Tenant, c.AccessPolicies); err != nil {
		return err
	}
	if c.Tags == nil {
		return nil
	}
	return CheckTags(*c.Tags)
}

// CheckTags refuses more or longer tags than a resource may have.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return apierr.BadRequest("InvalidTags", "The resource has %d tags; want at most %d.", len(tags), maxTags)
	}
	for name, value := range tags {
		if name == "" || len([]rune(name)) > maxTagName || len([]rune(value)) > maxTagValue {
			return apierr.BadRequest("InvalidTags", "A tag has a name of at most %d and a value of at most %d characters, and the name is not empty.", maxTagName, maxTagValue)
		}
	}
	return nil
}

func checkPolicies(tenant string, policies *[]AccessPolicy) error {
	if policies == nil {
		return nil
	}
	if len(*policies) > maxAccessPolicies {
		return apierr.BadRequest("BadRequest", "The vault has %d access policies; want at most %d.", len(*policies), maxAccessPolicies)
	}
	for _, p := range *policies {
		if !strings.EqualFold(p.TenantID, tenant) || !resource.IsGUID(p.ObjectID) {
			return apierr.BadRequest("BadRequest", "An access policy has tenantId '%s' and objectId '%s'; want this tenant and a GUID.", p.TenantID, p.ObjectID)
		}
	}
	return nil
}

func isOneOf(s string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(s, w) })
}

// normalise checks a firewall and puts it into the form in which Azure answers it: single
// addresses end in /32, subnet ids are in lower case.
func normalise(acls NetworkACLs) (NetworkACLs, error) {
	bypass, action := "AzureServices", "Deny"
	switch {
	case acls.Bypass != "" && !isOneOf(acls.Bypass, "AzureServices", "None"):
		return NetworkACLs{}, apierr.BadRequest("InvalidParameter", "networkAcls.bypass is '%s'; want AzureServices or None.", acls.Bypass)
	case acls.DefaultAction != "" && !isOneOf(acls.DefaultAction, "Allow", "Deny"):
		return NetworkACLs{}, apierr.BadRequest("InvalidParameter", "networkAcls.defaultAction is '%s'; want Allow or Deny.", acls.DefaultAction)
	case len(acls.IPRules) > maxIPRules || len(acls.VirtualNetworkRules) > maxNetworkRules:
		return NetworkACLs{}, apierr.BadRequest("InvalidParameter", "networkAcls holds at most %d ipRules and %d virtualNetworkRules.", maxIPRules, maxNetworkRules)
	}
	if strings.EqualFold(acls.Bypass, "None") {
		bypass = "None"
	}
	if strings.EqualFold(acls.DefaultAction, "Allow") {
		action = "Allow"
	}
	out := NetworkACLs{Bypass: bypass, DefaultAction: action, IPRules: []IPRule{}, VirtualNetworkRules: []NetworkRule{}}
	for _, rule := range acls.IPRules {
		prefix, err := parseRange(rule.Value)
		if err != nil || !prefix.Addr().Is4() {
			return NetworkACLs{}, apierr.BadRequest("InvalidParameter", "networkAcls.ipRules holds '%s'; want an IPv4 address or a CIDR range.", rule.Value)
		}
		out.IPRules = append(out.IPRules, IPRule{Value: netip.PrefixFrom(prefix.Addr(), prefix.Bits()).String()})
	}
	for _, rule := range acls.VirtualNetworkRules {
		rule.ID = strings.ToLower(rule.ID)
		out.VirtualNetworkRules = append(out.VirtualNetworkRules, rule)
	}
	return out, nil
}
