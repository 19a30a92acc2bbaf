//go:build unix

package served

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
)

// VaultResource is what a token for the vaults is asked for.
const VaultResource = "https://vault.localhost"

// Owner sends a request over the local socket, as the owner of the deployment, and wants success.
// The target begins with the host. Any goroutine may call it, as all here that returns an error.
func (s *Server) Owner(method, target, body string) ([]byte, error) {
	host, path, _ := strings.Cut(target, "/")
	status, _, answer, err := s.Call(method, host, "/"+path, body)
	if err != nil || status >= 300 {
		return nil, fmt.Errorf("%s %s: %d, %v: %s", method, target, status, err, answer)
	}
	return answer, nil
}

// Must is Owner for the goroutine of the test: without success the test ends.
func (s *Server) Must(method, target, body string) []byte {
	s.t.Helper()
	answer, err := s.Owner(method, target, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// Decode reads JSON into fields of the same names, in whatever case.
func Decode(answer []byte, to any) error {
	if err := json.Unmarshal(answer, to, json.MatchCaseInsensitiveNames(true)); err != nil {
		return fmt.Errorf("%w in %s", err, answer)
	}
	return nil
}

// MustDecode is Decode for the goroutine of the test: without success the test ends.
func (s *Server) MustDecode(answer []byte, to any) {
	s.t.Helper()
	if err := Decode(answer, to); err != nil {
		s.t.Fatal(err)
	}
}

// An About is what a deployment says of itself.
type About struct{ Tenant, Subscription, Group, Region, ManagementHost, LoginHost, VaultSuffix string }

// About asks the server.
func (s *Server) About() (about About) {
	s.t.Helper()
	s.MustDecode(s.Must("GET", "local/about", ""), &about)
	return about
}

// Vault is the management path of a vault, behind its host.
func (a About) Vault(name string) string {
	return fmt.Sprintf("%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.KeyVault/vaults/%s",
		ManagementHost, a.Subscription, a.Group, name)
}

// RoleAssignment is the body that gives a role, by its published id, to a principal.
func RoleAssignment(role, principal string) string {
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`, role, principal)
}

// An Application can sign in, and has no right yet.
type Application struct {
	ObjectID    string // names it at graph
	AppID       string // what it signs in with
	PrincipalID string // of its service principal: what roles are given to
	Secret      Secret
}

// A Secret is one that an application signs in with.
type Secret struct{ SecretText, KeyID string }

const graph = "graph.localhost/v1.0/"

// NewApplication makes an application with a service principal and a secret.
func (s *Server) NewApplication(name string) (Application, error) {
	var app, principal struct{ ID, AppID string }
	if err := s.post(graph+"applications", fmt.Sprintf(`{"displayName":%q}`, name), &app); err != nil {
		return Application{}, err
	}
	if err := s.post(graph+"servicePrincipals", fmt.Sprintf(`{"appId":%q}`, app.AppID), &principal); err != nil {
		return Application{}, err
	}
	secret, err := s.NewSecret(app.ID, "")
	return Application{app.ID, app.AppID, principal.ID, secret}, err
}

// NewSecret gives an application, by its object id, one more secret. It ends at a time of RFC 3339,
// or with "" when the server lets it end.
func (s *Server) NewSecret(application, end string) (secret Secret, err error) {
	body := `{"passwordCredential":{}}`
	if end != "" {
		body = fmt.Sprintf(`{"passwordCredential":{"endDateTime":%q}}`, end)
	}
	return secret, s.post(graph+"applications/"+application+"/addPassword", body, &secret)
}

func (s *Server) post(target, body string, to any) error {
	answer, err := s.Owner("POST", target, body)
	if err != nil {
		return err
	}
	return Decode(answer, to)
}

// SignIn asks for a token with a client id and a secret. Whenever there is none, err says why; the
// status is that of the answer, or 0 if none came.
func (s *Server) SignIn(tenant, appID, secret, resource string) (status int, token string, err error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {secret}, "scope": {resource + "/.default"},
	}
	status, _, answer, err := s.Call("POST", "login.localhost", "/"+tenant+"/oauth2/v2.0/token", form.Encode())
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("sign in for %s: %d: %s", resource, status, answer)
	}
	if err != nil {
		return status, "", err
	}
	var got struct {
		Token string `json:"access_token"`
	}
	err = Decode(answer, &got)
	return status, got.Token, err
}
