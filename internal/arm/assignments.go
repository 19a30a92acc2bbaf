package arm

import (
	"context"
	"net/http"

	"strongroom/internal/apierr"
	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

const (
	assignmentParam  = "assignment"
	assignmentsPath  = "/{" + scopeParam + "...}/providers/Microsoft.Authorization/roleAssignments"
	assignmentPath   = assignmentsPath + "/{" + assignmentParam + "}"
	assignmentType   = "Microsoft.Authorization/roleAssignments"
	assignmentRead   = "Microsoft.Authorization/roleAssignments/read"
	assignmentWrite  = "Microsoft.Authorization/roleAssignments/write"
	assignmentDelete = "Microsoft.Authorization/roleAssignments/delete"
)

func (f *Face) declareAssignments(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "RoleAssignmentPut", Method: http.MethodPut, Path: assignmentPath,
		Action: assignmentWrite, Level: operation.ScopeLevel, Writes: operation.WritesAuthorisation,
		Summary: "Give a role to a principal at a scope.",
	}, f.putAssignment)
	operation.Handle(t, operation.Op{
		Name: "RoleAssignmentGet", Method: http.MethodGet, Path: assignmentPath,
		Action: assignmentRead, Level: operation.ScopeLevel, Summary: "Get a role assignment.",
	}, f.getAssignment)
	operation.Handle(t, operation.Op{
		Name: "RoleAssignmentDelete", Method: http.MethodDelete, Path: assignmentPath,
		Action: assignmentDelete, Level: operation.ScopeLevel, Writes: operation.WritesAuthorisation,
		Summary: "Take a role away from a principal at a scope.",
	}, f.deleteAssignment)
	operation.Handle(t, operation.Op{
		Name: "RoleAssignmentList", Method: http.MethodGet, Path: assignmentsPath,
		Action: assignmentRead, Level: operation.ScopeLevel,
		Summary: "List the role assignments at, above and below a scope, by $filter on atScope(), principalId and assignedTo().",
	}, f.listAssignments)
}

// An AssignmentBody is the body of PUT of a role assignment.
type AssignmentBody struct {
	Properties *AssignmentSettings `json:"properties"`
}

// AssignmentSettings are what a caller may say of an assignment.
type AssignmentSettings struct {
	RoleDefinitionID string `json:"roleDefinitionId"` // any of its forms; the GUID at its end counts
	PrincipalID      string `json:"principalId"`
	PrincipalType    string `json:"principalType"` // "" is looked up; a wrong one is refused
	Description      string `json:"description"`
	Condition        string `json:"condition"` // refused, unless empty
}

// An Assignment is the wire form of a role assignment.
type Assignment struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties AssignmentProperties `json:"properties"`
}

// AssignmentProperties show all of an assignment.
type AssignmentProperties struct {
	RoleDefinitionID string  `json:"roleDefinitionId"`
	PrincipalID      string  `json:"principalId"`
	PrincipalType    string  `json:"principalType"`
	Scope            string  `json:"scope"`
	Description      *string `json:"description"`
	Condition        *string `json:"condition"` // always null: see Check
	ConditionVersion *string `json:"conditionVersion"`
	CreatedOn        string  `json:"createdOn"`
	UpdatedOn        string  `json:"updatedOn"`
	CreatedBy        string  `json:"createdBy"`
	UpdatedBy        string  `json:"updatedBy"`
	Delegated        *string `json:"delegatedManagedIdentityResourceId"`
}

// Check refuses a body that the domain cannot judge. Conditions narrow an assignment: one that is
// not understood must not be dropped, since the assignment would then give more than was meant.
func (b AssignmentBody) Check(id string) error {
	p := b.Properties
	switch {
	case !resource.IsGUID(id):
		return apierr.BadRequest("InvalidRoleAssignmentId", "The role assignment name '%s' is not valid; want a GUID.", id)
	case p == nil || p.RoleDefinitionID == "" || p.PrincipalID == "":
		return apierr.BadRequest("BadRequestFormat", "The members \"roleDefinitionId\" and \"principalId\" of \"properties\" are required.")
	case p.Condition != "":
		return apierr.BadRequest("BadRequestFormat", "The member \"condition\" is not supported: this release does not evaluate conditions, and an assignment without its condition would give more than it says.")
	}
	return nil
}

// newAssignment turns an assignment into its wire form. Role ids are of the subscription, as in
// Azure's own answers below one.
func newAssignment(a authz.Assignment, subscription string) Assignment {
	scope := resource.Scope{Text: a.Scope}
	p := AssignmentProperties{
		RoleDefinitionID: roleID(resource.Subscription(subscription), a.RoleDefinitionID),
		PrincipalID:      a.PrincipalID, PrincipalType: a.PrincipalType, Scope: a.Scope,
		CreatedOn: stamp(a.Created), UpdatedOn: stamp(a.Updated), CreatedBy: a.CreatedBy, UpdatedBy: a.UpdatedBy,
	}
	if a.Description != "" {
		p.Description = &a.Description
	}
	id := below(scope, "/providers/"+assignmentType+"/"+a.ID)
	return Assignment{ID: id, Name: a.ID, Type: assignmentType, Properties: p}
}

// below prints an id below a scope; the root scope adds nothing.
func below(scope resource.Scope, rest string) string {
	if scope.Key() == "/" {
		return rest
	}
	return scope.Text + rest
}

func (f *Face) wireAssignment(a authz.Assignment) Assignment { return newAssignment(a, f.subscription) }

// putAssignment asks for the right again once it knows the role: some roles may assign only some.
func (f *Face) putAssignment(ctx context.Context, c *operation.Call, in AssignmentBody) (Assignment, error) {
	if err := in.Check(c.Param(assignmentParam)); err != nil {
		return Assignment{}, err
	}
	p := in.Properties
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (Assignment, error) {
		if err := c.Require(tx, authz.Need{Action: assignmentWrite, Scope: c.Scope, Role: roleGUID(p.RoleDefinitionID)}); err != nil {
			return Assignment{}, err
		}
		if err := f.checkPlace(tx, placeOf(c.Scope)); err != nil {
			return Assignment{}, err
		}
		a, created, err := f.authz.Assign(tx, authz.Assignment{
			ID: c.Param(assignmentParam), Scope: c.Scope.Text, RoleDefinitionID: p.RoleDefinitionID,
			PrincipalID: p.PrincipalID, PrincipalType: p.PrincipalType, Description: p.Description,
		}, c.Caller.ObjectID)
		c.Created(created)
		c.Granted(a.RoleDefinitionID, a.PrincipalID)
		return f.wireAssignment(a), err
	})
}

func (f *Face) getAssignment(ctx context.Context, c *operation.Call, _ operation.None) (Assignment, error) {
	var a authz.Assignment
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		a, err = f.authz.Assignment(tx, c.Scope, c.Param(assignmentParam))
		return err
	})
	return f.wireAssignment(a), err
}

func (f *Face) deleteAssignment(ctx context.Context, c *operation.Call, _ operation.None) (Assignment, error) {
	id := c.Param(assignmentParam)
	return operation.Change(ctx, c, func(c *operation.Call, tx *db.Tx) (Assignment, error) {
		a, err := f.authz.Assignment(tx, c.Scope, id)
		if isMissing(err) {
			return Assignment{}, absent("role assignment", id)
		}
		if err != nil {
			return Assignment{}, err
		}
		if err := c.Require(tx, authz.Need{Action: assignmentDelete, Scope: c.Scope, Role: a.RoleDefinitionID}); err != nil {
			return Assignment{}, err
		}
		c.Granted(a.RoleDefinitionID, a.PrincipalID)
		_, err = f.authz.Remove(tx, c.Scope, id)
		return f.wireAssignment(a), err
	})
}

func (f *Face) listAssignments(ctx context.Context, c *operation.Call, _ operation.None) (List[Assignment], error) {
	filter, err := parseAssignmentFilter(c.Query.Get("$filter"))
	if err != nil {
		return List[Assignment]{}, err
	}
	var found []authz.Assignment
	err = c.View(ctx, func(tx *db.Tx) (err error) {
		if err := f.checkPlace(tx, placeOf(c.Scope)); err != nil {
			return err
		}
		found, err = f.authz.List(tx, c.Scope, filter)
		return err
	})
	return List[Assignment]{Value: convert(found, f.wireAssignment)}, err
}

func parseAssignmentFilter(text string) (authz.Filter, error) {
	terms, err := parseFilter(text)
	if err != nil {
		return authz.Filter{}, err
	}
	var out authz.Filter
	for _, t := range terms {
		switch {
		case t.is("atScope", true) && t.value == "":
			out.AtScope = true
		case t.is("principalId", false) && t.value != "":
			out.Principal = t.value
		case t.is("assignedTo", true) && t.value != "":
			out.AssignedTo = t.value
		default:
			return authz.Filter{}, badFilter()
		}
	}
	return out, nil
}
