package cli

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"strongroom/internal/resource"
)

const authorization = "/providers/Microsoft.Authorization"

var definitionView = view{
	{title: "Role", path: "properties.roleName"},
	{title: "Id", path: "name"},
	{title: "Description", path: "properties.description", format: firstSentence},
}

// An assignment is a role assignment as the wire has it.
type assignment struct {
	ID         string `json:"id,omitempty"`
	Properties struct {
		RoleDefinitionID string `json:"roleDefinitionId"`
		PrincipalID      string `json:"principalId"`
		PrincipalType    string `json:"principalType,omitempty"`
		Scope            string `json:"scope,omitempty"`
	} `json:"properties"`
}

func (a *app) roleGroup() *cobra.Command {
	return a.group("role", "Assign and remove roles, which say who may do what",
		"  strongroom role assign --role \"Key Vault Secrets User\" --to web --vault payroll",
		func(f *pflag.FlagSet) { connectionFlags(f); groupFlags(f); scopeFlags(f) },
		spec{
			use: "assign", short: "Assign a role to an identity at a scope",
			example: "  strongroom role assign --role \"Key Vault Secrets User\" --to web --vault payroll --secret db-password",
			flags:   grantFlags, run: (*call).assignRole,
		},
		spec{
			use: "remove", short: "Remove the assignment of a role to an identity at a scope",
			example: "  strongroom role remove --role \"Key Vault Secrets User\" --to web --vault payroll",
			flags:   grantFlags, run: (*call).removeRole,
		},
		spec{
			use: "list", short: "List the role assignments at, above and below a scope",
			example: "  strongroom role list --vault payroll", run: (*call).listRoles,
		},
		spec{
			use: "definitions", short: "List the roles that can be assigned",
			example: "  strongroom role definitions", run: (*call).listDefinitions,
		},
	)
}

func scopeFlags(f *pflag.FlagSet) {
	f.String("vault", "", "the vault at which the role holds")
	f.String("secret", "", "the one secret in --vault at which the role holds")
	f.String("scope", "", "the full scope, as /subscriptions/… (default: the subscription)")
}

func grantFlags(f *pflag.FlagSet) {
	f.String("role", "", "the role's name, or the GUID of its definition; required")
	f.String("to", "", "who has it: the name of an identity, its client id or object id, or the object id of\na user or group; required")
}

// firstSentence keeps a table narrow; the JSON has the whole text.
func firstSentence(v any) string {
	text, _ := v.(string)
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}

// scope is the scope that the flags name.
func (c *call) scope() (string, error) {
	scope, vault, secret := c.text("scope"), c.text("vault"), c.text("secret")
	switch {
	case scope != "" && vault+secret != "":
		return "", usage("", "want --scope, or --vault with or without --secret, found both")
	case scope != "" && !strings.HasPrefix(scope, "/"):
		return "", usage("", "--scope %q: want a path as /subscriptions/…", scope)
	case scope != "":
		_, err := c.client()
		return strings.TrimRight(scope, "/"), err
	case secret != "" && vault == "":
		return "", usage("", "want the vault of the secret with --vault")
	case vault == "":
		return c.subscription()
	}
	id, err := c.vaultID(vault)
	if err == nil && secret != "" {
		id += "/secrets/" + url.PathEscape(secret)
	}
	return id, err
}

// grant is what the flags of assign and remove say.
func (c *call) grant() (role, to, scope string, err error) {
	if role, err = c.required("role", "a role", `"strongroom role definitions" lists them`); err != nil {
		return "", "", "", err
	}
	if to, err = c.required("to", "an identity", `"strongroom identity list" lists them`); err != nil {
		return "", "", "", err
	}
	scope, err = c.scope()
	return role, to, scope, err
}

// roleID is the id of the role definition with a name or GUID.
func (c *call) roleID(role, scope string) (string, error) {
	if resource.IsGUID(role) {
		return authorization + "/roleDefinitions/" + strings.ToLower(role), nil
	}
	filter := url.Values{
		"$filter":     {"roleName eq '" + strings.ReplaceAll(role, "'", "''") + "'"},
		"api-version": {assignmentVersion},
	}
	cl := c.connection
	found, err := cl.list(c.ctx, cl.management(), scope+authorization+"/roleDefinitions?"+filter.Encode())
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", failed(`"strongroom role definitions" lists the names`, "no role named %q", role)
	}
	return stringMember(found[0], "id")
}

func (c *call) assignRole() error {
	role, to, scope, err := c.grant()
	if err != nil {
		return err
	}
	var body assignment
	if body.Properties.RoleDefinitionID, err = c.roleID(role, scope); err != nil {
		return err
	}
	if body.Properties.PrincipalID, body.Properties.PrincipalType, err = c.objectID(to); err != nil {
		return err
	}
	cl := c.connection
	id := scope + authorization + "/roleAssignments/" + newGUID() + "?api-version=" + assignmentVersion
	made, err := cl.do(c.ctx, cl.management(), http.MethodPut, id, body)
	if err != nil {
		return err
	}
	return c.showAssignments([]jsontext.Value{made}, scope, false)
}

// newGUID is a random GUID (RFC 9562, version 4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// removeRole removes the one assignment of the role to the identity exactly at the scope.
func (c *call) removeRole() error {
	role, to, scope, err := c.grant()
	if err != nil {
		return err
	}
	roleID, err := c.roleID(role, scope)
	if err != nil {
		return err
	}
	principal, _, err := c.objectID(to)
	if err != nil {
		return err
	}
	found, err := c.assignments(scope)
	if err != nil {
		return err
	}
	for _, item := range found {
		var a assignment
		if json.Unmarshal(item, &a) != nil {
			return errNotJSON
		}
		if !strings.EqualFold(a.Properties.PrincipalID, principal) || !strings.EqualFold(strings.TrimRight(a.Properties.Scope, "/"), scope) ||
			!strings.EqualFold(path.Base(a.Properties.RoleDefinitionID), path.Base(roleID)) {
			continue
		}
		cl := c.connection
		if _, err := cl.do(c.ctx, cl.management(), http.MethodDelete, a.ID+"?api-version="+assignmentVersion, nil); err != nil {
			return err
		}
		c.say("removed the role %q of %q at %s", role, to, scope)
		return nil
	}
	return failed(`"strongroom role list" shows where roles are assigned`, "%q has no role %q at %s", to, role, scope)
}

func (c *call) assignments(scope string) ([]jsontext.Value, error) {
	return c.manage(scope+authorization+"/roleAssignments", assignmentVersion)
}

func (c *call) listRoles() error {
	scope, err := c.scope()
	if err != nil {
		return err
	}
	found, err := c.assignments(scope)
	if err != nil {
		return err
	}
	return c.showAssignments(found, scope, true)
}

// showAssignments prints assignments with the names of roles and identities.
func (c *call) showAssignments(items []jsontext.Value, scope string, list bool) error {
	switch {
	case c.json() && list:
		return c.writeList(items)
	case c.json():
		return c.writeJSON(items[0])
	}
	roles, people := c.roleNames(scope), c.principalNames()
	var rows [][]string
	for _, item := range items {
		var a assignment
		if json.Unmarshal(item, &a) != nil {
			return errNotJSON
		}
		p := a.Properties
		rows = append(rows, []string{
			or(roles[strings.ToLower(path.Base(p.RoleDefinitionID))], p.RoleDefinitionID),
			people[strings.ToLower(p.PrincipalID)], p.PrincipalID, p.PrincipalType, p.Scope,
		})
	}
	titles := []string{"Role", "Name", "Principal", "Type", "Scope"}
	if list {
		return c.writeTable(titles, rows)
	}
	return c.writeFields(titles, rows[0])
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func (c *call) definitions(scope string) ([]jsontext.Value, error) {
	return c.manage(scope+authorization+"/roleDefinitions", assignmentVersion)
}

// roleNames are the names of roles by the GUIDs of their definitions, as far as the caller may
// know them.
func (c *call) roleNames(scope string) map[string]string {
	names := map[string]string{}
	found, err := c.definitions(scope)
	if err != nil {
		return names
	}
	for _, item := range found {
		id, err1 := stringMember(item, "name")
		name, err2 := stringMember(item, "properties.roleName")
		if err1 == nil && err2 == nil {
			names[strings.ToLower(id)] = name
		}
	}
	return names
}

// principalNames are the names of identities by object id, as far as the caller may know them.
func (c *call) principalNames() map[string]string {
	names := map[string]string{}
	found, err := c.identities()
	if err != nil {
		return names
	}
	for _, p := range found {
		names[strings.ToLower(p.ObjectID)] = p.Name
	}
	return names
}

func (c *call) listDefinitions() error {
	scope, err := c.scope()
	if err != nil {
		return err
	}
	found, err := c.definitions(scope)
	if err != nil {
		return err
	}
	return c.showList(definitionView, found)
}
