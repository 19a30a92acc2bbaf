package graph

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

const groupActions = "microsoft.directory/groups/"

func (f *face) declareGroups(t *operation.Table) {
	const collection, one = "/v1.0/groups", "/v1.0/groups/{id}"
	operation.Handle(t, write("GroupCreate", "POST", collection, groupActions+"create", http.StatusCreated,
		"Make a security group."), f.createGroup)
	operation.Handle(t, read("GroupList", "GET", collection, groupActions+"standard/read",
		"List groups; $filter by displayName."), f.listGroups)
	operation.Handle(t, read("GroupGet", "GET", one, groupActions+"standard/read",
		"Get a group."), f.getGroup)
	operation.Handle(t, write("GroupDelete", "DELETE", one, groupActions+"delete", http.StatusNoContent,
		"Delete a group; its members stay."), f.deleteGroup)
	operation.Handle(t, read("GroupListMembers", "GET", one+"/members", groupActions+"members/read",
		"List the direct members of a group."), f.listMembers)
	operation.Handle(t, write("GroupAddMember", "POST", one+"/members/$ref", groupActions+"members/update", http.StatusNoContent,
		"Add a member to a group; groups may hold groups."), f.addMember)
	operation.Handle(t, write("GroupRemoveMember", "DELETE", one+"/members/{member-id}/$ref", groupActions+"members/update", http.StatusNoContent,
		"Remove a member from a group; it counts for the next request."), f.removeMember)
}

// A Group is a security group.
type Group struct {
	ID              string `json:"id"`
	DisplayName     string `json:"displayName"`
	SecurityEnabled bool   `json:"securityEnabled"`
	MailEnabled     bool   `json:"mailEnabled"`
	Created         string `json:"createdDateTime"`
}

func newGroup(p identity.Principal) Group {
	return Group{ID: p.ObjectID, DisplayName: p.Name, SecurityEnabled: true, Created: timeText(p.Created)}
}

func isGroup(p identity.Principal) bool { return p.Kind == identity.Group }

// A NewGroup is the body of POST /groups.
type NewGroup struct {
	DisplayName     string `json:"displayName"`
	MailEnabled     bool   `json:"mailEnabled"`
	SecurityEnabled *bool  `json:"securityEnabled"`
}

func (f *face) createGroup(ctx context.Context, c *operation.Call, in NewGroup) (Group, error) {
	if in.MailEnabled || in.SecurityEnabled != nil && !*in.SecurityEnabled {
		return Group{}, apierr.BadRequest("Request_BadRequest", "Want a security group: mailEnabled false and securityEnabled true.")
	}
	return operation.Change(ctx, c, func(_ *operation.Call, tx *db.Tx) (Group, error) {
		p, err := f.store.CreateGroup(tx, in.DisplayName)
		return newGroup(p), err
	})
}

func (f *face) listGroups(ctx context.Context, c *operation.Call, _ operation.None) (List[Group], error) {
	search, err := parseFilter(c.Query.Get("$filter"), "displayName")
	if err != nil {
		return List[Group]{}, err
	}
	all, err := f.principals(ctx, c, func(p identity.Principal) bool {
		return isGroup(p) && search.passes(map[string][]string{"displayName": {p.Name}})
	})
	if err != nil {
		return List[Group]{}, err
	}
	out := make([]Group, len(all))
	for i, p := range all {
		out[i] = newGroup(p)
	}
	return page(c, "groups", out, func(g Group) string { return g.ID })
}

func (f *face) getGroup(ctx context.Context, c *operation.Call, _ operation.None) (Group, error) {
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		p, err = f.named(tx, c, isGroup)
		return err
	})
	return newGroup(p), err
}

func (f *face) deleteGroup(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	return operation.None{}, c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		if err := requireOwner(tx, c); err != nil {
			return err
		}
		p, err := f.named(tx, c, isGroup)
		if err != nil {
			return err
		}
		return f.store.DeletePrincipal(tx, p.ObjectID)
	})
}

func (f *face) listMembers(ctx context.Context, c *operation.Call, _ operation.None) (List[DirectoryObject], error) {
	var out []DirectoryObject
	err := c.View(ctx, func(tx *db.Tx) error {
		p, err := f.named(tx, c, isGroup)
		if err != nil {
			return err
		}
		members, err := f.store.ListMembers(tx, p.ObjectID)
		if err != nil {
			return err
		}
		for _, m := range members {
			out = append(out, newObject(m))
		}
		return nil
	})
	if err != nil {
		return List[DirectoryObject]{}, err
	}
	return page(c, "directoryObjects", out, func(o DirectoryObject) string { return o.ID })
}

// A MemberReference is the body of POST /groups/{id}/members/$ref: the URL of a directory object.
type MemberReference struct {
	Object string `json:"@odata.id"`
}

// objectID is the id at the end of the URL. Only that counts: tools write the host of the public
// service there.
func (r MemberReference) objectID() (string, error) {
	u, err := url.Parse(r.Object)
	if err == nil {
		path := strings.TrimRight(u.Path, "/")
		if id := path[strings.LastIndex(path, "/")+1:]; resource.IsGUID(id) {
			return strings.ToLower(id), nil
		}
	}
	return "", apierr.BadRequest("Request_BadRequest", "@odata.id: want a URL that ends in /directoryObjects/ and an object id.")
}

func (f *face) addMember(ctx context.Context, c *operation.Call, in MemberReference) (operation.None, error) {
	member, err := in.objectID()
	if err != nil {
		return operation.None{}, err
	}
	return operation.None{}, f.changeMembers(ctx, c, func(tx *db.Tx, group string) error {
		return f.store.AddMember(tx, group, member)
	})
}

func (f *face) removeMember(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	return operation.None{}, f.changeMembers(ctx, c, func(tx *db.Tx, group string) error {
		return f.store.RemoveMember(tx, group, strings.ToLower(c.Param("member-id")))
	})
}

// changeMembers runs fn over the group of the path, for a caller who may act as anybody.
func (f *face) changeMembers(ctx context.Context, c *operation.Call, fn func(*db.Tx, string) error) error {
	return c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		if err := requireOwner(tx, c); err != nil {
			return err
		}
		p, err := f.named(tx, c, isGroup)
		if err != nil {
			return err
		}
		return fn(tx, p.ObjectID)
	})
}
