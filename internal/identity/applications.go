package identity

import (
	"fmt"
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

const applications = "applications"

const selectApplications = `
	SELECT application_id, app_id, display_name, created_us, row_mac
	FROM applications `

func (s *Store) applicationFields(a Application) []any {
	return []any{s.Tenant, a.ID, a.AppID, a.Name, a.Created.UnixMicro()}
}

func (s *Store) scanApplication(row db.Scanner) (Application, error) {
	var a Application
	var created int64
	var mac []byte
	if err := row.Scan(&a.ID, &a.AppID, &a.Name, &created, &mac); err != nil {
		return a, err
	}
	a.Created = micros(created)
	if err := s.Ring.CheckRow(mac, applications, s.applicationFields(a)...); err != nil {
		return a, fmt.Errorf("application %s: %w", a.ID, err)
	}
	return a, nil
}

// CreateApplication makes an application without credentials and without a service principal.
// Names need not be unique.
func (s *Store) CreateApplication(tx *db.Tx, name string) (Application, error) {
	if err := checkName(name); err != nil {
		return Application{}, err
	}
	a := Application{ID: db.NewGUID(), AppID: db.NewGUID(), Name: name, Created: tx.Now}
	const q = `
		INSERT INTO applications (tenant_id, application_id, app_id, display_name, created_us, row_mac)
		VALUES ($1, $2, $3, $4, $5, $6)`
	return a, s.write(tx, db.Authorisation, applications, q, s.applicationFields(a))
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
	return readOne(tx, applications, s.scanApplication,
		selectApplications+`WHERE tenant_id = $1 AND (application_id = $2 OR app_id = $2)`, s.Tenant, idKey(id))
}

// ListApplications returns the applications by id; with an appID only the one that has it.
func (s *Store) ListApplications(tx *db.Tx, appID string) ([]Application, error) {
	const order = ` ORDER BY application_id`
	if appID == "" {
		return readAll(tx, applications, s.scanApplication, selectApplications+`WHERE tenant_id = $1`+order, s.Tenant)
	}
	return readAll(tx, applications, s.scanApplication,
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
	const keys = `DELETE FROM credentials WHERE tenant_id = $1 AND app_id = $2`
	if _, err := remove(tx, credentials, keys, s.Tenant, a.AppID); err != nil {
		return err
	}
	const row = `DELETE FROM applications WHERE tenant_id = $1 AND application_id = $2`
	_, err = remove(tx, applications, row, s.Tenant, a.ID)
	return err
}
