package cli

import (
	"strings"
	"testing"
)

const (
	arm     = "management.test"
	groupG  = "/subscriptions/S/resourceGroups/g"
	vaultV  = groupG + "/providers/Microsoft.KeyVault/vaults/v"
	vaults  = "GET " + arm + "/subscriptions/S/providers/Microsoft.KeyVault/vaults?api-version=2026-02-01"
	oneV    = `200 {"value":[{"id":"` + vaultV + `","name":"v","location":"here"}]}`
	people  = "GET graph.test/v1.0/servicePrincipals"
	twoWebs = `200 {"value":[{"id":"o1","appId":"c1","displayName":"web","servicePrincipalType":"Application"},` +
		`{"id":"o2","appId":"c2","displayName":"job","servicePrincipalType":"ManagedIdentity","alternativeNames":["isExplicit=True","/subscriptions/S/x/job"]},` +
		`{"id":"o3","appId":"c3","displayName":"twin"},{"id":"o4","appId":"c4","displayName":"Twin"}]}`
	roles   = "/providers/Microsoft.Authorization/roleDefinitions?"
	oneRole = `200 {"value":[{"id":"/r/g1","name":"g1","properties":{"roleName":"Key Vault Reader","description":"Read. Not more."}}]}`
	someApp = `200 {"value":[{"id":"a1","passwordCredentials":[{"keyId":"k1"}],"keyCredentials":[{"keyId":"k2"}]}]}`
	// credentials are of someApp, with what a person sees of them.
	credentials = `200 {"value":[{"id":"a1","passwordCredentials":[{"keyId":"k1","hint":"abc","endDateTime":"2027-01-31T00:00:00Z"}],` +
		`"keyCredentials":[{"keyId":"k2","displayName":"laptop","endDateTime":"2027-02-28T00:00:00Z"}]}]}`
	appFilter = "GET graph.test/v1.0/applications?%24filter=appId+eq+%27c1%27"
)

func TestManagementCommands(t *testing.T) {
	assignments := "GET " + arm + vaultV + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01"
	oneAssignment := `200 {"value":[{"id":"/a/1","properties":{"roleDefinitionId":"/x/g1","principalId":"o1","principalType":"ServicePrincipal","scope":"` + vaultV + `"}}]}`
	findRole := "GET " + arm + vaultV + roles + "%24filter=roleName+eq+%27Key+Vault+Reader%27&api-version=2022-04-01"
	listRoles := "GET " + arm + vaultV + roles + "api-version=2022-04-01"
	for _, tt := range []struct {
		name     string
		args     []string
		answers  map[string][]string
		requests []string
		want     result
	}{
		{
			name: "create a vault", args: []string{"vault", "create", "w", "--tag", "team=hr", "--retention-days", "7", "--purge-protection"},
			answers: map[string][]string{
				"GET " + arm + groupG + "?api-version=2024-03-01":                                       {`200 {"location":"here"}`},
				"PUT " + arm + groupG + "/providers/Microsoft.KeyVault/vaults/w?api-version=2026-02-01": {`201 {"name":"w"}`},
			},
			requests: []string{
				"GET " + arm + groupG + "/providers/Microsoft.KeyVault/vaults/w?api-version=2026-02-01",
				"GET " + arm + groupG + "?api-version=2024-03-01",
				"PUT " + arm + groupG + `/providers/Microsoft.KeyVault/vaults/w?api-version=2026-02-01 {"location":"here","properties":{"enablePurgeProtection":true,"enableRbacAuthorization":true,"sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7,"tenantId":"T"},"tags":{"team":"hr"}}`,
			},
			want: result{0, "Name  w\n", ""},
		},
		{
			name: "a vault that is there is not changed by create", args: []string{"vault", "create", "v"},
			answers:  map[string][]string{"GET " + arm + vaultV + "?api-version=2026-02-01": {"200 {}"}},
			requests: []string{"GET " + arm + vaultV + "?api-version=2026-02-01"},
			want:     result{1, "", "strongroom: the vault \"v\" exists already\n"},
		},
		{
			name: "show finds the vault's group", args: []string{"vault", "show", "V"},
			answers:  map[string][]string{vaults: {oneV}, "GET " + arm + vaultV + "?api-version=2026-02-01": {`200 {"id":"` + vaultV + `","name":"v"}`}},
			requests: []string{vaults, "GET " + arm + vaultV + "?api-version=2026-02-01"},
			want:     result{0, "Name   v\nGroup  g\n", ""},
		},
		{
			name: "no vault", args: []string{"vault", "delete", "x"},
			answers: map[string][]string{vaults: {oneV}}, requests: []string{vaults},
			want: result{1, "", "strongroom: no vault named \"x\"\nstrongroom: hint: \"strongroom vault list\" shows the names\n"},
		},
		{
			name: "recover", args: []string{"vault", "recover", "v"},
			answers: map[string][]string{
				"GET " + arm + "/subscriptions/S/providers/Microsoft.KeyVault/deletedVaults?api-version=2026-02-01": {`200 {"value":[{"id":"/d/v","name":"v","properties":{"vaultId":"` + vaultV + `","location":"here"}}]}`},
				"PUT " + arm + vaultV + "?api-version=2026-02-01":                                                   {`200 {"name":"v"}`},
			},
			requests: []string{
				"GET " + arm + "/subscriptions/S/providers/Microsoft.KeyVault/deletedVaults?api-version=2026-02-01",
				"PUT " + arm + vaultV + `?api-version=2026-02-01 {"location":"here","properties":{"createMode":"recover","sku":{"family":"A","name":"standard"},"tenantId":"T"}}`,
			},
			want: result{0, "Name  v\n", ""},
		},
		{
			name: "assign a role by names", args: []string{"role", "assign", "--role", "Key Vault Reader", "--to", "web", "--vault", "v", "-o", "json"},
			answers: map[string][]string{
				vaults: {oneV}, findRole: {oneRole}, people: {twoWebs},
				"PUT " + arm + vaultV + "/providers/Microsoft.Authorization/roleAssignments/GUID?api-version=2022-04-01": {`201 {}`},
			},
			requests: []string{
				vaults, findRole, people,
				"PUT " + arm + vaultV + `/providers/Microsoft.Authorization/roleAssignments/GUID?api-version=2022-04-01 {"properties":{"roleDefinitionId":"/r/g1","principalId":"o1","principalType":"ServicePrincipal"}}`,
			},
			want: result{0, "{}\n", ""},
		},
		{
			name: "a name that two have", args: []string{"role", "assign", "--role", "Key Vault Reader", "--to", "twin", "--vault", "v"},
			answers:  map[string][]string{vaults: {oneV}, findRole: {oneRole}, people: {twoWebs}},
			requests: []string{vaults, findRole, people},
			want:     result{1, "", "strongroom: 2 identities are named \"twin\": want a client id or object id\nstrongroom: hint: \"strongroom identity list\" shows names and ids\n"},
		},
		{
			name: "remove a role", args: []string{"role", "remove", "--role", "Key Vault Reader", "--to", "c1", "--vault", "v"},
			answers:  map[string][]string{vaults: {oneV}, findRole: {oneRole}, people: {twoWebs}, assignments: {oneAssignment}, "DELETE " + arm + "/a/1?api-version=2022-04-01": {"200 {}"}},
			requests: []string{vaults, findRole, people, assignments, "DELETE " + arm + "/a/1?api-version=2022-04-01"},
			want:     result{0, "", "strongroom: removed the role \"Key Vault Reader\" of \"c1\" at " + vaultV + "\n"},
		},
		{
			name: "list roles with names", args: []string{"role", "list", "--vault", "v"},
			answers:  map[string][]string{vaults: {oneV}, listRoles: {oneRole}, people: {twoWebs}, assignments: {oneAssignment}},
			requests: []string{vaults, assignments, listRoles, people},
			want: result{0, "ROLE              NAME  PRINCIPAL  TYPE              SCOPE\n" +
				"Key Vault Reader  web   o1         ServicePrincipal  " + vaultV + "\n", ""},
		},
		{
			name: "definitions", args: []string{"role", "definitions", "--scope", "/"},
			answers:  map[string][]string{"GET " + arm + roles + "api-version=2022-04-01": {oneRole}},
			requests: []string{"GET " + arm + roles + "api-version=2022-04-01"},
			want:     result{0, "ROLE              ID  DESCRIPTION\nKey Vault Reader  g1  Read\n", ""},
		},
		{
			name: "list identities", args: []string{"identity", "list"},
			answers: map[string][]string{people: {twoWebs}}, requests: []string{people},
			want: result{0, "NAME  CLIENT ID  OBJECT ID  KIND\nweb   c1         o1         service principal\njob   c2         o2         managed identity\n" +
				"twin  c3         o3         service principal\nTwin  c4         o4         service principal\n", ""},
		},
		{
			name: "an application whose principal fails is taken back", args: []string{"identity", "create", "new"},
			answers: map[string][]string{
				people: {`200 {"value":[]}`}, "POST graph.test/v1.0/applications": {`201 {"id":"a9","appId":"c9"}`},
				"POST graph.test/v1.0/servicePrincipals": {`503 {}`}, "DELETE graph.test/v1.0/applications/a9": {"204 "},
			},
			requests: []string{
				people, `POST graph.test/v1.0/applications {"displayName":"new"}`,
				`POST graph.test/v1.0/servicePrincipals {"appId":"c9"}`, "DELETE graph.test/v1.0/applications/a9",
			},
			want: result{1, "", "strongroom: the server answered 503 Service Unavailable\n"},
		},
		{
			name: "delete a managed identity", args: []string{"identity", "delete", "job"},
			answers:  map[string][]string{people: {twoWebs}, "DELETE " + arm + "/subscriptions/S/x/job?api-version=2024-11-30": {"200 "}},
			requests: []string{people, "DELETE " + arm + "/subscriptions/S/x/job?api-version=2024-11-30"},
			want:     result{0, "", "strongroom: deleted the identity \"job\"\n"},
		},
		{
			name: "a client secret goes to standard output alone", args: []string{"identity", "add-secret", "web", "--expires", "2027-01-31"},
			answers: map[string][]string{
				people: {twoWebs}, appFilter: {someApp},
				"POST graph.test/v1.0/applications/a1/addPassword": {`200 {"secretText":"s3cret","keyId":"k9","endDateTime":"2027-01-31T00:00:00Z"}`},
			},
			requests: []string{people, appFilter, `POST graph.test/v1.0/applications/a1/addPassword {"passwordCredential":{"displayName":"","endDateTime":"2027-01-31T00:00:00Z"}}`},
			want:     result{0, "s3cret\n", "strongroom: key id k9, expires 2027-01-31T00:00:00Z; the secret is shown this once\n"},
		},
		{
			name: "show an application", args: []string{"identity", "show", "web"},
			answers: map[string][]string{people: {twoWebs}, appFilter: {credentials}}, requests: []string{people, appFilter},
			want: result{0, "Name       web\nClient id  c1\nObject id  o1\nKind       service principal\nTenant     T\n\n" +
				"CREDENTIAL   KEY ID  NAME    BEGINS WITH  EXPIRES\nsecret       k1      -       abc          2027-01-31T00:00:00Z\ncertificate  k2      laptop  -            2027-02-28T00:00:00Z\n", ""},
		},
		{
			name: "show an application as JSON, with its credentials", args: []string{"identity", "show", "c1", "-o", "json"},
			answers: map[string][]string{people: {twoWebs}, appFilter: {credentials}}, requests: []string{people, appFilter},
			want: result{0, `{
  "appId": "c1",
  "displayName": "web",
  "id": "o1",
  "keyCredentials": [
    {
      "keyId": "k2",
      "displayName": "laptop",
      "endDateTime": "2027-02-28T00:00:00Z"
    }
  ],
  "passwordCredentials": [
    {
      "keyId": "k1",
      "hint": "abc",
      "endDateTime": "2027-01-31T00:00:00Z"
    }
  ],
  "servicePrincipalType": "Application"
}
`, ""},
		},
		{
			name: "show a managed identity as JSON", args: []string{"identity", "show", "c2", "-o", "json"},
			answers: map[string][]string{people: {`200 {"value":[{"id":"o2","appId":"c2","servicePrincipalType":"ManagedIdentity"}]}`}}, requests: []string{people},
			want: result{0, "{\n  \"id\": \"o2\",\n  \"appId\": \"c2\",\n  \"servicePrincipalType\": \"ManagedIdentity\"\n}\n", ""},
		},
		{
			name: "managed identities have no secrets", args: []string{"identity", "add-secret", "job"},
			answers: map[string][]string{people: {twoWebs}}, requests: []string{people},
			want: result{1, "", "strongroom: \"job\" is a managed identity, which has no credentials\n"},
		},
		{
			name: "remove a certificate", args: []string{"identity", "remove-credential", "web", "k2"},
			answers:  map[string][]string{people: {twoWebs}, appFilter: {someApp}, "POST graph.test/v1.0/applications/a1/removeKey": {"204 "}},
			requests: []string{people, appFilter, `POST graph.test/v1.0/applications/a1/removeKey {"keyId":"k2"}`},
			want:     result{0, "", "strongroom: removed the credential k2 of \"web\"\n"},
		},
		{
			name: "export ends where the log ended when it began", args: []string{"audit", "export"},
			answers: map[string][]string{
				"GET " + arm + "/audit/entries?from=1&limit=500&api-version=2026-02-01": {`200 {"value":[{ "n": 1 },{"n":2}],"next":3,"last":3}`},
				"GET " + arm + "/audit/entries?from=3&limit=500&api-version=2026-02-01": {`200 {"value":[{"n":3},{"n":4}],"next":5,"last":5}`},
			},
			requests: []string{
				"GET " + arm + "/audit/entries?from=1&limit=500&api-version=2026-02-01", "GET " + arm + "/audit/entries?from=3&limit=500&api-version=2026-02-01",
			},
			want: result{0, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n", ""},
		},
		{
			name: "export as a table", args: []string{"audit", "export", "-o", "table"},
			answers: map[string][]string{
				"GET " + arm + "/audit/entries?from=1&limit=500&api-version=2026-02-01": {`200 {"value":[{"time":"2027-01-31T00:00:00.0000000Z","operationName":"SecretGet",` +
					`"identity":{"claim":{"name":"web\u001b[2J"}},"properties":{"httpStatusCode":403,"errorCode":"ForbiddenByRbac","requestUri":"https://h/secrets/a"}}],"next":2,"last":1}`},
			},
			requests: []string{"GET " + arm + "/audit/entries?from=1&limit=500&api-version=2026-02-01"},
			want: result{0, "TIME                          STATUS  OPERATION                   CODE                    PRINCIPAL             REQUEST\n" +
				"2027-01-31T00:00:00.0000000Z  403     SecretGet                   ForbiddenByRbac         \"web\\x1b[2J\"          https://h/secrets/a\n", ""},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, tt.answers)
			check(t, s.ask(t, "", tt.args...), tt.want)
			diff(t, "requests", s.take(), tt.requests)
		})
	}
}

func TestCertificateDER(t *testing.T) {
	for _, tt := range []struct{ in, err string }{
		{"", "no certificate"},
		{"junk", "no certificate"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"},
		{"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key"},
	} {
		_, err := certificateDER([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("certificateDER(%q) = %v, want %q", tt.in, err, tt.err)
		}
	}
}
