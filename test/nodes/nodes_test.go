//go:build unix

// Package nodes runs several server processes over one PostgreSQL, and two over one SQLite file.
package nodes

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// pairs is how often a right is given and taken.
const pairs = 200

// TestGrantsCountAtOnce gives and takes a right on one node and uses it on the other: the next
// request after the answer must see it, each time.
func TestGrantsCountAtOnce(t *testing.T) {
	url := dbtest.NewDatabase(t)
	first := served.New(t, url, "identity_listen="+served.FreeAddress(t))
	first.Start()
	second := served.New(t, url, "root_key.file="+filepath.Join(first.Data(), "root.key"))
	second.ListenBeside(first)
	second.Start()
	c := newClient(t, first)
	token := c.token("tester")
	wrongDenials, staleAllows := 0, 0
	for i := range pairs {
		grantOn, useOn := first, second
		if i%2 == 1 {
			grantOn, useOn = second, first
		}
		path := c.assignment(i)
		c.must(grantOn, "PUT", path, c.assignmentBody)
		if status := c.read(useOn, token); status != 200 {
			wrongDenials++
		}
		c.must(grantOn, "DELETE", path, "")
		if status := c.read(useOn, token); status != 403 {
			staleAllows++
		}
	}
	if wrongDenials+staleAllows > 0 {
		t.Errorf("of %d pairs: %d false denials, %d stale allows; want none", pairs, wrongDenials, staleAllows)
	}
	t.Logf("%d pairs over two processes: %d false denials, %d stale allows", pairs, wrongDenials, staleAllows)
}

// TestSecondServerOnOneFile starts a second server over the same SQLite file.
func TestSecondServerOnOneFile(t *testing.T) {
	first := served.New(t, "")
	first.Start()
	cmd := exec.Command(served.Binary(t), "dev", "--data-dir", first.Data(), "--listen", served.FreeAddress(t),
		"--set", "metrics_listen=off", "--set", "identity_listen=off", "--set", "socket="+first.Socket()+"2")
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("process %d on", first.PID())
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("the second server: %v, said %q; want a refusal that names %q", err, out, want)
	}
}

// A client prepares a vault, an identity with a token, and requests with it.
type client struct {
	t              *testing.T
	s              *served.Server
	about          struct{ Tenant, Subscription, Group string }
	assignmentBody string
	principal      string
}

func newClient(t *testing.T, s *served.Server) *client {
	c := &client{t: t, s: s}
	c.decode(c.get("local", "/about"), &c.about)
	c.must(s, "PUT", c.vaultHostSecret(), `{"value":"x"}`)
	return c
}

func (c *client) vaultHostSecret() string {
	return served.VaultHost + "/secrets/shared?api-version=7.6"
}

// must sends a request whose path begins with its host, over a node's local socket.
func (c *client) must(s *served.Server, method, target, body string) []byte {
	c.t.Helper()
	host, path, _ := strings.Cut(target, "/")
	status, _, answer, err := s.Call(method, host, "/"+path, body)
	if err != nil || status >= 300 {
		c.t.Fatalf("%s %s: %d, %v: %s", method, target, status, err, answer)
	}
	return answer
}

func (c *client) get(host, path string) []byte { return c.must(c.s, "GET", host+path, "") }

func (c *client) decode(b []byte, to any) {
	c.t.Helper()
	if err := json.Unmarshal(b, to, json.MatchCaseInsensitiveNames(true)); err != nil {
		c.t.Fatal(err)
	}
}

// token makes a service principal with a secret and signs it in.
func (c *client) token(name string) string {
	c.t.Helper()
	graph, login := "graph.localhost", "login.localhost"
	var app struct{ ID, AppID string }
	c.decode(c.must(c.s, "POST", graph+"/v1.0/applications", fmt.Sprintf(`{"displayName":%q}`, name)), &app)
	var sp struct{ ID string }
	c.decode(c.must(c.s, "POST", graph+"/v1.0/servicePrincipals", fmt.Sprintf(`{"appId":%q}`, app.AppID)), &sp)
	var password struct{ SecretText string }
	c.decode(c.must(c.s, "POST", graph+"/v1.0/applications/"+app.ID+"/addPassword", `{"passwordCredential":{"displayName":"test"}}`), &password)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	form := "grant_type=client_credentials&client_id=" + app.AppID + "&client_secret=" + password.SecretText +
		"&scope=https%3A%2F%2F" + c.vaultResource() + "%2F.default"
	c.decode(c.must(c.s, "POST", login+"/"+c.about.Tenant+"/oauth2/v2.0/token", form), &answer)
	c.principal = sp.ID
	c.assignmentBody = fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6","principalId":%q}}`, sp.ID)
	return answer.AccessToken
}

func (c *client) vaultResource() string { return "vault.localhost" }

func (c *client) assignment(i int) string {
	return fmt.Sprintf("%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.KeyVault/vaults/dev/providers/Microsoft.Authorization/roleAssignments/%08d-0000-4000-8000-000000000000?api-version=2022-04-01",
		served.ManagementHost, c.about.Subscription, c.about.Group, i+1)
}

// read asks a node's TLS listener with the token.
func (c *client) read(s *served.Server, token string) int {
	c.t.Helper()
	status, err := s.Get(served.VaultHost, "/secrets/shared?api-version=7.6", token)
	if err != nil {
		c.t.Fatal(err)
	}
	return status
}
