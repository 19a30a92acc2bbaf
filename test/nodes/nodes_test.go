//go:build unix

// Package nodes runs several server processes over one PostgreSQL, and two over one SQLite file.
package nodes

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// TestGrantsCountAtOnce gives and takes a right on one node and uses it on the other: the next
// request after the answer must see it, each time. At times the node that is asked stands still
// meanwhile, with requests in it, and its answers are held for up to two seconds.
func TestGrantsCountAtOnce(t *testing.T) {
	pairs, holdEvery := served.Size(200, 10_000), served.Size(100, 100)
	first, second := twoNodes(t)
	c := newClient(t, first)
	wrongDenials, staleAllows, held := 0, 0, 0
	for i := range pairs {
		grantOn, useOn := first, second
		if i%2 == 1 {
			grantOn, useOn = second, first
		}
		hold := time.Duration(0)
		if i%holdEvery == holdEvery/2 || i%holdEvery == holdEvery/2+1 { // one of each node
			hold = holds[held%len(holds)]
			held++
		}
		path := c.assignment(i)
		if status := c.readAfter(useOn, hold, func() { grantOn.Must("PUT", path, c.assignmentBody) }); status != 200 {
			wrongDenials++
		}
		if status := c.readAfter(useOn, hold, func() { grantOn.Must("DELETE", path, "") }); status != 403 {
			staleAllows++
		}
	}
	if wrongDenials+staleAllows > 0 {
		t.Errorf("of %d pairs: %d false denials, %d stale allows; want none", pairs, wrongDenials, staleAllows)
	}
	t.Logf("%d pairs over two processes, answers held in %d: %d false denials, %d stale allows", pairs, held, wrongDenials, staleAllows)
}

// holds are how long a node stands still.
var holds = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 20 * time.Millisecond}

// unheard bounds how long a change may wait for a node that stands still.
const unheard = 10 * time.Second

// readAfter changes something and then reads at a node. With a hold the node stands still from
// before the change until the read has waited so long for its answer, and has requests in it that
// came before the change: theirs is either answer.
func (c *client) readAfter(at *served.Server, hold time.Duration, change func()) (status int) {
	c.t.Helper()
	if hold == 0 {
		change()
		return c.read(at)
	}
	var before sync.WaitGroup
	defer before.Wait()
	for range 4 {
		before.Go(func() { at.Get(served.VaultHost, shared, c.token) })
	}
	syscall.Kill(at.PID(), syscall.SIGSTOP)
	resume := func() { syscall.Kill(at.PID(), syscall.SIGCONT) }
	defer resume()
	late := time.AfterFunc(unheard, resume)
	change()
	late.Stop()
	defer time.AfterFunc(hold, resume).Stop()
	return c.read(at)
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
	app            served.Application
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
	c.app = app
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
