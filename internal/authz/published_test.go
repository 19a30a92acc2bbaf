package authz

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// published are the built-in roles as Azure's pages give them: GUID, name, actions, data actions
// and what is taken from the actions. KV stands for Microsoft.KeyVault, D before a data action for
// KV/vaults/, A for Microsoft.Authorization, and C for commonActions. The permissions of Key
// Vault Purge Operator are not published in full.
const published = `
00482a5a-887f-4fb3-b363-3b7fe8e74483 | Key Vault Administrator | C | D* |
b86a8fe4-44ce-4948-aee5-eccb2c155cd7 | Key Vault Secrets Officer | C | Dsecrets/* |
4633458b-17de-408a-b874-0445c86b69e6 | Key Vault Secrets User | | Dsecrets/getSecret/action Dsecrets/readMetadata/action |
14b46e9e-c2b7-41b4-b07b-48a6ebf60603 | Key Vault Crypto Officer | C | Dkeys/* Dkeyrotationpolicies/* |
12338af0-0e69-4776-bea7-57ae8d297424 | Key Vault Crypto User | | Dkeys/read Dkeys/update/action Dkeys/backup/action Dkeys/encrypt/action Dkeys/decrypt/action Dkeys/wrap/action Dkeys/unwrap/action Dkeys/sign/action Dkeys/verify/action |
e147488a-f6f5-4113-8e2d-b22465e65bf6 | Key Vault Crypto Service Encryption User | Microsoft.EventGrid/eventSubscriptions/write Microsoft.EventGrid/eventSubscriptions/read Microsoft.EventGrid/eventSubscriptions/delete | Dkeys/read Dkeys/wrap/action Dkeys/unwrap/action |
08bbd89e-9f13-488c-ac41-acfcb10c90ab | Key Vault Crypto Service Release User | | Dkeys/release/action |
a4417e6f-fecd-4de8-b567-7b0420556985 | Key Vault Certificates Officer | C | Dcertificatecas/* Dcertificates/* Dcertificatecontacts/write |
db79e9a7-68ee-4b58-9aeb-b90e7c24fcba | Key Vault Certificate User | | Dcertificates/read Dsecrets/getSecret/action Dsecrets/readMetadata/action Dkeys/read |
21090545-7ca7-4776-b22c-e363652d74d2 | Key Vault Reader | C | D*/read Dsecrets/readMetadata/action |
f25e0fa2-a7c8-4377-a976-54943a77a395 | Key Vault Contributor | A/*/read Microsoft.Insights/alertRules/* KV/* Microsoft.Resources/deployments/* Microsoft.Resources/subscriptions/resourceGroups/read Microsoft.Support/* | | KV/locations/deletedVaults/purge/action KV/hsmPools/* KV/managedHsms/*
8b54135c-b56d-4d72-a534-26097cfdc8d8 | Key Vault Data Access Administrator | A/roleAssignments/write A/roleAssignments/delete A/*/read Microsoft.Resources/deployments/* Microsoft.Resources/subscriptions/resourceGroups/read Microsoft.Resources/subscriptions/read Microsoft.Management/managementGroups/read Microsoft.Support/* KV/vaults/*/read | |
a68e7c17-0ab2-4c09-9a58-125dae29748c | Key Vault Purge Operator | KV/locations/deletedVaults/purge/action KV/deletedVaults/read KV/locations/*/read KV/locations/operationResults/read | |
8e3af657-a8ff-443c-a75c-2fe8c4bcb635 | Owner | * | |
b24988ac-6180-42a0-ab88-20f7382dd24c | Contributor | * | | A/*/Delete A/*/Write A/elevateAccess/Action Microsoft.Blueprint/blueprintAssignments/write Microsoft.Blueprint/blueprintAssignments/delete Microsoft.Compute/galleries/share/action Microsoft.Purview/consents/write Microsoft.Purview/consents/delete Microsoft.Resources/deploymentStacks/manageDenySetting/action Microsoft.Subscription/cancel/action Microsoft.Subscription/enable/action
acdd72a7-3385-48ef-bd42-f606fba81ae7 | Reader | */read | |
18d7d88d-d35e-4fb5-a5c3-7773c20a72d9 | User Access Administrator | */read A/* Microsoft.Support/* | |
f58310d9-a9f6-439a-9e8d-f62e7b41a168 | Role Based Access Control Administrator | A/roleAssignments/write A/roleAssignments/delete */read Microsoft.Support/* | |
`

const commonActions = `A/*/read Microsoft.Insights/alertRules/* Microsoft.Resources/deployments/* Microsoft.Resources/subscriptions/resourceGroups/read
	Microsoft.Support/* KV/checkNameAvailability/read KV/deletedVaults/read KV/locations/*/read KV/vaults/*/read KV/operations/read`

// operations are the provider operations of Microsoft.KeyVault, data actions with a D, and those
// control actions of other providers that the management paths ask for.
const operations = `
Dcertificatecas/read Dcertificatecas/write Dcertificatecas/delete Dcertificatecontacts/write
Dcertificates/read Dcertificates/delete Dcertificates/backup/action Dcertificates/purge/action Dcertificates/update/action
Dcertificates/create/action Dcertificates/import/action Dcertificates/recover/action Dcertificates/restore/action
Dkeyrotationpolicies/read Dkeyrotationpolicies/write
Dkeys/read Dkeys/delete Dkeys/update/action Dkeys/create/action Dkeys/import/action Dkeys/recover/action Dkeys/restore/action
Dkeys/backup/action Dkeys/purge/action Dkeys/encrypt/action Dkeys/decrypt/action Dkeys/wrap/action Dkeys/unwrap/action
Dkeys/sign/action Dkeys/verify/action Dkeys/release/action Dkeys/rotate/action
Dsecrets/delete Dsecrets/backup/action Dsecrets/purge/action Dsecrets/update/action Dsecrets/recover/action Dsecrets/restore/action
Dsecrets/readMetadata/action Dsecrets/getSecret/action Dsecrets/setSecret/action
Dstorageaccounts/read Dstorageaccounts/delete Dstorageaccounts/set/action Dstorageaccounts/backup/action Dstorageaccounts/sas/read
KV/register/action KV/unregister/action KV/checkNameAvailability/read KV/deletedVaults/read KV/hsmPools/read KV/hsmPools/write
KV/locations/deletedManagedHsms/read KV/locations/deletedVaults/read KV/locations/deletedVaults/purge/action
KV/locations/operationResults/read KV/managedHSMs/read KV/managedHSMs/write KV/operations/read
KV/vaults/read KV/vaults/write KV/vaults/delete KV/vaults/deploy/action KV/vaults/accessPolicies/write
KV/vaults/keys/read KV/vaults/keys/write KV/vaults/keys/versions/read KV/vaults/secrets/read KV/vaults/secrets/write
KV/vaults/privateEndpointConnections/read KV/vaults/providers/Microsoft.Insights/diagnosticSettings/Read
A/roleAssignments/read A/roleAssignments/write A/roleAssignments/delete A/roleDefinitions/read A/elevateAccess/Action
Microsoft.Resources/subscriptions/read Microsoft.Resources/subscriptions/resourceGroups/read
Microsoft.Resources/subscriptions/resourceGroups/write Microsoft.Resources/subscriptions/resources/read
Microsoft.ManagedIdentity/userAssignedIdentities/read Microsoft.ManagedIdentity/userAssignedIdentities/write
Microsoft.ManagedIdentity/userAssignedIdentities/delete Microsoft.Management/managementGroups/read
`

// expand writes an abbreviated action out; data says whether it had a D.
func expand(s string) (action string, data bool) {
	switch {
	case strings.HasPrefix(s, "D"):
		return "Microsoft.KeyVault/vaults/" + s[1:], true
	case strings.HasPrefix(s, "KV/"):
		return "Microsoft.KeyVault/" + s[3:], false
	case strings.HasPrefix(s, "A/"):
		return "Microsoft.Authorization/" + s[2:], false
	}
	return s, false
}

func expandAll(s string) []string {
	var out []string
	for _, word := range strings.Fields(strings.ReplaceAll(" "+s+" ", " C ", " "+commonActions+" ")) {
		action, _ := expand(word)
		out = append(out, action)
	}
	return out
}

// oracle matches by regular expression what match matches by hand.
func oracle(pattern, action string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
	return regexp.MustCompile(`(?is)\A` + quoted + `\z`).MatchString(action)
}

func anyOracle(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return oracle(p, action) })
}

// TestBuiltInRoles decides every operation by every role and compares with what the published
// patterns say.
func TestBuiltInRoles(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(published), "\n")
	if len(lines) != len(BuiltIn) {
		t.Errorf("there are %d built-in roles, want the %d published", len(BuiltIn), len(lines))
	}
	for _, line := range lines {
		parts := strings.Split(line, "|")
		id, name := strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1])
		actions, dataActions, notActions := expandAll(parts[2]), expandAll(parts[3]), expandAll(parts[4])
		role, ok := RoleByID(strings.ToUpper(id))
		if !ok || role.Name != name {
			t.Errorf("role %s: got %v, want %q", id, role, name)
			continue
		}
		if byName, ok := roleByName(strings.ToUpper(name)); !ok || byName != role {
			t.Errorf("role %q by name: got %v, want %s", name, byName, id)
		}
		for _, word := range strings.Fields(operations) {
			action, data := expand(word)
			want := anyOracle(actions, action) && !anyOracle(notActions, action)
			if data {
				want = anyOracle(dataActions, action)
			}
			for _, spelling := range []string{action, strings.ToUpper(action), strings.ToLower(action)} {
				if got := role.allows(spelling, data); got != want {
					t.Errorf("%s: %s (data %v) = %v, want %v", name, spelling, data, got, want)
				}
			}
		}
	}
}

// What people get wrong most often, in plain words.
func TestRolesInPlainWords(t *testing.T) {
	for _, tt := range []struct {
		role, action string
		want         bool
	}{
		{"Owner", "Dsecrets/getSecret/action", false},
		{"Contributor", "Dsecrets/getSecret/action", false},
		{"Key Vault Contributor", "Dsecrets/getSecret/action", false},
		{"Key Vault Reader", "Dsecrets/getSecret/action", false},
		{"Key Vault Reader", "Dkeys/read", true},
		{"Key Vault Reader", "Dsecrets/readMetadata/action", true},
		{"Key Vault Secrets User", "Dsecrets/setSecret/action", false},
		{"Key Vault Secrets User", "Dsecrets/getSecret/action", true},
		{"Key Vault Secrets Officer", "Dsecrets/purge/action", true},
		{"Key Vault Secrets Officer", "Dkeys/read", false},
		{"Key Vault Administrator", "Dsecrets/getSecret/action", true},
		{"Key Vault Administrator", "KV/vaults/write", false},
		{"Key Vault Administrator", "A/roleAssignments/write", false},
		{"Contributor", "A/roleAssignments/write", false},
		{"Contributor", "KV/vaults/write", true},
		{"Key Vault Contributor", "KV/locations/deletedVaults/purge/action", false},
		{"Key Vault Purge Operator", "KV/locations/deletedVaults/purge/action", true},
		{"Key Vault Data Access Administrator", "A/roleAssignments/delete", true},
		{"Reader", "KV/vaults/read", true},
		{"Reader", "KV/vaults/write", false},
	} {
		role, ok := roleByName(tt.role)
		if !ok {
			t.Fatalf("no role %q", tt.role)
		}
		action, data := expand(tt.action)
		if got := role.allows(action, data); got != tt.want {
			t.Errorf("%s: %s = %v, want %v", tt.role, action, got, tt.want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, action string
		want            bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b/c", true},
		{"a/*", "a/b/c", true}, // "*" crosses "/"
		{"a/*", "a/", true},
		{"a/*", "a", false},
		{"a/*/c", "a/b/b/c", true},
		{"a/*/c", "a/c", false}, // the two slashes are not the same one
		{"*/read", "a/b/read", true},
		{"*/read", "a/readmetadata/action", false},
		{"*/read", "a/read/x", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*ab*ab", "ab", false},
		{"*ab*ab*", "xabxabx", true},
		{"a**b", "ab", true},
		{"a.c", "abc", false},
	} {
		if got := match(tt.pattern, tt.action); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.action, got, tt.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/*/read", "a/b/c/read")
	f.Add("*ab*ab", "abab")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if strings.Count(pattern, "*") > 8 || len(pattern)+len(action) > 200 {
			return
		}
		pattern, action = strings.ToLower(pattern), strings.ToLower(action)
		ascii := func(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) }
		if !ascii(pattern) || !ascii(action) {
			return // the oracle folds letters that actions never have
		}
		if got, want := match(pattern, action), oracle(pattern, action); got != want {
			t.Errorf("match(%q, %q) = %v, want %v", pattern, action, got, want)
		}
	})
}
