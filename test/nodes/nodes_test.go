//go:build unix

// Package nodes runs several server processes over one PostgreSQL, and two over one SQLite file.
package nodes

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	wrongDenials, staleAllows := 0, 0
	for i := range pairs {
		grantOn, useOn := first, second
		if i%2 == 1 {
			grantOn, useOn = second, first
		}
		path := c.assignment(i)
		grantOn.Must("PUT", path, c.assignmentBody)
		if status := c.read(useOn); status != 200 {
			wrongDenials++
		}
		grantOn.Must("DELETE", path, "")
		if status := c.read(useOn); status != 403 {
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

// A client is an application with a token, and the role assignment that it is given and taken.
type client struct {
	t              *testing.T
	about          served.About
	token          string
	assignmentBody string
}

// secretsUser is the published id of Key Vault Secrets User.
const secretsUser = "4633458b-17de-408a-b874-0445c86b69e6"

// shared is the secret that the client reads.
const shared = "/secrets/shared?api-version=7.6"

func newClient(t *testing.T, s *served.Server) *client {
	t.Helper()
	c := &client{t: t, about: s.About()}
	s.Must("PUT", served.VaultHost+shared, `{"value":"x"}`)
	app, err := s.NewApplication("tester")
	if err != nil {
		t.Fatal(err)
	}
	if _, c.token, err = s.SignIn(c.about.Tenant, app.AppID, app.Secret.SecretText, served.VaultResource); err != nil {
		t.Fatal(err)
	}
	c.assignmentBody = served.RoleAssignment(secretsUser, app.PrincipalID)
	return c
}

func (c *client) assignment(i int) string {
	return fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/%08d-0000-4000-8000-000000000000?api-version=2022-04-01", c.about.Vault("dev"), i+1)
}

// read asks a node's TLS listener for the secret, and returns the status.
func (c *client) read(s *served.Server) int {
	c.t.Helper()
	status, err := s.Get(served.VaultHost, shared, c.token)
	if err != nil {
		c.t.Fatal(err)
	}
	return status
}
