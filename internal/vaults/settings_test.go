package vaults

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
)

func manyTags(n int) *map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprint("tag", i)] = "v"
	}
	return &out
}

func rules(values ...string) *NetworkACLs {
	acls := &NetworkACLs{DefaultAction: "Deny"}
	for _, v := range values {
		acls.IPRules = append(acls.IPRules, IPRule{v})
	}
	return acls
}

// What is refused at creation and, where it can be asked then, at update: nothing of it is kept.
func TestSettingsAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Change)
		code   string
	}{
		{"no location", func(c *Change) { c.Location = nil }, "LocationRequired"},
		{"empty location", func(c *Change) { c.Location = new("") }, "LocationRequired"},
		{"bad location", func(c *Change) { c.Location = new("west\x00europe") }, "RegionNotSupported"},
		{"no sku", func(c *Change) { c.SKUName = nil }, "BadRequest"},
		{"other sku", func(c *Change) { c.SKUName = new("gold") }, "SkuNotSupported"},
		{"other family", func(c *Change) { c.SKUFamily = new("B") }, "SkuNotSupported"},
		{"no tenant", func(c *Change) { c.TenantID = nil }, "BadRequest"},
		{"other tenant", func(c *Change) { c.TenantID = new(db.NewGUID()) }, "InvalidParameter"},
		{"retention of 6", func(c *Change) { c.RetentionDays = new(6) }, "BadRequest"},
		{"retention of 91", func(c *Change) { c.RetentionDays = new(91) }, "BadRequest"},
		{"negative retention", func(c *Change) { c.RetentionDays = new(-7) }, "BadRequest"},
		{"no soft delete", func(c *Change) { c.SoftDelete = new(false) }, "BadRequest"},
		{"no purge protection", func(c *Change) { c.PurgeProtection = new(false) }, "BadRequest"},
		{"network access", func(c *Change) { c.PublicNetworkAccess = new("SecuredByPerimeter") }, "InvalidParameter"},
		{"51 tags", func(c *Change) { c.Tags = manyTags(51) }, "InvalidTags"},
		{"tag without a name", func(c *Change) { c.Tags = &map[string]string{"": "x"} }, "InvalidTags"},
		{"long tag name", func(c *Change) { c.Tags = &map[string]string{strings.Repeat("é", 513): "x"} }, "InvalidTags"},
		{"long tag value", func(c *Change) { c.Tags = &map[string]string{"x": strings.Repeat("é", 257)} }, "InvalidTags"},
		{"policy of another tenant", func(c *Change) {
			c.AccessPolicies = &[]AccessPolicy{{TenantID: db.NewGUID(), ObjectID: db.NewGUID()}}
		}, "BadRequest"},
		{"policy without an object", func(c *Change) { c.AccessPolicies = &[]AccessPolicy{{TenantID: tenant, ObjectID: "me"}} }, "BadRequest"},
		{"1025 policies", func(c *Change) { c.AccessPolicies = new(make([]AccessPolicy, 1025)) }, "BadRequest"},
		{"bypass", func(c *Change) { c.NetworkACLs = &NetworkACLs{Bypass: "Logging"} }, "InvalidParameter"},
		{"default action", func(c *Change) { c.NetworkACLs = &NetworkACLs{DefaultAction: "Maybe"} }, "InvalidParameter"},
		{"1001 rules", func(c *Change) { c.NetworkACLs = rules(make([]string, 1001)...) }, "InvalidParameter"},
		{"201 subnets", func(c *Change) { c.NetworkACLs = &NetworkACLs{VirtualNetworkRules: make([]NetworkRule, 201)} }, "InvalidParameter"},
		{"rule of IPv6", func(c *Change) { c.NetworkACLs = rules("2001:db8::/32") }, "InvalidParameter"},
		{"rule of mapped IPv4", func(c *Change) { c.NetworkACLs = rules("::ffff:203.0.113.7") }, "InvalidParameter"},
		{"rule of no address", func(c *Change) { c.NetworkACLs = rules("example.org") }, "InvalidParameter"},
		{"rule of a long prefix", func(c *Change) { c.NetworkACLs = rules("203.0.113.7/33") }, "InvalidParameter"},
		{"rule of an octal address", func(c *Change) { c.NetworkACLs = rules("203.0.113.007") }, "InvalidParameter"},
	}
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		v := create(t, s, d, "kept", standard())
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := standard()
				tt.change(&c)
				_, err := tryCreate(t, s, d, "refused", c)
				wantRefusal(t, err, apierr.BadRequestKind, tt.code)
				if c.Location == nil || c.SKUName == nil || c.TenantID == nil || *c.Location != "West Europe" {
					return // an update may leave these out, and refuses another location by another code
				}
				err = tryUpdate(t, d, func(tx *db.Tx) error {
					_, err := s.Update(tx, v, c, creator)
					return err
				})
				wantRefusal(t, err, apierr.BadRequestKind, tt.code)
			})
		}
		view(t, d, func(tx *db.Tx) error {
			got, err := s.Named(tx, "kept")
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("the vault changed (-want +got):\n%s", diff)
			}
			return err
		})
	})
}

func TestLimitsOfSettings(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		for i, days := range []int{7, 89, 90} {
			c := standard()
			c.RetentionDays, c.Tags = &days, manyTags(50)
			(*c.Tags)["tag0"], (*c.Tags)[strings.Repeat("é", 512)] = strings.Repeat("é", 256), "x"
			delete(*c.Tags, "tag1")
			c.SoftDelete, c.SKUName, c.TenantID = new(true), new("Premium"), new(strings.ToUpper(tenant))
			v := create(t, s, d, fmt.Sprint("limits", i), c)
			if v.RetentionDays != days || v.SKU != "premium" || len(v.Tags) != 50 {
				t.Errorf("created with %d days, sku %q, %d tags, want %d, premium, 50", v.RetentionDays, v.SKU, len(v.Tags), days)
			}
		}
	})
}

func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, s *Store, d *db.DB) {
		c := standard()
		c.RetentionDays, c.Tags = new(30), &map[string]string{"a": "1"}
		v := create(t, s, d, "vault", c)
		change := func(c Change) (out Vault, err error) {
			err = tryUpdate(t, d, func(tx *db.Tx) (err error) {
				out, err = s.Update(tx, v, c, "updater")
				return err
			})
			return out, err
		}
		got, err := change(Change{})
		want := v
		want.UpdatedBy, want.Updated = "updater", got.Updated
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("empty update: %v (-want +got):\n%s", err, diff)
		}
		got, err = change(Change{
			Location: new("WestEurope"), RetentionDays: new(30), SKUName: new("PREMIUM"), RBAC: new(false), PurgeProtection: new(true),
			EnabledForDeployment: new(true), EnabledForDiskEncryption: new(true), EnabledForTemplateDeployment: new(true),
			PublicNetworkAccess: new("disabled"), Tags: &map[string]string{"b": "2"},
			AccessPolicies: &[]AccessPolicy{{TenantID: tenant, ObjectID: db.NewGUID(), Permissions: Permissions{Secrets: []string{"Get"}}}},
			NetworkACLs: &NetworkACLs{
				Bypass: "none", DefaultAction: "allow", IPRules: []IPRule{{"203.0.113.7"}, {"198.51.100.0/24"}},
				VirtualNetworkRules: []NetworkRule{{ID: "/Subscriptions/X"}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		want = got
		want.SKU, want.RBAC, want.PurgeProtection, want.Tags = "premium", false, true, map[string]string{"b": "2"}
		want.Properties.NetworkACLs = &NetworkACLs{
			Bypass: "None", DefaultAction: "Allow", IPRules: []IPRule{{"203.0.113.7/32"}, {"198.51.100.0/24"}},
			VirtualNetworkRules: []NetworkRule{{ID: "/subscriptions/x"}},
		}
		want.Properties.PublicNetworkAccess = "Disabled"
		view(t, d, func(tx *db.Tx) error {
			stored, err := s.ByID(tx, v.ID)
			if diff := cmp.Diff(want, stored); diff != "" {
				t.Errorf("updated (-want +got):\n%s", diff)
			}
			return err
		})

		_, err = change(Change{Location: new("northeurope")})
		wantRefusal(t, err, apierr.BadRequestKind, "InvalidResourceLocation")
		_, err = change(Change{RetentionDays: new(31)})
		wantRefusal(t, err, apierr.BadRequestKind, "BadRequest")
		v = got
		_, err = change(Change{PurgeProtection: new(false)})
		wantRefusal(t, err, apierr.BadRequestKind, "BadRequest")
	})
}

// The table of Key Vault REST, DeletionRecoveryLevel.
func TestRecoveryLevel(t *testing.T) {
	for _, tt := range []struct {
		days      int
		protected bool
		want      string
	}{
		{90, false, "Recoverable+Purgeable"},
		{90, true, "Recoverable"},
		{89, false, "CustomizedRecoverable+Purgeable"},
		{7, true, "CustomizedRecoverable"},
	} {
		v := Vault{RetentionDays: tt.days, PurgeProtection: tt.protected}
		if got := v.RecoveryLevel(); got != tt.want {
			t.Errorf("%d days, protected %v: %q, want %q", tt.days, tt.protected, got, tt.want)
		}
		deleted, purge := v.Deletion(time.Date(2026, 1, 1, 12, 0, 0, 5000, time.UTC))
		if noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC); !deleted.Equal(noon) || purge.Sub(noon) != time.Duration(tt.days)*24*time.Hour {
			t.Errorf("deleted %v, purge %v, want %v and %d days later", deleted, purge, noon, tt.days)
		}
	}
}

func TestAdmit(t *testing.T) {
	deny := rules("203.0.113.7", "198.51.100.0/24")
	allow := &NetworkACLs{DefaultAction: "Allow"}
	for _, tt := range []struct {
		name, public string
		acls         *NetworkACLs
		address      string // "" is the local socket
		code         string // "" means admitted
	}{
		{"no rules", "Enabled", nil, "192.0.2.1", ""},
		{"allowed by default", "Enabled", allow, "192.0.2.1", ""},
		{"address", "Enabled", deny, "203.0.113.7", ""},
		{"next address", "Enabled", deny, "203.0.113.8", "ForbiddenByFirewall"},
		{"range", "Enabled", deny, "198.51.100.255", ""},
		{"after the range", "Enabled", deny, "198.51.101.0", "ForbiddenByFirewall"},
		{"mapped address", "Enabled", deny, "::ffff:203.0.113.7", ""},
		{"mapped address outside", "Enabled", deny, "::ffff:203.0.113.8", "ForbiddenByFirewall"},
		{"IPv6", "Enabled", deny, "2001:db8::1", "ForbiddenByFirewall"},
		{"IPv6 with a zone", "Enabled", deny, "fe80::1%eth0", "ForbiddenByFirewall"},
		{"loopback has no privilege", "Enabled", deny, "127.0.0.1", "ForbiddenByFirewall"},
		{"local socket", "Enabled", deny, "", ""},
		{"off", "Disabled", nil, "192.0.2.1", "ForbiddenByConnection"},
		{"off, though listed", "Disabled", deny, "203.0.113.7", "ForbiddenByConnection"},
		{"off, local socket", "Disabled", nil, "", ""},
		{"no rule at all", "Enabled", &NetworkACLs{DefaultAction: "Deny"}, "192.0.2.1", "ForbiddenByFirewall"},
		{"subnets admit nobody", "Enabled", &NetworkACLs{DefaultAction: "Deny", VirtualNetworkRules: []NetworkRule{{ID: "x"}}}, "192.0.2.1", "ForbiddenByFirewall"},
		{"everybody by rule", "Enabled", rules("0.0.0.0/0"), "192.0.2.1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Vault{Name: "v1", Location: "westeurope", Properties: Properties{PublicNetworkAccess: tt.public, NetworkACLs: tt.acls}}
			var address netip.Addr
			if tt.address != "" {
				address = netip.MustParseAddr(tt.address)
			}
			err := v.Admit(address, "appid=a;oid=o")
			if tt.code == "" {
				if err != nil {
					t.Errorf("Admit(%q) = %v, want nil", tt.address, err)
				}
				return
			}
			wantRefusal(t, err, apierr.ForbiddenKind, tt.code)
			if tt.code == "ForbiddenByFirewall" && !strings.Contains(err.Error(), "Client address: "+strings.TrimPrefix(tt.address, "::ffff:")+"\r\nCaller: appid=a;oid=o\r\nVault: v1;location=westeurope") {
				t.Errorf("Admit(%q) = %q", tt.address, err)
			}
		})
	}
}
