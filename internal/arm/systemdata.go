package arm

import (
	"time"

	"strongroom/internal/authz"
	"strongroom/internal/db"
	"strongroom/internal/identity"
)

// SystemData says who made and last changed a resource, and when.
type SystemData struct {
	CreatedBy          string `json:"createdBy"` // object id
	CreatedByType      string `json:"createdByType"`
	CreatedAt          string `json:"createdAt"`
	LastModifiedBy     string `json:"lastModifiedBy"`
	LastModifiedByType string `json:"lastModifiedByType"`
	LastModifiedAt     string `json:"lastModifiedAt"`
}

// newSystemData fills the record; kind looks up what a principal is, which may be gone.
func newSystemData(by string, at time.Time, lastBy string, lastAt time.Time, kind func(objectID string) identity.Kind) SystemData {
	return SystemData{
		CreatedBy: by, CreatedByType: systemType(kind(by)), CreatedAt: stamp(at),
		LastModifiedBy: lastBy, LastModifiedByType: systemType(kind(lastBy)), LastModifiedAt: stamp(lastAt),
	}
}

// systemType is Azure's word for a kind of principal (common types, createdByType). Who is gone
// from the directory counts as an application.
func systemType(k identity.Kind) string {
	switch k {
	case identity.User, identity.LocalOwner:
		return "User"
	case identity.ManagedIdentity:
		return "ManagedIdentity"
	}
	return "Application"
}

// kinds looks principals up in the directory that the transaction sees.
func kinds(store *authz.Store, tx *db.Tx) (func(objectID string) identity.Kind, error) {
	snap, err := store.Current(tx)
	if err != nil {
		return nil, err
	}
	return func(objectID string) identity.Kind {
		p, _ := snap.Principal(objectID)
		return p.Kind
	}, nil
}
