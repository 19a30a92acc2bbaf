//go:build unix

package nodes

import (
	"fmt"
	"net/http"

	"strongroom/test/served"
)

const (
	graph      = "graph.localhost/v1.0/"
	management = "?api-version=2026-02-01"
	// vault is one that comes and goes, with a secret in it.
	vault       = "passing"
	vaultSecret = vault + ".vault.localhost/secrets/s?api-version=7.6"
)

// An inputRow changes one table of what decisions read, again and again on one node, and each time
// reads on the other, which must know of it. The i-th change takes back the one before where i is
// odd.
type inputRow struct {
	table  string
	change func(d *deployment, i int, on *served.Server) error
	check  func(d *deployment, i int, at *served.Server) error
}

// inputRows are the tables that requests change.
var inputRows = []inputRow{
	{"applications", (*deployment).changeApplication, (*deployment).checkApplication},
	{"credentials", (*deployment).changeCredential, (*deployment).checkCredential},
	{"group_members", (*deployment).changeMember, (*deployment).checkRight},
	{"principals", (*deployment).changePrincipal, (*deployment).checkPrincipal},
	{"resource_groups", (*deployment).changeResourceGroup, (*deployment).checkResourceGroup},
	{"role_assignments", (*deployment).changeAssignment, (*deployment).checkRight},
	{"secrets", (*deployment).changeSecret, (*deployment).checkSecret},
	{"secret_versions", (*deployment).changeVersion, (*deployment).checkVersion},
	{"vaults", (*deployment).changeVault, (*deployment).checkVault},
}

// pick is the first for a change and the second for one that takes it back.
func pick[T any](i int, done, undone T) T {
	if i%2 == 0 {
		return done
	}
	return undone
}

// changeApplication makes an application that signs in, and deletes it.
func (d *deployment) changeApplication(i int, on *served.Server) (err error) {
	if i%2 == 0 {
		d.made, err = on.NewApplication("passing")
		return err
	}
	_, err = on.Owner("DELETE", graph+"applications/"+d.made.ObjectID, "")
	return err
}

func (d *deployment) checkApplication(i int, at *served.Server) error {
	return d.wantSignIn(at, d.made.AppID, d.made.Secret.SecretText, pick(i, http.StatusOK, http.StatusBadRequest))
}

// changeCredential adds a secret to the client's application, and removes it.
func (d *deployment) changeCredential(i int, on *served.Server) (err error) {
	if i%2 == 0 {
		d.secret, err = on.NewSecret(d.app.ObjectID, "")
		return err
	}
	target := graph + "applications/" + d.app.ObjectID + "/removePassword"
	_, err = on.Owner("POST", target, fmt.Sprintf(`{"keyId":%q}`, d.secret.KeyID))
	return err
}

func (d *deployment) checkCredential(i int, at *served.Server) error {
	return d.wantSignIn(at, d.app.AppID, d.secret.SecretText, pick(i, http.StatusOK, http.StatusUnauthorized))
}

// changeMember puts the client into the group that may read, and takes it out.
func (d *deployment) changeMember(i int, on *served.Server) (err error) {
	members := graph + "groups/" + d.group + "/members/"
	if i%2 == 0 {
		body := fmt.Sprintf(`{"@odata.id":"https://graph.localhost/v1.0/directoryObjects/%s"}`, d.app.PrincipalID)
		_, err = on.Owner("POST", members+"$ref", body)
		return err
	}
	_, err = on.Owner("DELETE", members+d.app.PrincipalID+"/$ref", "")
	return err
}

// changeAssignment gives the client a role, and takes it away.
func (d *deployment) changeAssignment(i int, on *served.Server) error {
	_, err := on.Owner(pick(i, "PUT", "DELETE"), d.assignment(1_000_001), pick(i, d.assignmentBody, ""))
	return err
}

func (d *deployment) checkRight(i int, at *served.Server) error {
	return d.wantStatus(at, pick(i, http.StatusOK, http.StatusForbidden))
}

// changePrincipal disables the client's principal, which has no right here, and enables it.
func (d *deployment) changePrincipal(i int, on *served.Server) error {
	_, err := on.Owner("PATCH", graph+"servicePrincipals/"+d.app.PrincipalID, pick(i, `{"accountEnabled":false}`, `{"accountEnabled":true}`))
	return err
}

func (d *deployment) checkPrincipal(i int, at *served.Server) error {
	return d.wantStatus(at, pick(i, http.StatusUnauthorized, http.StatusForbidden))
}

// changeResourceGroup changes a tag.
func (d *deployment) changeResourceGroup(i int, on *served.Server) error {
	_, err := on.Owner("PUT", d.resourceGroup(), fmt.Sprintf(`{"location":%q,"tags":{%s}}`, d.about.Region, turn(i)))
	return err
}

func (d *deployment) checkResourceGroup(i int, at *served.Server) error {
	return wantOwner(at, d.resourceGroup(), http.StatusOK, turn(i))
}

func (d *deployment) resourceGroup() string {
	return fmt.Sprintf("%s/subscriptions/%s/resourceGroups/tagged?api-version=2021-04-01", served.ManagementHost, d.about.Subscription)
}

func turn(i int) string { return fmt.Sprintf(`"turn":"%d"`, i) }

// changeSecret deletes a secret, and recovers it.
func (d *deployment) changeSecret(i int, on *served.Server) error {
	target := served.VaultHost + pick(i, other, "/deletedsecrets/other/recover?api-version=7.6")
	_, err := on.Owner(pick(i, "DELETE", "POST"), target, "")
	return err
}

func (d *deployment) checkSecret(i int, at *served.Server) error {
	return wantOwner(at, served.VaultHost+other, pick(i, http.StatusNotFound, http.StatusOK), pick(i, "SecretNotFound", `"value":`))
}

// changeVersion sets a secret anew.
func (d *deployment) changeVersion(i int, on *served.Server) error {
	_, err := on.Owner("PUT", served.VaultHost+other, "{"+value(i)+"}")
	return err
}

func (d *deployment) checkVersion(i int, at *served.Server) error {
	return wantOwner(at, served.VaultHost+other, http.StatusOK, value(i))
}

func value(i int) string { return fmt.Sprintf(`"value":"turn %d"`, i) }

// changeVault deletes a vault, and recovers it.
func (d *deployment) changeVault(i int, on *served.Server) error {
	_, err := on.Owner(pick(i, "DELETE", "PUT"), d.about.Vault(vault)+management, pick(i, "", vaultBody(d, `"createMode":"recover",`)))
	return err
}

func (d *deployment) checkVault(i int, at *served.Server) error {
	return wantOwner(at, vaultSecret, pick(i, http.StatusNotFound, http.StatusOK), pick(i, "", `"value":"x"`))
}

func vaultBody(d *deployment, more string) string {
	const body = `{"location":%q,"properties":{%s"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`
	return fmt.Sprintf(body, d.about.Region, more, d.about.Tenant)
}
