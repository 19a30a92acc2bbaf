package login

import (
	"strings"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/resource"
)

// metaDefaultIdentity is the meta row with the object id of the identity that a request gets
// which names none. dev writes it.
const metaDefaultIdentity = "default_identity"

// Refusals of an identity that cannot be told, in the service's own words.
var (
	errNoIdentity = apierr.BadRequest("invalid_request", "Identity not found")
	errAmbiguous  = apierr.BadRequest("invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
)

// identityForRun finds the identity that a run is to have.
func (f *face) identityForRun(tx *db.Tx, text string) (identity.Principal, error) {
	p, err := f.namedIdentity(tx, text)
	if err != nil {
		return identity.Principal{}, err
	}
	if !p.Enabled {
		return identity.Principal{}, apierr.BadRequest("IdentityDisabled", "the identity %q is disabled", p.Name)
	}
	return p, nil
}

func (f *face) namedIdentity(tx *db.Tx, text string) (identity.Principal, error) {
	if text == "" {
		return f.defaultIdentity(tx)
	}
	directory, err := f.Store.LoadDirectory(tx)
	if err != nil {
		return identity.Principal{}, err
	}
	var found []identity.Principal
	for _, p := range directory.Principals {
		if isProgram(p) && named(p, text) {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return identity.Principal{}, apierr.NotFound("IdentityNotFound", "no identity with the client id, object id or name %q", text)
	case len(found) > 1:
		return identity.Principal{}, apierr.BadRequest("IdentityAmbiguous", "%d identities have the name %q: give the client id", len(found), text)
	}
	return found[0], nil
}

func isProgram(p identity.Principal) bool {
	return p.Kind == identity.ManagedIdentity || p.Kind == identity.ServicePrincipal
}

func named(p identity.Principal, text string) bool {
	if resource.IsGUID(text) {
		return strings.EqualFold(p.AppID, text) || strings.EqualFold(p.ObjectID, text)
	}
	if strings.HasPrefix(text, "/") {
		return p.ResourceID != "" && strings.EqualFold(p.ResourceID, text)
	}
	return p.Name == text
}

// defaultIdentity is the one that the deployment names, else the only managed identity.
func (f *face) defaultIdentity(tx *db.Tx) (identity.Principal, error) {
	objectID, err := tx.Meta(metaDefaultIdentity)
	if err != nil {
		return identity.Principal{}, err
	}
	managed, err := f.Store.ListManagedIdentities(tx, "")
	if err != nil {
		return identity.Principal{}, err
	}
	for _, p := range managed {
		if p.ObjectID == objectID {
			return p, nil
		}
	}
	switch len(managed) {
	case 0:
		return identity.Principal{}, errNoIdentity
	case 1:
		return managed[0], nil
	}
	return identity.Principal{}, errAmbiguous
}
