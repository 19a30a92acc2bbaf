package arm

import (
	"context"
	"net/http"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

const (
	roleParam   = "role"
	rolesPath   = "/{" + scopeParam + "...}/providers/Microsoft.Authorization/roleDefinitions"
	roleType    = "Microsoft.Authorization/roleDefinitions"
	roleRead    = "Microsoft.Authorization/roleDefinitions/read"
	builtInRole = "BuiltInRole"
)

func (f *Face) declareRoles(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "RoleDefinitionGet", Method: http.MethodGet, Path: rolesPath + "/{" + roleParam + "}",
		Action: roleRead, Level: operation.ScopeLevel, Summary: "Get a role definition.",
	}, f.getRole)
	operation.Handle(t, operation.Op{
		Name: "RoleDefinitionList", Method: http.MethodGet, Path: rolesPath,
		Action: roleRead, Level: operation.ScopeLevel, Summary: "List the role definitions, by $filter on roleName and type.",
	}, f.listRoles)
}

// A Role is the wire form of a role definition.
type Role struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties RoleProperties `json:"properties"`
}

// RoleProperties say what a role allows.
type RoleProperties struct {
	RoleName         string           `json:"roleName"`
	Type             string           `json:"type"` // BuiltInRole
	Description      string           `json:"description"`
	AssignableScopes []string         `json:"assignableScopes"`
	Permissions      []RolePermission `json:"permissions"`
	CreatedOn        *string          `json:"createdOn"` // null: built-in roles come with the program
	UpdatedOn        *string          `json:"updatedOn"`
	CreatedBy        *string          `json:"createdBy"`
	UpdatedBy        *string          `json:"updatedBy"`
}

// A RolePermission is the set of actions of a role. Condition stands where the role narrows which
// roles its holders may assign.
type RolePermission struct {
	Actions          []string `json:"actions"`
	NotActions       []string `json:"notActions"`
	DataActions      []string `json:"dataActions"`
	NotDataActions   []string `json:"notDataActions"`
	Condition        string   `json:"condition,omitempty"`
	ConditionVersion string   `json:"conditionVersion,omitempty"`
}

// roleID prints a role's id at a scope. Only the root and subscriptions have role definitions of
// their own; below a subscription its form is used.
func roleID(scope resource.Scope, guid string) string {
	at := resource.Root
	if s := placeOf(scope).subscription; s != "" {
		at = resource.Subscription(s)
	}
	return below(at, "/providers/"+roleType+"/"+guid)
}

// roleGUID cuts the GUID off a role definition id, which has several forms.
func roleGUID(id string) string { return strings.ToLower(id[strings.LastIndex(id, "/")+1:]) }

func newRole(r *authz.Role, scope resource.Scope) Role {
	p := RolePermission{Actions: r.Actions, NotActions: r.NotActions, DataActions: r.DataActions, NotDataActions: r.NotDataActions}
	if r.Assignable != nil {
		p.Condition, p.ConditionVersion = assignableCondition(r.Assignable), "2.0"
	}
	return Role{
		ID: roleID(scope, r.ID), Name: r.ID, Type: roleType,
		Properties: RoleProperties{
			RoleName: r.Name, Type: builtInRole, Description: r.Description,
			AssignableScopes: []string{"/"}, Permissions: []RolePermission{p},
		},
	}
}

// assignableCondition writes the narrowing as the condition that Azure publishes for it.
func assignableCondition(roles []string) string {
	ids := "{" + strings.Join(roles, ", ") + "}"
	part := func(action, source string) string {
		return "((!(ActionMatches{'" + action + "'})) OR (" + source + "[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals" + ids + "))"
	}
	return part(assignmentWrite, "@Request") + " AND " + part(assignmentDelete, "@Resource")
}

func (f *Face) getRole(_ context.Context, c *operation.Call, _ operation.None) (Role, error) {
	r, ok := authz.RoleByID(c.Param(roleParam))
	if !ok {
		return Role{}, apierr.NotFound("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", c.Param(roleParam))
	}
	return newRole(r, c.Scope), nil
}

func (f *Face) listRoles(_ context.Context, c *operation.Call, _ operation.None) (List[Role], error) {
	match, err := parseRoleFilter(c.Query.Get("$filter"))
	if err != nil {
		return List[Role]{}, err
	}
	out := List[Role]{Value: []Role{}}
	for i := range authz.BuiltIn {
		if r := &authz.BuiltIn[i]; match(r) {
			out.Value = append(out.Value, newRole(r, c.Scope))
		}
	}
	return out, nil
}

// parseRoleFilter reads conditions on role definitions. Those on the scope change nothing: every
// role is built in and assignable everywhere.
func parseRoleFilter(text string) (func(*authz.Role) bool, error) {
	terms, err := parseFilter(text)
	if err != nil {
		return nil, err
	}
	var name, kind string
	for _, t := range terms {
		switch {
		case t.is("roleName", false) && t.value != "":
			name = t.value
		case t.is("type", false) && t.value != "":
			kind = t.value
		case t.is("atScope", true), t.is("atScopeAndBelow", true):
		default:
			return nil, badFilter()
		}
	}
	return func(r *authz.Role) bool {
		return (name == "" || strings.EqualFold(name, r.Name)) && (kind == "" || strings.EqualFold(kind, builtInRole))
	}, nil
}
