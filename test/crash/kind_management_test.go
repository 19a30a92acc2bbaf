//go:build unix

package crash

import (
	"fmt"
	"net/http"
	"strings"

	"strongroom/test/served"
)

// A vault is its life, a tag, one secret in it and one role at it. A deleted vault comes back with
// its secret and without its role; a purged one leaves nothing to a new vault of its name.
var vaultKind = &kind{name: "vault", often: 2, see: seeVault, steps: []*step{
	{
		op: "VaultPut", can: lives("", active), refused: http.StatusConflict,
		ask: func(x *thing, mark string) request {
			return manage("VaultPut", "PUT", x.vault(), x.home.vaultBody(mark, "default"))
		},
		does: func(s state, mark string) { s[life], s["tag"] = active, mark },
	},
	{
		op: "VaultPatch", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, mark string) request {
			return manage("VaultPatch", "PATCH", x.vault(), fmt.Sprintf(`{"tags":{"mark":%q}}`, mark))
		},
		does: func(s state, mark string) { s["tag"] = mark },
	},
	{
		op: "SecretSet", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, mark string) request {
			return request{
				op: "SecretSet", method: "PUT", host: vaultHost(x.name), path: "/secrets/inside" + dataVersion,
				body: fmt.Sprintf(`{"value":%q}`, mark),
			}
		},
		does: func(s state, mark string) { s["secret"] = mark },
	},
	{
		op: "RoleAssignmentPut", can: lives(active), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request {
			return manage("RoleAssignmentPut", "PUT", x.roleAt(x.vaultScope()), served.RoleAssignment(secretsUser, x.home.members[0]))
		},
		does: func(s state, _ string) { s["role"] = "given" },
	},
	{
		op: "VaultDelete", can: anything,
		ask: func(x *thing, _ string) request { return manage("VaultDelete", "DELETE", x.vault(), "") },
		does: func(s state, _ string) {
			if s[life] == active {
				s[life] = deleted
				delete(s, "role")
			}
		},
	},
	{
		op: "VaultPut", can: lives(deleted), refused: http.StatusNotFound,
		ask: func(x *thing, mark string) request {
			return manage("VaultPut", "PUT", x.vault(), x.home.vaultBody(mark, "recover"))
		},
		does: func(s state, _ string) { s[life] = active },
	},
	{
		op: "VaultPurge", can: lives(deleted), refused: http.StatusNotFound,
		ask: func(x *thing, _ string) request {
			return manage("VaultPurge", "POST", x.home.deletedVaults()+"/"+x.name+"/purge"+vaultVersion, "")
		},
		does: func(s state, _ string) { s.clear() },
	},
}}

func (h *home) vaultBody(mark, mode string) string {
	return fmt.Sprintf(`{"location":%q,"tags":{"mark":%q},"properties":{"tenantId":%q,"createMode":%q,"enableRbacAuthorization":true,"sku":{"family":"A","name":"standard"}}}`,
		h.about.Region, mark, h.about.Tenant, mode)
}

func (x *thing) vaultScope() string { return x.home.vaults() + "/" + x.name }

func (x *thing) vault() string { return x.vaultScope() + vaultVersion }

// roleAt is the path of the thing's one role assignment at a scope. Its id is made of the name: the
// letter of the kind, and numbers.
func (x *thing) roleAt(scope string) string {
	numbers := strings.ReplaceAll(x.name[1:], "-", "f")
	id := fmt.Sprintf("%08x-0000-4000-8000-%s", x.name[0], strings.Repeat("0", 12-len(numbers))+numbers)
	return scope + "/providers/Microsoft.Authorization/roleAssignments/" + id + accessVersion
}

func seeVault(c *client, x *thing) (state, error) {
	s := state{}
	var got, role tagged
	status, err := look(c, manage("VaultGet", "GET", x.vault(), ""), &got, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	gone, err := look(c, manage("VaultGetDeleted", "GET", x.home.deletedVaults()+"/"+x.name+vaultVersion, ""), nil, http.StatusNotFound)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusOK && gone == http.StatusOK:
		return nil, x.disagree("it is there and it is deleted")
	case gone == http.StatusOK:
		s[life] = deleted
		return s, nil
	case status != http.StatusOK:
		return s, nil
	}
	s[life], s["tag"] = active, got.Tags.Mark
	var secret bundle
	inside := request{op: "SecretGet", method: "GET", host: vaultHost(x.name), path: "/secrets/inside" + dataVersion}
	if _, err := look(c, inside, &secret, http.StatusNotFound); err != nil {
		return nil, err
	}
	if secret.Value != "" {
		s["secret"] = secret.Value
	}
	if _, err := look(c, manage("RoleAssignmentGet", "GET", x.roleAt(x.vaultScope()), ""), &role, http.StatusNotFound); err != nil {
		return nil, err
	}
	if role.Name != "" {
		s["role"] = "given"
	}
	return s, nil
}

// A tagged is a resource of the management face.
type tagged struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Tags struct {
		Mark string `json:"mark"`
	} `json:"tags"`
}

// A grant is a role assignment at one secret, which need not exist.
var grantKind = &kind{name: "grant", often: 2, see: seeGrant, steps: []*step{
	{
		op: "RoleAssignmentPut", can: anything,
		ask: func(x *thing, _ string) request {
			return manage("RoleAssignmentPut", "PUT", x.roleAt(x.secretScope()), served.RoleAssignment(secretsUser, x.home.members[0]))
		},
		does: func(s state, _ string) { s[life] = active },
	},
	{
		op: "RoleAssignmentDelete", can: anything,
		ask: func(x *thing, _ string) request {
			return manage("RoleAssignmentDelete", "DELETE", x.roleAt(x.secretScope()), "")
		},
		does: func(s state, _ string) { s.clear() },
	},
}}

func (x *thing) secretScope() string {
	return x.home.vaults() + "/" + x.home.vault + "/secrets/" + x.name
}

func seeGrant(c *client, x *thing) (state, error) {
	status, err := look(c, manage("RoleAssignmentGet", "GET", x.roleAt(x.secretScope()), ""), nil, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	path := x.secretScope() + "/providers/Microsoft.Authorization/roleAssignments" + accessVersion + "&$filter=atScope()"
	listed, err := listAll(c, manage("RoleAssignmentList", "GET", path, ""))
	if err != nil {
		return nil, err
	}
	at := 0
	for _, a := range listed {
		if strings.Contains(a.ID, "/secrets/"+x.name+"/") {
			at++
		}
	}
	switch {
	case at > 1:
		return nil, x.doubled("it is listed %d times", at)
	case (at == 1) != (status == http.StatusOK):
		return nil, x.disagree("its get answers %d, and it is listed %d times", status, at)
	case at == 1:
		return state{life: active}, nil
	}
	return state{}, nil
}

// An identity is a managed identity with one tag.
var identityKind = &kind{name: "identity", often: 1, see: seeTagged("ManagedIdentityGet", (*thing).identity), steps: []*step{
	{
		op: "ManagedIdentityPut", can: anything,
		ask: func(x *thing, mark string) request {
			return manage("ManagedIdentityPut", "PUT", x.identity(), x.home.location(mark))
		},
		does: func(s state, mark string) { s[life], s["tag"] = active, mark },
	},
	{
		op: "ManagedIdentityDelete", can: anything,
		ask:  func(x *thing, _ string) request { return manage("ManagedIdentityDelete", "DELETE", x.identity(), "") },
		does: func(s state, _ string) { s.clear() },
	},
}}

func (x *thing) identity() string { return x.home.identities() + "/" + x.name + msiVersion }

// A resource group has one tag, and stays.
var resourceGroupKind = &kind{name: "resource group", often: 1, see: seeResourceGroup, steps: []*step{{
	op: "ResourceGroupPut", can: anything,
	ask: func(x *thing, mark string) request {
		return manage("ResourceGroupPut", "PUT", x.resourceGroup(), x.home.location(mark))
	},
	does: func(s state, mark string) { s[life], s["tag"] = active, mark },
}}}

func (x *thing) resourceGroup() string {
	return x.home.subscription() + "/resourceGroups/" + x.name + groupVersion
}

func seeResourceGroup(c *client, x *thing) (state, error) {
	s, err := seeTagged("ResourceGroupGet", (*thing).resourceGroup)(c, x)
	if err != nil {
		return nil, err
	}
	status, err := look(c, manage("ResourceGroupExists", "HEAD", x.resourceGroup(), ""), nil, http.StatusNotFound)
	if err == nil && (status == http.StatusNoContent) != (s[life] == active) {
		err = x.disagree("it is read as %q, and asked whether it exists: %d", s[life], status)
	}
	return s, err
}

// seeTagged reads a resource that is a tag and nothing else.
func seeTagged(op string, path func(*thing) string) func(*client, *thing) (state, error) {
	return func(c *client, x *thing) (state, error) {
		var got tagged
		status, err := look(c, manage(op, "GET", path(x), ""), &got, http.StatusNotFound)
		if err != nil || status == http.StatusNotFound {
			return state{}, err
		}
		return state{life: active, "tag": got.Tags.Mark}, nil
	}
}
