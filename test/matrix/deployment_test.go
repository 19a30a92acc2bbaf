//go:build unix

package matrix

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/test/served"
)

// The vaults that always exist. Names of two of them begin with the main one's, or begin it.
const (
	mainVault    = "matrix"
	shorterVault = "matri"
	longerVault  = "matrix-b"
	deletedVault = "matrix-deleted"
)

// Versions of the two faces.
const (
	dataVersion       = "api-version=7.6"
	managementVersion = "api-version=2022-04-01"
)

// A deployment is a server with what the cells ask for, and a caller for each role. The test
// itself works as the owner, over the local socket.
type deployment struct {
	*served.Server
	t       *testing.T
	about   served.About
	client  *http.Client
	callers []*caller
	// standing is the object id of the identity whose assignments exist all the time.
	standing string
}

// A caller is a service principal for one role, with objects of its own. The state of live and
// old may be another in the middle of its cells; see prepare.
type caller struct {
	role                        *role
	index                       int
	appID, objectID             string
	vaultToken, managementToken string
	live, old, gone             string // secrets: one that lives, a deleted one, and one that never was
	spareVault, spareIdentity   string // for cells that create and remove them
	bystander                   string // object id of an identity that cells give roles to; nobody uses it
	blob                        string // a backup of live
}

func start(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, Server: served.New(t, "")}
	d.Start()
	d.about = d.About()
	d.client = &http.Client{Transport: d.Transport(), Timeout: 40 * time.Second}
	d.local("PUT", d.management(d.group()+"-b", ""), fmt.Sprintf(`{"location":%q}`, d.about.Region))
	for _, name := range []string{mainVault, shorterVault, longerVault, deletedVault} {
		d.makeVault(name)
	}
	d.local("DELETE", d.management(d.vault(deletedVault), ""), "")
	d.standing = d.makeIdentity("standing")
	for _, level := range each[1:] { // those at objects are made with the objects
		d.assignStanding(d.asked(&question{at: level}, names{vault: mainVault, group: d.about.Group}))
	}
	return d
}

// Scopes.
func (d *deployment) subscription() string { return "/subscriptions/" + d.about.Subscription }

func (d *deployment) group() string {
	return d.subscription() + "/resourceGroups/" + d.about.Group
}

func (d *deployment) vault(name string) string {
	return d.group() + "/providers/Microsoft.KeyVault/vaults/" + name
}
func (d *deployment) secret(name string) string { return d.vault(mainVault) + "/secrets/" + name }

// management is the target of a resource or of what is below it, with its host.
func (d *deployment) management(scope, below string) string {
	return served.ManagementHost + strings.TrimSuffix(scope, "/") + below + "?" + managementVersion
}

// data is a target of the main vault, with its host.
func (d *deployment) data(path string) string {
	return mainVault + ".vault.localhost" + path + "?" + dataVersion
}

// try sends a request of the owner, whose target begins with the host.
func (d *deployment) try(method, target, body string) (int, []byte) {
	d.t.Helper()
	host, path, _ := strings.Cut(target, "/")
	status, _, answer, err := d.Call(method, host, "/"+path, body)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, target, err)
	}
	return status, answer
}

// local wants success. It may be called from other goroutines, and so goes on if there is none.
func (d *deployment) local(method, target, body string) []byte {
	d.t.Helper()
	answer, err := d.Owner(method, target, body)
	if err != nil {
		d.t.Error(err)
	}
	return answer
}

func (d *deployment) decode(b []byte, to any) {
	d.t.Helper()
	if err := served.Decode(b, to); err != nil {
		d.t.Error(err)
	}
}

func (d *deployment) makeVault(name string) {
	d.t.Helper()
	d.local("PUT", d.management(d.vault(name), ""), d.vaultBody(""))
}

// vaultBody is the settings of a vault with a tag.
func (d *deployment) vaultBody(tag string) string {
	return fmt.Sprintf(`{"location":%q,"tags":{"by":%q},"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`,
		d.about.Region, tag, d.about.Tenant)
}

func (d *deployment) identityScope(name string) string {
	return d.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// makeIdentity makes a managed identity and returns its object id.
func (d *deployment) makeIdentity(name string) string {
	d.t.Helper()
	var made struct{ Properties struct{ PrincipalID string } }
	d.decode(d.local("PUT", d.management(d.identityScope(name), ""), fmt.Sprintf(`{"location":%q}`, d.about.Region)), &made)
	return made.Properties.PrincipalID
}

// makeCallers makes a caller with tokens and objects for each role; none has a right yet.
func (d *deployment) makeCallers(roles []*role) {
	d.t.Helper()
	for i, r := range roles {
		name := fmt.Sprintf("own-%02d", i)
		d.callers = append(d.callers, &caller{
			role: r, index: i, live: name, old: name + "-old", gone: name + "-gone",
			spareVault: fmt.Sprintf("spare-%02d", i), spareIdentity: fmt.Sprintf("spare-%02d", i),
		})
	}
	inParallel(d.callers, func(c *caller) {
		d.signIn(c)
		c.bystander = d.makeIdentity(fmt.Sprintf("bystander-%02d", c.index))
		d.makeSecret(c.live, lives)
		d.makeSecret(c.old, deleted)
		d.assignStanding(d.secret(c.live))
		var backup struct{ Value string }
		d.decode(d.local("POST", d.data("/secrets/"+c.live+"/backup"), ""), &backup)
		c.blob = backup.Value
	})
	for _, c := range d.callers {
		if c.vaultToken == "" || c.managementToken == "" || c.bystander == "" || c.blob == "" {
			d.t.Fatalf("the caller for %s could not be made", c.role.name)
		}
	}
}

// signIn makes the application, and gets a token for each face.
func (d *deployment) signIn(c *caller) {
	d.t.Helper()
	app, err := d.NewApplication(c.live)
	if err != nil {
		d.t.Error(err)
		return
	}
	c.appID, c.objectID = app.AppID, app.PrincipalID
	for resource, token := range map[string]*string{served.VaultResource: &c.vaultToken, "https://management.localhost": &c.managementToken} {
		if _, *token, err = d.SignIn(d.about.Tenant, app.AppID, app.Secret.SecretText, resource); err != nil {
			d.t.Error(err)
		}
	}
}

func (d *deployment) assignmentTarget(scope, id string) string {
	return d.management(scope, "/providers/Microsoft.Authorization/roleAssignments/"+id)
}

func (d *deployment) assign(scope, id, role, principal string) {
	d.t.Helper()
	d.local("PUT", d.assignmentTarget(scope, id), served.RoleAssignment(role, principal))
}

// spelled writes a scope in other letters for every second caller: they do not count.
func (c *caller) spelled(scope string) string {
	if c.index%2 == 1 {
		return strings.ToUpper(scope)
	}
	return scope
}

// grant gives a caller its role at a place; the next request may use it.
func (d *deployment) grant(c *caller, p place) {
	for i, scope := range p.scopes(d, c) {
		d.assign(c.spelled(scope), assignmentID("a", c.index, i), c.role.id, c.objectID)
	}
}

// revoke takes it away.
func (d *deployment) revoke(c *caller, p place) {
	for i, scope := range p.scopes(d, c) {
		d.local("DELETE", d.assignmentTarget(c.spelled(scope), assignmentID("a", c.index, i)), "")
	}
}

// assignmentID is a GUID that tells a kind of assignment, a caller and a number.
func assignmentID(kind string, caller, n int) string {
	return fmt.Sprintf("%s0000000-0000-4000-8000-%06d%06d", kind, caller, n)
}

// assignStanding gives two roles at a scope, for cells that read or delete an assignment.
func (d *deployment) assignStanding(scope string) {
	for _, role := range []string{plainRole, foreignRole} {
		d.assign(scope, standingAssignment(role), role, d.standing)
	}
}

// standingAssignment is the id of the assignment of a role that exists at each level.
func standingAssignment(role string) string {
	if role == foreignRole {
		return assignmentID("f", 0, 1)
	}
	return assignmentID("f", 0, 0)
}

// compareRoles holds the table of roles to the server's: the same roles with the same permissions.
func (d *deployment) compareRoles(roles []*role) {
	d.t.Helper()
	var list struct {
		Value []struct {
			Name       string
			Properties struct {
				RoleName    string
				Permissions []struct{ Actions, NotActions, DataActions, NotDataActions []string }
			}
		}
	}
	d.decode(d.local("GET", d.management("/", "/providers/Microsoft.Authorization/roleDefinitions"), ""), &list)
	rest := map[string]string{}
	for _, r := range roles {
		rest[r.id] = fmt.Sprintf("%s: %q %q %q %q", r.name, sorted(r.actions), sorted(r.notActions), sorted(r.dataActions), []string{})
	}
	for _, r := range list.Value {
		p := r.Properties.Permissions[0]
		got := fmt.Sprintf("%s: %q %q %q %q", r.Properties.RoleName, sorted(p.Actions), sorted(p.NotActions), sorted(p.DataActions), sorted(p.NotDataActions))
		if want := rest[r.Name]; got != want || len(r.Properties.Permissions) != 1 {
			d.t.Errorf("the server's role %s is %s, want as in roles.txt %s", r.Name, got, want)
		}
		delete(rest, r.Name)
	}
	for id := range rest {
		d.t.Errorf("the server has no role %s", rest[id])
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// state is all that the cells could change, as the owner sees it: answers by target.
func (d *deployment) state() map[string]string {
	d.t.Helper()
	targets := []string{d.data("/secrets"), d.data("/deletedsecrets")}
	for _, c := range d.callers {
		targets = append(targets, d.data("/secrets/"+c.live), d.data("/secrets/"+c.live+"/versions"))
	}
	for _, below := range []string{
		"/resourceGroups", "/providers/Microsoft.KeyVault/vaults", "/providers/Microsoft.KeyVault/deletedVaults",
		"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", "/providers/Microsoft.Authorization/roleAssignments",
	} {
		targets = append(targets, d.management(d.subscription(), below))
	}
	all := map[string]string{}
	for _, t := range targets {
		all[t] = d.pages(t)
	}
	return all
}

// pages reads a list to its end, or what is no list.
func (d *deployment) pages(target string) string {
	d.t.Helper()
	var all strings.Builder
	for target != "" {
		answer := d.local("GET", target, "")
		fmt.Fprintf(&all, "%s\n", answer)
		var page struct{ NextLink string }
		d.decode(answer, &page)
		target = strings.TrimPrefix(page.NextLink, "https://")
	}
	return all.String()
}
