package arm

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/authz"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

var testTime = time.Date(2026, 1, 5, 1, 32, 1, 0, time.UTC)

func testVault() vaults.Vault {
	return vaults.Vault{
		ID: "id-1", Subscription: testSubscription, Group: "My.Group", Name: "Payroll", Location: "westeurope", SKU: "standard",
		RBAC: true, RetentionDays: 90, Properties: vaults.Properties{PublicNetworkAccess: "Enabled"},
		CreatedBy: "u", Created: testTime, UpdatedBy: "m", Updated: testTime,
	}
}

func testKind(id string) identity.Kind {
	return map[string]identity.Kind{"u": identity.User, "m": identity.ManagedIdentity}[id]
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNewVault(t *testing.T) {
	const want = `{"id":"/subscriptions/99999999-2222-4333-8444-555555555555/resourceGroups/My.Group/providers/Microsoft.KeyVault/vaults/Payroll",` +
		`"name":"Payroll","type":"Microsoft.KeyVault/vaults","location":"westeurope","tags":{},` +
		`"systemData":{"createdBy":"u","createdByType":"User","createdAt":"2026-01-05T01:32:01.0000000Z",` +
		`"lastModifiedBy":"m","lastModifiedByType":"ManagedIdentity","lastModifiedAt":"2026-01-05T01:32:01.0000000Z"},` +
		`"properties":{"sku":{"family":"A","name":"standard"},"tenantId":"11111111-2222-4333-8444-555555555555","accessPolicies":[],` +
		`"enabledForDeployment":false,"enabledForDiskEncryption":false,"enabledForTemplateDeployment":false,` +
		`"enableSoftDelete":true,"softDeleteRetentionInDays":90,"enableRbacAuthorization":true,` +
		`"vaultUri":"https://payroll.vault.example.org:8443/","provisioningState":"Succeeded","publicNetworkAccess":"Enabled",` +
		`"privateEndpointConnections":[],"hsmPoolResourceId":null}}`
	v := testVault()
	data := newSystemData(v.CreatedBy, v.Created, v.UpdatedBy, v.Updated, testKind)
	got := marshal(t, newVault(v, testTenant, "https://payroll.vault.example.org:8443", data))
	if got != want {
		t.Errorf("newVault =\n%s\nwant\n%s", got, want)
	}
	v.PurgeProtection = true
	if got := marshal(t, newVault(v, testTenant, "x", data)); !strings.Contains(got, `"enablePurgeProtection":true`) {
		t.Errorf("newVault with purge protection = %s", got)
	}
}

// What can be written can be read back under the same name, except createMode.
func TestVaultNamesAgree(t *testing.T) {
	read := jsonNames(reflect.TypeFor[VaultProperties]())
	for name := range jsonNames(reflect.TypeFor[VaultChangeProperties]()) {
		if !read[name] && name != "createMode" {
			t.Errorf("the answer has no property %q", name)
		}
	}
}

func jsonNames(typ reflect.Type) map[string]bool {
	names := map[string]bool{}
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

func TestVaultChange(t *testing.T) {
	const body = `{"location":"West Europe","tags":{"a":"b"},"unknown":1,"properties":{"sku":{"family":"A","name":"Premium"},
		"tenantId":"t","accessPolicies":[],"networkAcls":{"defaultAction":"Deny"},"enabledForDeployment":true,
		"enabledForDiskEncryption":true,"enabledForTemplateDeployment":true,"enableSoftDelete":true,
		"softDeleteRetentionInDays":7,"enableRbacAuthorization":false,"enablePurgeProtection":true,
		"publicNetworkAccess":"Disabled","vaultUri":"ignored"}}`
	var in VaultChange
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	got := reflect.ValueOf(in.change())
	for field, value := range got.Fields() {
		if value.IsNil() {
			t.Errorf("%s is not taken over", field.Name)
		}
	}
	var empty VaultChange
	if err := json.Unmarshal([]byte(`{"properties":{"sku":null,"networkAcls":null,"enableRbacAuthorization":null}}`), &empty); err != nil {
		t.Fatal(err)
	}
	if got := empty.change(); !reflect.DeepEqual(got, vaults.Change{}) {
		t.Errorf("change of nulls = %+v, want nothing", got)
	}
	for _, bad := range []string{
		`{"properties":{"softDeleteRetentionInDays":"7"}}`,
		`{"properties":{"softDeleteRetentionInDays":7.5}}`,
		`{"properties":{"enableRbacAuthorization":"true"}}`,
		`{"properties":[]}`,
		`{"tags":{"a":1}}`,
	} {
		if err := json.Unmarshal([]byte(bad), new(VaultChange)); err == nil {
			t.Errorf("%s is accepted, want an error", bad)
		}
	}
}

func TestCreateMode(t *testing.T) {
	for _, tt := range []struct {
		in   string // a JSON value
		want bool
		bad  bool
	}{
		{in: `null`},
		{in: `"default"`},
		{in: `"Recover"`, want: true},
		{in: `"copy"`, bad: true},
	} {
		var p VaultChangeProperties
		if err := json.Unmarshal([]byte(`{"createMode":`+tt.in+`}`), &p); err != nil {
			t.Fatal(err)
		}
		if got, err := p.recovers(); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("createMode %s: recovers = %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestRBACByDefault(t *testing.T) {
	on, off := true, false
	for _, tt := range []struct {
		version string
		given   *bool
		want    bool
	}{
		{"2023-07-01", nil, false},
		{"2025-05-01", nil, false},
		{"2026-02-01-preview", nil, false},
		{"2026-02-01", nil, true},
		{"2026-03-01-preview", nil, true},
		{"2026-02-01", &off, false},
		{"2016-10-01", &on, true},
	} {
		got := withDefaults(vaults.Change{RBAC: tt.given}, operation.MustVersion(tt.version))
		if *got.RBAC != tt.want {
			t.Errorf("RBAC of a vault made by %s = %v, want %v", tt.version, *got.RBAC, tt.want)
		}
	}
}

func TestNewDeletedVault(t *testing.T) {
	const want = `{"id":"/subscriptions/99999999-2222-4333-8444-555555555555/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/Payroll",` +
		`"name":"Payroll","type":"Microsoft.KeyVault/deletedVaults","properties":{` +
		`"vaultId":"/subscriptions/99999999-2222-4333-8444-555555555555/resourceGroups/My.Group/providers/Microsoft.KeyVault/vaults/Payroll",` +
		`"location":"westeurope","deletionDate":"2026-01-05T01:32:01.0000000Z","scheduledPurgeDate":"2026-01-12T01:32:01.0000000Z",` +
		`"tags":{},"purgeProtectionEnabled":true}}`
	v := testVault()
	v.PurgeProtection, v.Deleted, v.Purge = true, testTime, testTime.AddDate(0, 0, 7)
	if got := marshal(t, newDeletedVault(v)); got != want {
		t.Errorf("newDeletedVault =\n%s\nwant\n%s", got, want)
	}
}

func TestNewAssignment(t *testing.T) {
	const want = `{"id":"/subscriptions/S/resourceGroups/g/providers/Microsoft.Authorization/roleAssignments/a-1","name":"a-1",` +
		`"type":"Microsoft.Authorization/roleAssignments","properties":{` +
		`"roleDefinitionId":"/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/r-1","principalId":"p","principalType":"User",` +
		`"scope":"/subscriptions/S/resourceGroups/g","description":null,"condition":null,"conditionVersion":null,` +
		`"createdOn":"2026-01-05T01:32:01.0000000Z","updatedOn":"2026-01-05T01:32:01.0000000Z","createdBy":"x","updatedBy":"y",` +
		`"delegatedManagedIdentityResourceId":null}}`
	a := authz.Assignment{
		ID: "a-1", Scope: "/subscriptions/S/resourceGroups/g", RoleDefinitionID: "r-1", PrincipalID: "p", PrincipalType: "User",
		CreatedBy: "x", Created: testTime, UpdatedBy: "y", Updated: testTime,
	}
	if got := marshal(t, newAssignment(a, "S")); got != want {
		t.Errorf("newAssignment =\n%s\nwant\n%s", got, want)
	}
	a.Scope = "/"
	if got, want := newAssignment(a, "S").ID, "/providers/Microsoft.Authorization/roleAssignments/a-1"; got != want {
		t.Errorf("id at the root = %q, want %q", got, want)
	}
}

func TestAssignmentCheck(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	for _, tt := range []struct{ id, body, want string }{ // want: a part of the refusal, "" for none
		{id, `{"properties":{"roleDefinitionId":"r","principalId":"p","condition":null,"conditionVersion":null}}`, ""},
		{id, `{"properties":{"roleDefinitionId":"r","principalId":"p","condition":""}}`, ""},
		{id, `{"properties":{"roleDefinitionId":"r","principalId":"p","condition":"@Resource[x] StringEquals 'y'"}}`, "condition"},
		{id, `{"properties":{"principalId":"p"}}`, "roleDefinitionId"},
		{id, `{}`, "required"},
		{"mine", `{"properties":{"roleDefinitionId":"r","principalId":"p"}}`, "want a GUID"},
	} {
		var in AssignmentBody
		if err := json.Unmarshal([]byte(tt.body), &in); err != nil {
			t.Fatal(err)
		}
		err := in.Check(tt.id)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Check(%q, %s) = %v, want %q", tt.id, tt.body, err, tt.want)
		}
	}
}

func TestNewRole(t *testing.T) {
	const want = `{"id":"/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6",` +
		`"name":"4633458b-17de-408a-b874-0445c86b69e6","type":"Microsoft.Authorization/roleDefinitions","properties":{` +
		`"roleName":"Key Vault Secrets User","type":"BuiltInRole",` +
		`"description":"Read secret contents. Only works for key vaults that use the 'Azure role-based access control' permission model.",` +
		`"assignableScopes":["/"],"permissions":[{"actions":[],"notActions":[],` +
		`"dataActions":["Microsoft.KeyVault/vaults/secrets/getSecret/action","Microsoft.KeyVault/vaults/secrets/readMetadata/action"],` +
		`"notDataActions":[]}],"createdOn":null,"updatedOn":null,"createdBy":null,"updatedBy":null}}`
	r, _ := authz.RoleByID("4633458b-17de-408a-b874-0445c86b69e6")
	if got := marshal(t, newRole(r, resource.Group("S", "g"))); got != want {
		t.Errorf("newRole =\n%s\nwant\n%s", got, want)
	}
	r, _ = authz.RoleByID("8b54135c-b56d-4d72-a534-26097cfdc8d8")
	got := newRole(r, resource.Root)
	if p := got.Properties.Permissions[0]; p.ConditionVersion != "2.0" || !strings.HasPrefix(p.Condition, "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[") {
		t.Errorf("condition = %q, version %q", p.Condition, p.ConditionVersion)
	}
	if want := "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID; got.ID != want {
		t.Errorf("id at the root = %q, want %q", got.ID, want)
	}
}

func TestIdentityName(t *testing.T) {
	for name, ok := range map[string]bool{
		"app": true, "app_1-x": true, "1pp": true, strings.Repeat("a", 128): true,
		"ab": false, "": false, "-app": false, "a.b": false, "a b": false, strings.Repeat("a", 129): false,
	} {
		if err := checkIdentityName(name); (err == nil) != ok {
			t.Errorf("checkIdentityName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestNewIdentity(t *testing.T) {
	const want = `{"id":"/x/app","name":"app","type":"Microsoft.ManagedIdentity/userAssignedIdentities","location":"local","tags":{},` +
		`"properties":{"tenantId":"11111111-2222-4333-8444-555555555555","principalId":"o","clientId":"c"}}`
	p := identity.Principal{ObjectID: "o", AppID: "c", Name: "app", ResourceID: "/x/app", Location: "local"}
	if got := marshal(t, newIdentity(p, testTenant)); got != want {
		t.Errorf("newIdentity =\n%s\nwant\n%s", got, want)
	}
}
