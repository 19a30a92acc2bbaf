//go:build unix

package crash

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// An item is an entry of a list, of whatever face.
type item struct {
	ID          string
	Name        string
	ContentType string
}

// listAll reads all pages of a list.
func listAll(c *client, r request, also ...int) (out []item, err error) {
	for r.path != "" {
		var page struct {
			Value    []item
			NextLink string
		}
		if _, err := look(c, r, &page, also...); err != nil {
			return nil, err
		}
		out = append(out, page.Value...)
		next, err := url.Parse(page.NextLink)
		if err != nil {
			return nil, fmt.Errorf("%s: next link: %w", r.op, err)
		}
		r.path = next.RequestURI()
		if page.NextLink == "" {
			r.path = ""
		}
	}
	return out, nil
}

// A list is one in which things of a kind appear while they are in a life.
type list struct {
	kind *kind
	life string
	ask  func(h *home) request
}

var lists = []list{
	{secretKind, active, func(h *home) request { return h.data("SecretList", "GET", "/secrets", "") }},
	{secretKind, deleted, func(h *home) request { return h.data("SecretListDeleted", "GET", "/deletedsecrets", "") }},
	{vaultKind, active, func(h *home) request { return manage("VaultList", "GET", h.vaults()+vaultVersion, "") }},
	{vaultKind, active, func(h *home) request {
		return manage("VaultListBySubscription", "GET", h.subscription()+"/providers/Microsoft.KeyVault/vaults"+vaultVersion, "")
	}},
	{vaultKind, active, func(h *home) request {
		return manage("ResourceList", "GET", h.subscription()+"/resources?api-version=2015-11-01&$filter="+url.QueryEscape("resourceType eq 'Microsoft.KeyVault/vaults'"), "")
	}},
	{vaultKind, deleted, func(h *home) request {
		return manage("VaultListDeleted", "GET", h.subscription()+"/providers/Microsoft.KeyVault/deletedVaults"+vaultVersion, "")
	}},
	{identityKind, active, func(h *home) request {
		return manage("ManagedIdentityList", "GET", h.identities()+msiVersion, "")
	}},
	{identityKind, active, func(h *home) request {
		return manage("ManagedIdentityListBySubscription", "GET", h.subscription()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities"+msiVersion, "")
	}},
	{resourceGroupKind, active, func(h *home) request {
		return manage("ResourceGroupList", "GET", h.subscription()+"/resourceGroups"+groupVersion, "")
	}},
}

// judgeList wants in a list exactly those of the things whose life, as it was seen, is the list's.
func judgeList(c *client, h *home, l list, lifeOf map[*thing]string) (faults []fault, err error) {
	found, err := listAll(c, l.ask(h))
	if err != nil {
		return nil, err
	}
	times := map[string]int{}
	for _, i := range found {
		times[lastSegment(i.ID)]++
	}
	for x, is := range lifeOf {
		want := 0
		if is == l.life {
			want = 1
		}
		if got := times[x.name]; x.kind == l.kind && got != want {
			faults = append(faults, faultf(half, "%s lists %s %q %d times, want %d: it is %q", l.ask(h).op, x.kind.name, x.name, got, want, is))
		}
	}
	return faults, nil
}

// reads are the requests of readers that are about no thing, and those that change how things are
// sealed but nothing that can be seen. All must succeed, or get what they allow beside.
func (h *home) reads() []request {
	sub, role := h.subscription(), "/providers/Microsoft.Authorization/roleDefinitions"
	out := []request{
		manage("VaultCheckName", "POST", sub+"/providers/Microsoft.KeyVault/checkNameAvailability"+vaultVersion, `{"name":"free-name","type":"Microsoft.KeyVault/vaults"}`),
		manage("RoleAssignmentList", "GET", h.group()+"/providers/Microsoft.Authorization/roleAssignments"+accessVersion+"&$filter=atScope()", ""),
		manage("RoleDefinitionGet", "GET", h.group()+role+"/"+secretsUser+accessVersion, ""),
		manage("RoleDefinitionList", "GET", h.group()+role+accessVersion, ""),
		manage("SubscriptionList", "GET", "/subscriptions?api-version=2022-12-01", ""),
		manage("SubscriptionGet", "GET", sub+"?api-version=2022-12-01", ""),
		manage("TenantList", "GET", "/tenants?api-version=2022-12-01", ""),
		manage("MetadataEndpoints", "GET", "/metadata/endpoints?api-version=2022-09-01", ""),
		{op: "About", method: "GET", host: "local", path: "/about"},
		manage("AuditEntryList", "GET", "/audit/entries?limit=3", ""),
		manage("RootKeyList", "GET", "/rootKeys", ""),
		h.rotateDataKey(),
		changeRootKey,
		manage("Dump", "POST", "/dump", ""),
		graph("GroupList", "GET", "groups?$top=5", ""),
		graph("ApplicationList", "GET", "applications?$top=5", ""),
		graph("ServicePrincipalList", "GET", "servicePrincipals?$top=5", ""),
		graph("ServicePrincipalGet", "GET", "servicePrincipals/"+h.members[0], ""),
		graph("DirectoryObjectsGetByIds", "POST", "directoryObjects/getByIds", fmt.Sprintf(`{"ids":[%q,%q]}`, h.members[0], h.members[1])),
		graph("MeGet", "GET", "me", ""),
		login("InstanceDiscovery", "/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.localhost/"+h.about.Tenant+"/oauth2/v2.0/authorize"),
		login("OpenIDConfiguration", "/"+h.about.Tenant+"/v2.0/.well-known/openid-configuration"),
		login("OpenIDConfigurationV1", "/"+h.about.Tenant+"/.well-known/openid-configuration"),
		login("SigningKeys", "/"+h.about.Tenant+"/discovery/v2.0/keys"),
		login("SigningKeysV1", "/"+h.about.Tenant+"/discovery/keys"),
		h.instanceToken(),
	}
	for _, op := range []string{"TokenIssue", "TokenIssueV1", "TokenIssueADFS"} {
		out = append(out, signIn(op, h.about.Tenant, h.reader.AppID, h.reader.Secret.SecretText))
	}
	for _, l := range lists {
		r := l.ask(h)
		if host := r.host; host == served.ManagementHost {
			r.path += "&$top=5"
		}
		out = append(out, r)
	}
	return out
}

// rotateDataKey begins to seal the round's secrets anew; one such work at a time.
func (h *home) rotateDataKey() request {
	r := manage("VaultDataKeyRotate", "POST", h.vaults()+"/"+h.vault+"/rotateDataKey"+vaultVersion, "")
	r.also = http.StatusConflict
	return r
}

// changeRootKey is refused here: nobody has given the server a new root key.
var changeRootKey = request{op: "RootKeyChange", method: "POST", host: served.ManagementHost, path: "/rootKeys/change", also: http.StatusConflict}

func login(op, path string) request {
	return request{op: op, method: "GET", host: loginHost, path: path}
}

// instanceToken asks for a managed identity's token in the IMDS form.
func (h *home) instanceToken() request {
	return request{
		op: "ManagedIdentityToken", method: "GET",
		url:    "http://" + h.msi + "/metadata/identity/oauth2/token?api-version=2018-02-01&client_id=" + h.client + "&resource=" + url.QueryEscape(served.VaultResource),
		header: map[string]string{"Metadata": "true"},
	}
}

// aRun opens a run, asks for a token with its secret, and ends it.
func (h *home) aRun(c *client) (faults []fault) {
	judge := func(r request) {
		t, body := c.send(r)
		if t.answered() && !t.succeeded() {
			faults = append(faults, faultf(wrong, "%s got %d: %s", r.op, t.status, body))
		}
	}
	judge(request{
		op: "RunStart", method: "POST", host: loginHost, path: "/runs", body: fmt.Sprintf(`{"identity":%q}`, h.client),
		during: func(line []byte) {
			var run struct {
				Started struct{ IdentityEndpoint, Secret string } `json:"started"`
			}
			if err := json.Unmarshal(line, &run, json.MatchCaseInsensitiveNames(true)); err != nil {
				faults = append(faults, faultf(wrong, "RunStart began with %q: %v", line, err))
				return
			}
			judge(request{
				op: "ManagedIdentityTokenAppService", method: "GET",
				url:    run.Started.IdentityEndpoint + "?api-version=2019-08-01&resource=" + url.QueryEscape(served.VaultResource),
				header: map[string]string{"X-IDENTITY-HEADER": run.Started.Secret},
			})
		},
	})
	return faults
}

// undocumented are operations of docs/api.md without a place in the mix, and the other way round.
func undocumented(documented []string, h *home) (missing, unknown []string) {
	var mixed []string
	for _, r := range h.reads() {
		mixed = append(mixed, r.op)
	}
	for _, k := range kinds {
		for _, st := range k.steps {
			mixed = append(mixed, st.op)
		}
	}
	mixed = append(mixed, strings.Fields(seenBy)...)
	for _, op := range documented {
		if !slices.Contains(mixed, op) {
			missing = append(missing, op)
		}
	}
	for _, op := range mixed {
		if !slices.Contains(documented, op) {
			unknown = append(unknown, op)
		}
	}
	return missing, unknown
}

// seenBy are the operations by which the kinds' own readings look at things, and those of a run.
const seenBy = `
	SecretGetDeleted SecretListVersions VaultGet VaultGetDeleted RoleAssignmentGet ManagedIdentityGet
	ResourceGroupGet ResourceGroupExists GroupGet GroupListMembers
	RunStart ManagedIdentityTokenAppService`
