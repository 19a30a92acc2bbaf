package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxCertificate bounds a certificate file; a leaf with its chain is a few KiB.
const maxCertificate = 64 << 10

// An application is the part of an identity that holds its credentials.
type application struct {
	ID        string       `json:"id"`
	Passwords []credential `json:"passwordCredentials"`
	Keys      []credential `json:"keyCredentials"`
}

type credential struct {
	KeyID       string `json:"keyId"`
	DisplayName string `json:"displayName"`
	Hint        string `json:"hint"`
	Start       string `json:"startDateTime"`
	End         string `json:"endDateTime"`
}

// application finds the application of a service principal.
func (c *call) application(p principal) (application, error) {
	item, err := c.applicationJSON(p)
	if err != nil {
		return application{}, err
	}
	return newApplication(item)
}

func newApplication(item jsontext.Value) (app application, err error) {
	if json.Unmarshal(item, &app) != nil || app.ID == "" {
		return application{}, errNotJSON
	}
	return app, nil
}

func (c *call) applicationJSON(p principal) (jsontext.Value, error) {
	if p.Kind == managedIdentity {
		return nil, failed("", "%q is a managed identity, which has no credentials", p.Name)
	}
	cl := c.connection
	filter := url.Values{"$filter": {"appId eq '" + strings.ReplaceAll(p.ClientID, "'", "''") + "'"}}
	found, err := cl.list(c.ctx, cl.graph(), "/v1.0/applications?"+filter.Encode())
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, failed("", "the directory has %d applications with the client id %s", len(found), p.ClientID)
	}
	return found[0], nil
}

// namedApplication finds the application of the identity that the first argument names.
func (c *call) namedApplication() (application, error) {
	p, err := c.identity(c.args[0])
	if err != nil {
		return application{}, err
	}
	return c.application(p)
}

// showIdentity prints an identity and, if it is an application, its credentials.
func (c *call) showIdentity() error {
	p, err := c.identity(c.args[0])
	if err != nil {
		return err
	}
	if p.Kind == managedIdentity {
		return c.showPrincipal(p)
	}
	item, err := c.applicationJSON(p)
	if err != nil {
		return err
	}
	if c.json() {
		if p.wire, err = withCredentials(p.wire, item); err != nil {
			return err
		}
		return c.showPrincipal(p)
	}
	if err := c.showPrincipal(p); err != nil {
		return err
	}
	return c.writeCredentials(item)
}

// withCredentials adds an application's credentials to its service principal, under their names
// on the wire, where the directory has them apart.
func withCredentials(principal, item jsontext.Value) (jsontext.Value, error) {
	var out, app map[string]jsontext.Value
	if json.Unmarshal(principal, &out) != nil || json.Unmarshal(item, &app) != nil || out == nil {
		return nil, errNotJSON
	}
	for _, name := range []string{"passwordCredentials", "keyCredentials"} {
		out[name] = jsontext.Value("[]")
		if list, ok := app[name]; ok {
			out[name] = list
		}
	}
	b, err := json.Marshal(out, json.Deterministic(true))
	if err != nil {
		return nil, errNotJSON
	}
	return b, nil
}

func (c *call) writeCredentials(item jsontext.Value) error {
	app, err := newApplication(item)
	if err != nil || len(app.Passwords)+len(app.Keys) == 0 {
		return err
	}
	var rows [][]string
	for _, list := range []struct {
		kind string
		of   []credential
	}{{"secret", app.Passwords}, {"certificate", app.Keys}} {
		for _, k := range list.of {
			rows = append(rows, []string{list.kind, k.KeyID, k.DisplayName, k.Hint, k.End})
		}
	}
	fmt.Fprintln(c.out)
	return c.writeTable([]string{"Credential", "Key id", "Name", "Begins with", "Expires"}, rows)
}

func (c *call) addSecret() error {
	expires, err := c.moment("expires")
	if err != nil {
		return err
	}
	app, err := c.namedApplication()
	if err != nil {
		return err
	}
	wish := map[string]any{"displayName": c.text("display-name")}
	if !expires.IsZero() {
		wish["endDateTime"] = expires.Format(time.RFC3339)
	}
	cl := c.connection
	made, err := cl.do(c.ctx, cl.graph(), http.MethodPost, applicationPath(app.ID)+"/addPassword", map[string]any{"passwordCredential": wish})
	if err != nil {
		return err
	}
	if c.json() {
		return c.writeJSON(made)
	}
	var answer struct {
		Text  string `json:"secretText"`
		KeyID string `json:"keyId"`
		End   string `json:"endDateTime"`
	}
	if json.Unmarshal(made, &answer) != nil || answer.Text == "" {
		return errNotJSON
	}
	c.say("key id %s, expires %s; the secret is shown this once", answer.KeyID, answer.End)
	_, err = fmt.Fprintln(c.out, answer.Text)
	return err
}

func (c *call) addCertificate() error {
	b, err := c.readValue("certificate", maxCertificate)
	if err != nil {
		return err
	}
	der, err := certificateDER(b)
	if err != nil {
		return err
	}
	app, err := c.namedApplication()
	if err != nil {
		return err
	}
	cl := c.connection
	_, err = cl.do(c.ctx, cl.graph(), http.MethodPatch, applicationPath(app.ID), map[string]any{
		"keyCredentials": []map[string]string{{
			"type": "AsymmetricX509Cert", "usage": "Verify",
			"key": base64.StdEncoding.EncodeToString(der), "displayName": c.text("display-name"),
		}},
	})
	if err == nil {
		c.say("%q can sign in with the certificate", c.args[0])
	}
	return err
}

// certificateDER takes the first certificate out of PEM or DER. A file with a private key in it
// is refused before anything of it is sent.
func certificateDER(b []byte) ([]byte, error) {
	var der []byte
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		der = b
	}
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, failed("give the certificate alone", "the file holds a private key, which must stay with the program")
		}
		if block.Type == "CERTIFICATE" && der == nil {
			der = block.Bytes
		}
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return nil, failed("", "the file holds no certificate in PEM or DER")
	}
	return der, nil
}

func (c *call) removeCredential() error {
	app, err := c.namedApplication()
	if err != nil {
		return err
	}
	is := func(k credential) bool { return strings.EqualFold(k.KeyID, c.args[1]) }
	action := ""
	switch {
	case slices.ContainsFunc(app.Passwords, is):
		action = "/removePassword"
	case slices.ContainsFunc(app.Keys, is):
		action = "/removeKey"
	default:
		return failed(fmt.Sprintf("\"strongroom identity show %s\" shows the key ids", c.args[0]), "%q has no credential %q", c.args[0], c.args[1])
	}
	cl := c.connection
	_, err = cl.do(c.ctx, cl.graph(), http.MethodPost, applicationPath(app.ID)+action, map[string]string{"keyId": c.args[1]})
	if err == nil {
		c.say("removed the credential %s of %q", c.args[1], c.args[0])
	}
	return err
}
