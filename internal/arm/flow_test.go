//go:build unix

package arm

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// A world is the face behind a real pipeline and database. Callers are given, so no tokens are
// needed.
type world struct {
	t        *testing.T
	pipeline *operation.Pipeline
	table    *operation.Table
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	ring := dbtest.Ring(t)
	err := d.Update(t.Context(), keyring.ChangeLocks(), func(tx *db.Tx) error {
		return keyring.Create(tx, testTenant, dbtest.Roots(t).Newest(), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	directory := &identity.Store{Ring: ring, Tenant: testTenant}
	rights := &authz.Store{Tenant: testTenant, Identity: directory}
	return &world{
		t: t,
		pipeline: &operation.Pipeline{
			DB: d, Authz: rights, Families: resource.Families{testFamily}, Counter: new(audit.Counter),
			Log: slog.New(slog.DiscardHandler), Node: "test", Observe: func(string, string, int, time.Duration) {}, OnTampered: func() {},
		},
		table: New(Options{
			Vaults: &vaults.Store{Ring: ring, Tenant: testTenant, Authz: rights}, Authz: rights, Identity: directory,
			Tenant: testTenant, Subscription: testSubscription, SubscriptionName: "Test", Region: "local", Skip: ring,
		}),
	}
}

// do sends a request; target is a path with its query, below the subscription where it begins
// with "~". A nil caller is a stranger.
func (w *world) do(caller *identity.Caller, method, target, body string) (int, map[string]any) {
	w.t.Helper()
	if rest, ok := strings.CutPrefix(target, "~"); ok {
		target = "/subscriptions/" + testSubscription + rest
	}
	path, query, _ := strings.Cut(target, "?")
	if !strings.Contains(query, "api-version=") {
		query = "api-version=2026-02-01&" + query
	}
	r := w.pipeline.Do(context.Background(), w.table, &operation.Request{
		Method: method, Path: path, Query: query, Header: http.Header{}, Body: strings.NewReader(body),
		Host: resource.Host{Family: testFamily, Face: resource.Management, Text: "management.example.org:8443"}, Caller: caller,
	})
	out := map[string]any{}
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &out); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, target, err, r.Body)
		}
	}
	return r.Status, out
}

// want sends a request as the owner and checks status and, if it is not "", the value at a
// dotted path of the answer.
func (w *world) want(method, target, body string, status int, at, value string) map[string]any {
	w.t.Helper()
	return w.wantAs(operation.LocalOwner(), method, target, body, status, at, value)
}

func (w *world) wantAs(caller *identity.Caller, method, target, body string, status int, at, value string) map[string]any {
	w.t.Helper()
	got, answer := w.do(caller, method, target, body)
	if got != status || at != "" && dig(answer, at) != value {
		w.t.Errorf("%s %s = %d %v, want %d with %s = %q", method, target, got, answer, status, at, value)
	}
	return answer
}

func dig(answer map[string]any, at string) any {
	var v any = answer
	for _, name := range strings.Split(at, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func names(answer map[string]any) string {
	var out []string
	list, _ := answer["value"].([]any)
	for _, item := range list {
		name, _ := item.(map[string]any)["name"].(string)
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

const (
	vaultBelow   = "~/resourceGroups/Main/providers/Microsoft.KeyVault/vaults/"
	deletedBelow = "~/providers/Microsoft.KeyVault/locations/local/deletedVaults/"
	newVaultBody = `{"location":"local","properties":{"sku":{"family":"A","name":"standard"},"tenantId":"` + testTenant + `"}}`
)

func TestVaultLife(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		for method, body := range map[string]string{"PUT": newVaultBody, "GET": "", "PATCH": "{}"} {
			w.want(method, vaultBelow+"payroll", body, 404, "error.code", "ResourceGroupNotFound")
		}
		w.want("PUT", "~/resourcegroups/Main", `{"location":"local","tags":{"a":"b"}}`, 201, "properties.provisioningState", "Succeeded")
		w.want("PUT", "~/resourceGroups/MAIN", `{"location":"local"}`, 200, "name", "Main")
		w.want("HEAD", "~/resourcegroups/main", "", 204, "", "")
		w.want("HEAD", "~/resourcegroups/other", "", 404, "error.code", "ResourceGroupNotFound")
		w.want("PUT", vaultBelow+"payroll", `{"location":"local"}`, 400, "error.code", "InvalidRequestContent")
		w.want("PUT", vaultBelow+"payroll", newVaultBody, 201, "properties.vaultUri", "https://payroll.vault.example.org:8443/")
		w.want("PUT", vaultBelow+"payroll", newVaultBody, 200, "systemData.createdBy", identity.LocalOwnerID)
		w.want("PATCH", vaultBelow+"payroll", `{"tags":{"team":"x"}}`, 200, "tags.team", "x")
		w.want("PATCH", vaultBelow+"payroll", `{"properties":{"createMode":"recover"}}`, 400, "error.code", "InvalidParameter")
		w.want("PATCH", vaultBelow+"absent", `{}`, 404, "error.code", "ResourceNotFound")
		w.want("GET", vaultBelow+"PAYROLL", "", 200, "name", "payroll")
		w.want("POST", "~/providers/Microsoft.KeyVault/checkNameAvailability", `{"name":"payroll","type":"Microsoft.KeyVault/vaults"}`, 200, "reason", "AlreadyExists")
		w.want("DELETE", vaultBelow+"payroll", "", 200, "", "")
		w.want("DELETE", vaultBelow+"payroll", "", 204, "", "")
		w.want("GET", vaultBelow+"payroll", "", 404, "error.code", "ResourceNotFound")
		w.want("PUT", vaultBelow+"payroll", newVaultBody, 409, "error.code", "ConflictError")
		w.want("GET", deletedBelow+"payroll", "", 200, "type", "Microsoft.KeyVault/deletedVaults")
		w.want("PUT", vaultBelow+"payroll", `{"location":"local","properties":{"createMode":"recover"}}`, 200, "tags.team", "x")
		w.want("GET", deletedBelow+"payroll", "", 404, "error.code", "DeletedVaultNotFound")
		w.want("DELETE", vaultBelow+"payroll", "", 200, "", "")
		w.want("POST", deletedBelow+"payroll/purge", "", 200, "", "")
		w.want("PUT", vaultBelow+"payroll?api-version=2023-07-01", newVaultBody, 201, "name", "payroll")
		if answer := w.want("GET", vaultBelow+"payroll", "", 200, "", ""); dig(answer, "properties.enableRbacAuthorization") != false {
			t.Errorf("a vault made by an old api-version = %v, want access policies", answer)
		}
	})
}

func TestLists(t *testing.T) {
	w := newWorld(t, dbtest.Open(t, dbtest.SQLiteOptions(t)))
	w.want("PUT", "~/resourceGroups/Main", `{"location":"local"}`, 201, "", "")
	for _, name := range []string{"a-vault", "b-vault", "c-vault"} {
		w.want("PUT", vaultBelow+name, newVaultBody, 201, "", "")
	}
	const list = "~/providers/Microsoft.KeyVault/vaults"
	first := w.want("GET", list+"?$top=2", "", 200, "", "")
	next, err := url.Parse(first["nextLink"].(string))
	if err != nil || next.Host != "management.example.org:8443" || names(first) != "a-vault b-vault" {
		t.Fatalf("first page = %v, want two vaults and a link", first)
	}
	second := w.want("GET", next.RequestURI(), "", 200, "", "")
	if names(second) != "c-vault" || second["nextLink"] != nil {
		t.Errorf("second page = %v, want c-vault alone", second)
	}
	// A token is good for its own list only.
	token := next.Query().Get("$skiptoken")
	w.want("GET", "~/resources?$skiptoken="+token, "", 400, "error.code", "InvalidSkipToken")
	w.want("GET", "~/resourceGroups/Other/providers/Microsoft.KeyVault/vaults", "", 404, "error.code", "ResourceGroupNotFound")
	for filter, want := range map[string]string{
		"resourceType eq 'microsoft.keyvault/VAULTS'":                       "a-vault b-vault c-vault",
		"resourceType eq 'Microsoft.KeyVault/vaults' and name eq 'B-VAULT'": "b-vault",
		"resourceType eq 'Microsoft.KeyVault/managedHSMs'":                  "",
		"name eq 'absent'": "",
		"resourceGroup eq 'main' and name eq 'a-vault'":  "a-vault",
		"resourceGroup eq 'other' and name eq 'a-vault'": "",
	} {
		if got := names(w.want("GET", "~/resources?$filter="+url.QueryEscape(filter), "", 200, "", "")); got != want {
			t.Errorf("resources %q = %q, want %q", filter, got, want)
		}
	}
	if got := names(w.want("GET", "~/resourceGroups", "", 200, "", "")); got != "Main" {
		t.Errorf("resource groups = %q, want Main", got)
	}
	w.want("GET", "/subscriptions", "", 200, "", "")
	w.want("GET", "/subscriptions/other", "", 404, "error.code", "SubscriptionNotFound")
	w.want("GET", "/subscriptions/other/resourceGroups", "", 404, "error.code", "SubscriptionNotFound")
	w.want("GET", "/tenants", "", 200, "", "")
	w.wantAs(nil, "GET", "/metadata/endpoints?api-version=2022-09-01", "", 200, "name", "Strongroom")
	w.wantAs(nil, "GET", "/metadata/endpoints?api-version=2022-09-02", "", 400, "error.code", "InvalidApiVersionParameter")
	w.wantAs(nil, "GET", "/subscriptions", "", 401, "error.code", "AuthenticationFailed")
}

const (
	identityBelow  = "~/resourceGroups/Main/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	assignAt       = "/providers/Microsoft.Authorization/roleAssignments/"
	secretsUser    = "4633458b-17de-408a-b874-0445c86b69e6"
	contributor    = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	dataAccessRole = "8b54135c-b56d-4d72-a534-26097cfdc8d8"
)

func assignmentBody(role, principal string) string {
	return `{"properties":{"roleDefinitionId":"/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/` + role + `","principalId":"` + principal + `"}}`
}

// An assigner with a narrowed role may give and take away only the roles that it names, and sees
// a denial before it learns what exists.
func TestAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		w.want("PUT", identityBelow+"helper", `{"location":"local"}`, 404, "error.code", "ResourceGroupNotFound")
		w.want("GET", identityBelow+"helper", "", 404, "error.code", "ResourceGroupNotFound")
		w.want("PUT", "~/resourceGroups/Main", `{"location":"local"}`, 201, "", "")
		w.want("PUT", vaultBelow+"payroll", newVaultBody, 201, "", "")
		made := w.want("PUT", identityBelow+"helper", `{"location":"Local"}`, 201, "location", "local")
		w.want("PUT", identityBelow+"HELPER", `{"location":"local","tags":{"a":"b"}}`, 200, "name", "helper")
		object, _ := dig(made, "properties.principalId").(string)
		helper := &identity.Caller{ObjectID: object, Kind: identity.ManagedIdentity, Name: "helper"}

		w.wantAs(helper, "GET", vaultBelow+"absent", "", 403, "error.code", "AuthorizationFailed")
		at := vaultBelow + "payroll" + assignAt
		own, other, third := db.NewGUID(), db.NewGUID(), db.NewGUID()
		w.want("PUT", at+own, assignmentBody(dataAccessRole, object), 201, "properties.principalType", "ServicePrincipal")
		w.want("PUT", at+own, assignmentBody(dataAccessRole, object), 200, "name", own)
		w.want("PUT", at+third, assignmentBody(dataAccessRole, object), 409, "error.code", "RoleAssignmentExists")
		w.want("PUT", vaultBelow+"absent"+assignAt+third, assignmentBody(secretsUser, object), 404, "error.code", "ResourceNotFound")
		w.want("PUT", at+third, assignmentBody(secretsUser, db.NewGUID()), 400, "error.code", "PrincipalNotFound")

		w.wantAs(helper, "PUT", at+third, assignmentBody(contributor, object), 403, "error.code", "AuthorizationFailed")
		w.wantAs(helper, "DELETE", at+own, "", 403, "error.code", "AuthorizationFailed")
		w.wantAs(helper, "PUT", at+other, assignmentBody(secretsUser, object), 201, "name", other)
		w.wantAs(helper, "PUT", "~"+assignAt+third, assignmentBody(secretsUser, object), 403, "error.code", "AuthorizationFailed")
		filter := "?$filter=" + url.QueryEscape("principalId eq '"+object+"'")
		list := w.wantAs(helper, "GET", strings.TrimSuffix(at, "/")+filter, "", 200, "", "")
		if got := names(list); got != own+" "+other && got != other+" "+own {
			t.Errorf("assignments = %q, want %s and %s", got, own, other)
		}
		w.wantAs(helper, "DELETE", at+other, "", 200, "name", other)
		w.wantAs(helper, "DELETE", at+other, "", 204, "", "")
		w.want("GET", at+other, "", 404, "error.code", "RoleAssignmentNotFound")
		w.want("DELETE", identityBelow+"helper", "", 200, "", "")
		w.want("DELETE", identityBelow+"helper", "", 204, "", "")
		w.wantAs(helper, "GET", vaultBelow+"payroll", "", 401, "error.code", "InvalidAuthenticationToken")
	})
}

// The audit entry of a creation names the vault that it made; nothing is recorded as changed by
// a deletion of nothing.
func TestAuditNamesTheVault(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLiteOptions(t))
	w := newWorld(t, d)
	w.want("PUT", "~/resourceGroups/Main", `{"location":"local"}`, 201, "", "")
	w.want("PUT", vaultBelow+"payroll", newVaultBody, 201, "", "")
	w.want("GET", vaultBelow+"payroll", "", 200, "", "")
	w.want("DELETE", vaultBelow+"absent", "", 204, "", "")
	err := d.Update(t.Context(), audit.NumberingLocks(), func(tx *db.Tx) error {
		_, err := audit.Number(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = d.View(t.Context(), func(tx *db.Tx) error {
		entries, err := (&audit.Archive{}).Read(tx, 1, 10)
		for _, e := range entries {
			got = append(got, e.Entry.Operation+" "+e.Entry.Vault+" "+e.Entry.Code)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "ResourceGroupPut  |VaultPut payroll |VaultGet payroll |VaultDelete  NothingToDelete"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("audit log = %q, want %q", text, want)
	}
}
