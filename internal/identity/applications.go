package identity

import (
	"time"

	"strongroom/internal/db"
)

// An Application holds credentials; its service principal holds roles.
type Application struct {
	ID      string // object id of the application itself, which no token carries
	AppID   string // client id
	Name    string
	Created time.Time
}

var selectApplications = `
	SELECT ` + db.Applications.Columns("") + `
	FROM applications `

func applicationFields(tenant string, a Application) []any {
	return []any{tenant, a.ID, a.AppID, a.Name, a.Created.UnixMicro()}
}

func scanApplication(row db.Scanner) (a Application, seal db.Seal, err error) {
	var tenant string
	var created int64
	err = row.Scan(&tenant, &a.ID, &a.AppID, &a.Name, &created, &seal.MAC)
	a.Created = micros(created)
	seal.Fields = applicationFields(tenant, a)
	return a, seal, err
}

// CreateApplication makes an application without credentials and without a service principal.
// Names need not be unique.
func (s *Store) CreateApplication(tx *db.Tx, name string) (Application, error) {
	if err := checkName(name); err != nil {
		return Application{}, err
	}
	a := Application{ID: db.NewGUID(), AppID: db.NewGUID(), Name: name, Created: tx.Now}
	_, err := tx.Put(db.Applications, nil, applicationFields(s.Tenant, a)...)
	return a, err
}

// GetApplication returns the application with an object id or client id.
func (s *Store) GetApplication(tx *db.Tx, id string) (Application, error) {
	a, found, err := s.application(tx, id)
	if err == nil && !found {
		err = notFound(id)
	}
	return a, err
}

func (s *Store) application(tx *db.Tx, id string) (Application, bool, error) {
	return db.ReadRow(tx, db.Applications, scanApplication,
		selectApplications+`WHERE tenant_id = $1 AND (application_id = $2 OR app_id = $2)`, s.Tenant, idKey(id))
}

// ListApplications returns the applications by id; with an appID only the one that has it.
func (s *Store) ListApplications(tx *db.Tx, appID string) ([]Application, error) {
	const order = ` ORDER BY application_id`
	if appID == "" {
		return db.ReadRows(tx, db.Applications, scanApplication, selectApplications+`WHERE tenant_id = $1`+order, s.Tenant)
	}
	return db.ReadRows(tx, db.Applications, scanApplication,
		selectApplications+`WHERE tenant_id = $1 AND app_id = $2`+order, s.Tenant, idKey(appID))
}

// DeleteApplication removes an application, its credentials and its service principal. Nobody
// signs in as it from then on, and its tokens hold no more.
func (s *Store) DeleteApplication(tx *db.Tx, id string) error {
	a, err := s.GetApplication(tx, id)
	if err != nil {
		return err
	}
	if p, found, err := s.byAppID(tx, a.AppID); err != nil {
		return err
	} else if found {
		if err := s.DeletePrincipal(tx, p.ObjectID); err != nil {
			return err
		}
	}
	if _, err := tx.Remove(db.Credentials, `tenant_id = $1 AND app_id = $2`, s.Tenant, a.AppID); err != nil {
		return err
	}
	_, err = tx.Remove(db.Applications, `tenant_id = $1 AND application_id = $2`, s.Tenant, a.ID)
	return err
}
