//go:build unix

package matrix

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"strongroom/test/served"
)

// A target says which of several things a request is about.
type target int

const (
	standing   target = iota // it exists, and stays
	absent                   // it does not exist
	disposable               // the cell may change or remove it
)

// names are what stands in a path's parameters.
type names struct{ secret, vault, group, identity, assignment, role string }

// names of a cell's request. Only the innermost name of the path is that of an absent thing.
func (d *deployment) names(q *question, c *caller, to target) names {
	n := names{secret: c.live, vault: mainVault, group: d.about.Group, identity: "standing", assignment: standingAssignment(q.assigned), role: plainRole}
	switch q.name {
	case "SecretGetDeleted", "SecretRecover", "SecretPurge":
		n.secret = c.old
	case "VaultGetDeleted", "VaultPurge":
		n.vault = deletedVault
	case "RoleAssignmentPut":
		n.assignment = assignmentID("d", c.index, q.number)
	}
	switch {
	case to == absent:
		n.miss(q, c)
	case to == disposable:
		n.dispose(q, c)
	}
	return n
}

// miss makes the innermost name that of what does not exist.
func (n *names) miss(q *question, c *caller) {
	switch {
	case q.level == "object":
		n.secret = c.gone
	case q.data(): // the vault is that of the host
	case q.level == "vault" || q.level == "subscription":
		n.vault = "matrix-gone"
	case q.level == "group":
		n.group = "gone"
	case q.level == "identity":
		n.identity = "gone"
	case q.level == "each":
		n.assignment, n.role = assignmentID("e", c.index, q.number), assignmentID("e", c.index, q.number)
	}
}

// dispose takes what the cell may change: the caller's own, which prepare has made. Objects are
// the caller's own in any case.
func (n *names) dispose(q *question, c *caller) {
	switch q.name {
	case "VaultDelete", "VaultPurge":
		n.vault = c.spareVault
	case "ManagedIdentityDelete":
		n.identity = c.spareIdentity
	case "RoleAssignmentPut", "RoleAssignmentDelete":
		n.assignment = assignmentID(map[string]string{plainRole: "b", foreignRole: "c"}[q.assigned], c.index, slices.Index(each, q.at))
	}
}

// asked is the scope at which the action of a question is asked.
func (d *deployment) asked(q *question, n names) string {
	group := d.subscription() + "/resourceGroups/" + n.group
	vault := group + "/providers/Microsoft.KeyVault/vaults/" + n.vault
	switch q.at {
	case "object":
		return vault + "/secrets/" + n.secret
	case "vault":
		return vault
	case "group":
		return group
	case "identity":
		return group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + n.identity
	case "subscription":
		return d.subscription()
	}
	return "/"
}

// A request is one request of a caller.
type request struct{ method, host, target, body, asked string }

func (d *deployment) newRequest(x *cell, to target) *request {
	n := d.names(x.question, x.c, to)
	q := &request{method: x.method, host: served.ManagementHost, asked: d.asked(x.question, n), body: d.body(x, to)}
	version := managementVersion
	switch {
	case x.data():
		q.host, version = mainVault+".vault.localhost", dataVersion
	case x.name == "MetadataEndpoints":
		version = "api-version=2022-09-01"
	}
	q.target = strings.NewReplacer(
		"{secret-name}", n.secret, "/{secret-version?}", "",
		"{subscription}", d.about.Subscription, "{group}", n.group, "{vault}", n.vault, "{location}", d.about.Region,
		"{identity}", n.identity, "{assignment}", n.assignment, "{role}", n.role,
		"/{scope...}", strings.TrimSuffix(q.asked, "/"),
	).Replace(x.path) + "?" + version
	return q
}

// data says whether an operation is of the data plane.
func (o operation) data() bool { return o.kind == "data" }

// body is what an operation needs as its body: if it succeeded, the state would be another one.
func (d *deployment) body(x *cell, to target) string {
	mark := fmt.Sprintf("%d %s", x.c.index, x.place.name)
	switch x.name {
	case "SecretSet":
		return fmt.Sprintf(`{"value":%q}`, mark)
	case "SecretUpdate", "VaultPatch":
		return fmt.Sprintf(`{"tags":{"by":%q}}`, mark)
	case "SecretRestore":
		return fmt.Sprintf(`{"value":%q}`, x.c.blob)
	case "VaultPut":
		return d.vaultBody(mark)
	case "VaultCheckName":
		return `{"name":"free-name","type":"Microsoft.KeyVault/vaults"}`
	case "ResourceGroupPut", "ManagedIdentityPut":
		return fmt.Sprintf(`{"location":%q,"tags":{"by":%q}}`, d.about.Region, mark)
	case "RoleAssignmentPut":
		if to == disposable {
			return served.RoleAssignment(x.assigned, x.c.bystander)
		}
		return served.RoleAssignment(x.assigned, x.c.objectID) // who may not, tries to give itself more
	}
	return ""
}

// An answer is what came back.
type answer struct {
	status int
	body   []byte
}

// send sends a request with the caller's token.
func (d *deployment) send(c *caller, q *request) (answer, error) {
	req, err := http.NewRequest(q.method, "https://"+q.host+q.target, strings.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	token := c.managementToken
	if q.host != served.ManagementHost {
		token = c.vaultToken
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, body, err := served.Do(d.client, req)
	if err != nil {
		return answer{}, err
	}
	return answer{resp.StatusCode, body}, nil
}

// prepare makes what an allowed cell is about to change or remove, so that it can succeed.
func (d *deployment) prepare(x *cell) {
	n := d.names(x.question, x.c, disposable)
	switch x.name {
	case "SecretSet", "SecretGet", "SecretUpdate", "SecretDelete", "SecretListVersions", "SecretBackup":
		d.makeSecret(n.secret, lives)
	case "SecretGetDeleted", "SecretRecover", "SecretPurge":
		d.makeSecret(n.secret, deleted)
	case "SecretRestore":
		d.makeSecret(n.secret, purged)
	case "VaultDelete", "VaultPurge":
		d.makeSpareVault(x, n.vault)
	case "ManagedIdentityDelete":
		d.makeIdentity(n.identity)
	case "RoleAssignmentPut":
		d.local("DELETE", d.assignmentTarget(d.asked(x.question, n), n.assignment), "")
	case "RoleAssignmentDelete":
		d.assign(d.asked(x.question, n), n.assignment, x.assigned, x.c.bystander)
	}
}

// reset brings a caller's objects back into the state that other cells want.
func (d *deployment) reset(c *caller) {
	d.makeSecret(c.live, lives)
	d.makeSecret(c.old, deleted)
}

// Lives of a secret.
type life int

const (
	purged life = iota
	deleted
	lives
)

// makeSecret brings a secret into a state, by the shortest way from where it is.
func (d *deployment) makeSecret(name string, want life) {
	here, gone := d.data("/secrets/"+name), d.data("/deletedsecrets/"+name)
	is := purged
	if status, _ := d.try("GET", here, ""); status == http.StatusOK {
		is = lives
	} else if status, _ := d.try("GET", gone, ""); status == http.StatusOK {
		is = deleted
	}
	if is == want {
		return
	}
	if is == deleted {
		d.local("DELETE", gone, "")
	}
	if is == purged || is == deleted && want != purged {
		d.local("PUT", here, `{"value":"x"}`)
	}
	if want == lives {
		return
	}
	if is == lives || want == deleted {
		d.local("DELETE", here, "")
	}
	if is == lives && want == purged {
		d.local("DELETE", gone, "")
	}
}

// makeSpareVault makes a vault for a cell that deletes or purges it. Where rights come from an
// assignment at the vault, the new one needs it too; it goes with the vault.
func (d *deployment) makeSpareVault(x *cell, name string) {
	purge := d.management(d.subscription(), "/providers/Microsoft.KeyVault/locations/"+d.about.Region+"/deletedVaults/"+name+"/purge")
	if status, body := d.try("POST", purge, ""); status != http.StatusOK && status != http.StatusNotFound {
		d.t.Errorf("purge of the spare vault %s: %d %s", name, status, body)
	}
	d.makeVault(name)
	if x.name == "VaultPurge" {
		d.local("DELETE", d.management(d.vault(name), ""), "")
	} else if x.place.name == "vault" {
		d.assign(d.vault(name), assignmentID("9", x.c.index, 0), x.c.role.id, x.c.objectID)
	}
}

// TestEveryOperationIsAskable wants each placeholder of the paths replaced, without a server.
func TestEveryOperationIsAskable(t *testing.T) {
	d := &deployment{t: t}
	c := &caller{role: &role{}, live: "live", old: "old", gone: "gone"}
	for _, q := range questionsOf(readOperations(t)) {
		for _, to := range []target{standing, absent, disposable} {
			if r := d.newRequest(&cell{question: q, c: c}, to); strings.ContainsAny(r.target, "{}") {
				t.Errorf("%s: %s %s", q, r.method, r.target)
			}
		}
	}
}
