package graph

import (
	"strings"
	"testing"

	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/identity"
)

// keyVaultAccessAdministrator may assign roles, but only some: its right is not an owner's.
const keyVaultAccessAdministrator = "8b54135c-b56d-4d72-a534-26097cfdc8d8"

// TestDirectoryIsForOwners makes every change by which somebody could act as an owner's program or
// lock it out. Contributor has the action of each, and Key Vault Data Access Administrator may
// assign some roles: together they are refused what only who may assign every role may do.
func TestDirectoryIsForOwners(t *testing.T) {
	b := newBench(t)
	app, program := b.program("the owner's pipeline")
	group := b.want(201, "POST", "/groups", `{"displayName":"owners"}`)
	_, owner := b.program("owner")
	_, mallory := b.program("mallory")
	b.assign("Owner", program.text("id"))
	b.assign("Owner", owner.text("id"))
	b.assign("Contributor", mallory.text("id"))
	b.update(func(tx *db.Tx) error {
		_, _, err := b.rights.Assign(tx, authz.Assignment{
			ID: db.NewGUID(), Scope: "/", RoleDefinitionID: keyVaultAccessAdministrator, PrincipalID: mallory.text("id"),
		}, identity.LocalOwnerID)
		return err
	})
	path := "/applications/" + app.text("id")
	password := b.want(200, "POST", path+"/addPassword", `{}`)
	b.want(204, "PATCH", path, `{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"`+newCertificate(t)+`"}]}`)
	keys, _ := b.want(200, "GET", path, "").body["keyCredentials"].([]any)
	names := strings.NewReplacer(
		"{app}", app.text("id"), "{program}", program.text("id"), "{group}", group.text("id"), "{mallory}", mallory.text("id"),
		"{password}", password.text("keyId"), "{key}", keys[0].(map[string]any)["keyId"].(string), "{certificate}", newCertificate(t),
	)
	for _, tt := range []struct {
		status             int // for an owner
		method, path, body string
	}{
		{200, "POST", "/applications/{app}/addPassword", `{}`},
		{204, "POST", "/applications/{app}/removePassword", `{"keyId":"{password}"}`},
		{204, "PATCH", "/applications/{app}", `{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"{certificate}"}]}`},
		{204, "POST", "/applications/{app}/removeKey", `{"keyId":"{key}"}`},
		{204, "POST", "/groups/{group}/members/$ref", `{"@odata.id":"https://x/directoryObjects/{mallory}"}`},
		{204, "DELETE", "/groups/{group}/members/{mallory}/$ref", ""},
		{204, "PATCH", "/servicePrincipals/{program}", `{"accountEnabled":false}`},
		{204, "DELETE", "/groups/{group}", ""},
		{204, "DELETE", "/servicePrincipals/{program}", ""},
		{204, "DELETE", "/applications/{app}", ""},
	} {
		b.signIn(mallory.text("id"))
		got := b.do(tt.method, names.Replace(tt.path), names.Replace(tt.body))
		if got.status != 403 || got.errorCode() != "Authorization_RequestDenied" {
			t.Errorf("%s %s = %d %s, want 403 Authorization_RequestDenied", tt.method, tt.path, got.status, got.errorCode())
			continue
		}
		b.signIn(owner.text("id"))
		b.want(tt.status, tt.method, names.Replace(tt.path), names.Replace(tt.body))
	}
}
