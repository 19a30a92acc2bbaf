package graph

import (
	"context"
	"slices"
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

func (f *face) declareObjects(t *operation.Table) {
	operation.Handle(t, read("DirectoryObjectsGetByIds", "POST", "/v1.0/directoryObjects/getByIds", "microsoft.directory/directoryObjects/standard/read",
		"Get directory objects of several kinds by their ids; unknown ids are left out."), f.getByIDs)
	operation.Handle(t, read("MeGet", "GET", "/v1.0/me", "",
		"Get the caller's own directory object."), f.me)
}

// A DirectoryObject is a principal of any kind, as lists of mixed kinds show it.
type DirectoryObject struct {
	Type              string   `json:"@odata.type"`
	ID                string   `json:"id"`
	DisplayName       string   `json:"displayName"`
	AppID             string   `json:"appId,omitzero"`
	UserPrincipalName string   `json:"userPrincipalName,omitzero"`
	PrincipalNames    []string `json:"servicePrincipalNames,omitzero"`
	PrincipalType     string   `json:"servicePrincipalType,omitzero"`
	SecurityEnabled   *bool    `json:"securityEnabled,omitzero"`
}

func newObject(p identity.Principal) DirectoryObject {
	o := DirectoryObject{ID: p.ObjectID, DisplayName: p.Name}
	switch p.Kind {
	case identity.Group:
		yes := true
		o.Type, o.SecurityEnabled = "#microsoft.graph.group", &yes
	case identity.ServicePrincipal, identity.ManagedIdentity:
		o.Type, o.AppID = "#microsoft.graph.servicePrincipal", p.AppID
		o.PrincipalNames, o.PrincipalType = []string{p.AppID}, principalType(p.Kind)
	default:
		o.Type, o.UserPrincipalName = "#microsoft.graph.user", p.Name
	}
	return o
}

// kindWord is the word of an object's kind in the types of getByIds.
func (o DirectoryObject) kindWord() string { return strings.TrimPrefix(o.Type, "#microsoft.graph.") }

// maxIDs is the largest number of ids in getByIds (Graph, directoryObject: getByIds).
const maxIDs = 1000

// An IDList is the body of getByIds; no types means all.
type IDList struct {
	IDs   []string `json:"ids"`
	Types []string `json:"types"`
}

func (f *face) getByIDs(ctx context.Context, c *operation.Call, in IDList) (List[DirectoryObject], error) {
	out := List[DirectoryObject]{Context: c.BaseURL() + "/v1.0/$metadata#directoryObjects", Value: []DirectoryObject{}}
	if n := len(in.IDs); n == 0 || n > maxIDs {
		return out, apierr.BadRequest("Request_BadRequest", "ids: want 1 to %d ids, found %d.", maxIDs, n)
	}
	err := c.View(ctx, func(tx *db.Tx) error {
		directory, err := f.store.LoadDirectory(tx)
		if err != nil {
			return err
		}
		for _, id := range in.IDs {
			p, ok := directory.Principals[strings.ToLower(id)]
			if !ok {
				continue
			}
			if o := newObject(p); len(in.Types) == 0 || hasFold(in.Types, o.kindWord()) || hasFold(in.Types, "directoryObject") {
				out.Value = append(out.Value, o)
			}
		}
		return nil
	})
	return out, err
}

func hasFold(list []string, word string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, word) })
}

// me answers to every caller. Divergence: the service refuses programs here, which have no user.
func (f *face) me(ctx context.Context, c *operation.Call, _ operation.None) (DirectoryObject, error) {
	if c.Caller.Kind == identity.LocalOwner || c.Caller.Kind == identity.System {
		return newObject(identity.Principal{ObjectID: c.Caller.ObjectID, Name: c.Caller.Name, Kind: c.Caller.Kind}), nil
	}
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		p, err = f.store.Principal(tx, c.Caller.ObjectID)
		return err
	})
	return newObject(p), err
}
