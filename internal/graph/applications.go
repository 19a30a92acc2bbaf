package graph

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

const (
	applicationActions = "microsoft.directory/applications/"
	changeCredentials  = applicationActions + "credentials/update"
)

func (f *face) declareApplications(t *operation.Table) {
	const collection, one = "/v1.0/applications", "/v1.0/applications/{id}"
	operation.Handle(t, write("ApplicationCreate", "POST", collection, applicationActions+"create", http.StatusCreated,
		"Register an application."), f.createApplication)
	operation.Handle(t, read("ApplicationList", "GET", collection, applicationActions+"standard/read",
		"List applications; $filter by appId or displayName."), f.listApplications)
	operation.Handle(t, read("ApplicationGet", "GET", one, applicationActions+"standard/read",
		"Get an application with its credentials, without secrets."), f.getApplication)
	operation.Handle(t, write("ApplicationUpdate", "PATCH", one, changeCredentials, http.StatusNoContent,
		"Add certificates to an application."), f.updateApplication)
	operation.Handle(t, write("ApplicationDelete", "DELETE", one, applicationActions+"delete", http.StatusNoContent,
		"Delete an application with its credentials and its service principal."), f.deleteApplication)
	operation.Handle(t, write("ApplicationAddPassword", "POST", one+"/addPassword", changeCredentials, http.StatusOK,
		"Make a client secret; its text is shown this once."), f.addPassword)
	operation.Handle(t, write("ApplicationRemovePassword", "POST", one+"/removePassword", changeCredentials, http.StatusNoContent,
		"Remove a client secret."), f.removePassword)
	operation.Handle(t, write("ApplicationRemoveKey", "POST", one+"/removeKey", changeCredentials, http.StatusNoContent,
		"Remove a certificate."), f.removeKey)
}

// An Application is a registration: what credentials belong to.
type Application struct {
	ID          string               `json:"id"`
	AppID       string               `json:"appId"`
	DisplayName string               `json:"displayName"`
	Created     string               `json:"createdDateTime"`
	Audience    string               `json:"signInAudience"`
	Passwords   []PasswordCredential `json:"passwordCredentials"`
	Keys        []KeyCredential      `json:"keyCredentials"`
}

// A PasswordCredential is a client secret; only addPassword's answer has its text.
type PasswordCredential struct {
	DisplayName string             `json:"displayName"`
	End         string             `json:"endDateTime"`
	Hint        string             `json:"hint"`
	KeyID       string             `json:"keyId"`
	SecretText  *envelope.Revealed `json:"secretText"`
	Start       string             `json:"startDateTime"`
}

// A KeyCredential is a certificate; answers leave the certificate itself out, as Graph's do.
type KeyCredential struct {
	CustomKeyIdentifier string  `json:"customKeyIdentifier"` // SHA-1 thumbprint in upper-case hex
	DisplayName         string  `json:"displayName"`
	End                 string  `json:"endDateTime"`
	Key                 *string `json:"key"`
	KeyID               string  `json:"keyId"`
	Start               string  `json:"startDateTime"`
	Type                string  `json:"type"`
	Usage               string  `json:"usage"`
}

func newApplication(a identity.Application, credentials []identity.Credential) Application {
	out := Application{
		ID: a.ID, AppID: a.AppID, DisplayName: a.Name, Created: timeText(a.Created), Audience: "AzureADMyOrg",
		Passwords: []PasswordCredential{}, Keys: []KeyCredential{},
	}
	for _, cr := range credentials {
		if cr.Kind == identity.Secret {
			out.Passwords = append(out.Passwords, newPassword(cr))
			continue
		}
		out.Keys = append(out.Keys, KeyCredential{
			CustomKeyIdentifier: strings.ToUpper(cr.ThumbprintSHA1), DisplayName: cr.Name, KeyID: cr.ID,
			Start: timeText(cr.NotBefore), End: timeText(cr.Expires), Type: "AsymmetricX509Cert", Usage: "Verify",
		})
	}
	return out
}

func newPassword(cr identity.Credential) PasswordCredential {
	return PasswordCredential{
		DisplayName: cr.Name, Hint: cr.Hint, KeyID: cr.ID, Start: timeText(cr.NotBefore), End: timeText(cr.Expires),
	}
}

// A NewApplication is the body of POST /applications.
type NewApplication struct {
	DisplayName string `json:"displayName"`
}

func (f *face) createApplication(ctx context.Context, c *operation.Call, in NewApplication) (Application, error) {
	return operation.Change(ctx, c, func(_ *operation.Call, tx *db.Tx) (Application, error) {
		a, err := f.store.CreateApplication(tx, in.DisplayName)
		return newApplication(a, nil), err
	})
}

// withCredentials reads an application's credentials and makes its wire form.
func (f *face) withCredentials(tx *db.Tx, a identity.Application) (Application, error) {
	credentials, err := f.store.ListCredentials(tx, a.AppID)
	return newApplication(a, credentials), err
}

func (f *face) listApplications(ctx context.Context, c *operation.Call, _ operation.None) (List[Application], error) {
	search, err := parseFilter(c.Query.Get("$filter"), "appId", "displayName")
	if err != nil {
		return List[Application]{}, err
	}
	var out []Application
	err = c.View(ctx, func(tx *db.Tx) error {
		all, err := f.store.ListApplications(tx, "")
		if err != nil {
			return err
		}
		for _, a := range all {
			if !search.passes(map[string][]string{"appId": {a.AppID}, "displayName": {a.Name}}) {
				continue
			}
			wire, err := f.withCredentials(tx, a)
			if err != nil {
				return err
			}
			out = append(out, wire)
		}
		return nil
	})
	if err != nil {
		return List[Application]{}, err
	}
	return page(c, "applications", out, func(a Application) string { return a.ID })
}

func (f *face) getApplication(ctx context.Context, c *operation.Call, _ operation.None) (Application, error) {
	var out Application
	err := c.View(ctx, func(tx *db.Tx) error {
		a, err := f.store.GetApplication(tx, c.Param("id"))
		if err != nil {
			return err
		}
		out, err = f.withCredentials(tx, a)
		return err
	})
	return out, err
}

func (f *face) deleteApplication(ctx context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	return operation.None{}, f.change(ctx, c, func(tx *db.Tx, a identity.Application) error {
		return f.store.DeleteApplication(tx, a.ID)
	})
}

// change runs fn over the application of the path, for a caller who may act as anybody.
func (f *face) change(ctx context.Context, c *operation.Call, fn func(*db.Tx, identity.Application) error) error {
	return c.Update(ctx, func(c *operation.Call, tx *db.Tx) error {
		if err := requireOwner(tx, c); err != nil {
			return err
		}
		a, err := f.store.GetApplication(tx, c.Param("id"))
		if err != nil {
			return err
		}
		return fn(tx, a)
	})
}

// An ApplicationChange is the body of PATCH /applications/{id}. A certificate is added when its
// key is there. Divergence: those that the list leaves out stay; removeKey removes them.
type ApplicationChange struct {
	DisplayName *string  `json:"displayName"`
	Keys        []NewKey `json:"keyCredentials"`
}

// A NewKey is a certificate to add, or, without a key, one that is there already.
type NewKey struct {
	Type        string `json:"type"`
	Usage       string `json:"usage"`
	Key         string `json:"key"` // base64 of the DER form
	DisplayName string `json:"displayName"`
}

func (f *face) updateApplication(ctx context.Context, c *operation.Call, in ApplicationChange) (operation.None, error) {
	if in.DisplayName != nil {
		return operation.None{}, apierr.BadRequest("Request_BadRequest", "displayName: an application keeps its name; only keyCredentials can be changed.")
	}
	added, err := newKeys(in.Keys)
	if err != nil {
		return operation.None{}, err
	}
	return operation.None{}, f.change(ctx, c, func(tx *db.Tx, a identity.Application) error {
		for _, k := range added {
			if _, err := f.store.AddCertificate(tx, a.AppID, k.name, k.der); err != nil {
				return err
			}
		}
		return nil
	})
}

type certificate struct {
	name string
	der  []byte
}

// newKeys checks and decodes the certificates that are to be added.
func newKeys(keys []NewKey) ([]certificate, error) {
	var out []certificate
	for _, k := range keys {
		if k.Key == "" {
			continue
		}
		if k.Type != "AsymmetricX509Cert" || k.Usage != "Verify" {
			return nil, apierr.BadRequest("Request_BadRequest", "keyCredentials: want type AsymmetricX509Cert and usage Verify.")
		}
		der, err := base64.StdEncoding.DecodeString(k.Key)
		if err != nil {
			return nil, apierr.BadRequest("Request_BadRequest", "keyCredentials: want key as base64 of the certificate's DER form.")
		}
		out = append(out, certificate{k.DisplayName, der})
	}
	return out, nil
}

// A NewPassword is the body of addPassword.
type NewPassword struct {
	Credential struct {
		DisplayName string     `json:"displayName"`
		Start       *time.Time `json:"startDateTime"` // default: now
		End         *time.Time `json:"endDateTime"`   // default and limit: see identity.Store.AddSecret
	} `json:"passwordCredential"`
}

func (f *face) addPassword(ctx context.Context, c *operation.Call, in NewPassword) (PasswordCredential, error) {
	secret, _ := identity.NewClientSecret()
	var start, end time.Time
	if in.Credential.Start != nil {
		start = *in.Credential.Start
	}
	if in.Credential.End != nil {
		end = *in.Credential.End
	}
	var cr identity.Credential
	err := f.change(ctx, c, func(tx *db.Tx, a identity.Application) (err error) {
		cr, err = f.store.AddSecret(tx, a.AppID, in.Credential.DisplayName, secret, start, end)
		return err
	})
	if err != nil {
		return PasswordCredential{}, err
	}
	out, text := newPassword(cr), secret.ForAnswer()
	out.SecretText = &text
	return out, nil
}

// A KeyReference is the body of removePassword and removeKey.
type KeyReference struct {
	KeyID string `json:"keyId"`
}

func (f *face) removePassword(ctx context.Context, c *operation.Call, in KeyReference) (operation.None, error) {
	return f.removeCredential(ctx, c, in.KeyID, identity.Secret)
}

func (f *face) removeKey(ctx context.Context, c *operation.Call, in KeyReference) (operation.None, error) {
	return f.removeCredential(ctx, c, in.KeyID, identity.Certificate)
}

func (f *face) removeCredential(ctx context.Context, c *operation.Call, id string, kind identity.CredentialKind) (operation.None, error) {
	return operation.None{}, f.change(ctx, c, func(tx *db.Tx, a identity.Application) error {
		all, err := f.store.ListCredentials(tx, a.AppID)
		if err != nil {
			return err
		}
		for _, cr := range all {
			if cr.Kind == kind && strings.EqualFold(cr.ID, id) {
				return f.store.RemoveCredential(tx, a.AppID, cr.ID)
			}
		}
		return apierr.BadRequest("Request_BadRequest", "No credentials found to be removed.")
	})
}
