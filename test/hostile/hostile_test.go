//go:build unix

// Package hostile sends the built server what no honest client sends: forged tokens, smuggled and
// malformed requests, slow and endless ones, and thousands that do nothing. Each has to get one
// clear refusal, or to be cut off, and must change nothing: not the state, not the audit log's
// truth, not the answers that others get meanwhile.
//
// Most requests are bytes on a TLS connection, since client libraries refuse to send them. Those
// that are one request and one answer stand in a table, testdata; see its README.
package hostile

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"strongroom/test/served"
)

// patience is how long a test waits for what has to come; far more than it takes.
const patience = 20 * time.Second

// prompt is within what time an honest request is answered, whatever others do.
const prompt = 2 * time.Second

// A deployment is a server with two secrets in its vault, a caller who may do everything there,
// and the state that hostile requests must leave as it is.
type deployment struct {
	*served.Server
	t      *testing.T
	about  served.About
	roots  *x509.CertPool
	caller served.Application
	token  string // of the caller, for the vault
	before string
	also   []string // what more is of the state
}

// start starts a server with settings over the usual ones, and takes its state.
func start(t *testing.T, settings ...string) *deployment {
	t.Helper()
	return startOn(t, "", settings...)
}

// startOn is start on PostgreSQL or, with "", on SQLite.
func startOn(t *testing.T, postgresURL string, settings ...string) *deployment {
	t.Helper()
	// net/http reports panics to the log at its lowest level.
	d := &deployment{t: t, Server: served.New(t, postgresURL, append([]string{"log.level=debug"}, settings...)...)}
	d.Start()
	d.roots, d.about = d.Roots(), d.About()
	d.makeCaller()
	d.token = d.newToken(served.VaultResource)
	for _, name := range []string{"kept", "spare"} {
		d.Must("PUT", served.VaultHost+"/secrets/"+name+"?api-version=7.6", `{"value":"as it was","tags":{"a":"b"}}`)
	}
	d.before = d.state()
	return d
}

// makeCaller makes an application with Key Vault Administrator on the vault.
func (d *deployment) makeCaller() {
	d.t.Helper()
	var err error
	if d.caller, err = d.NewApplication("caller"); err != nil {
		d.t.Fatal(err)
	}
	d.Must("PUT", d.vault()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01",
		served.RoleAssignment(administrator, d.caller.PrincipalID))
}

// vault is the management path of the vault, behind its host.
func (d *deployment) vault() string { return d.about.Vault("dev") }

// newToken signs the caller in for a resource.
func (d *deployment) newToken(resource string) string {
	d.t.Helper()
	_, token, err := d.SignIn(d.about.Tenant, d.caller.AppID, d.caller.Secret.SecretText, resource)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// state is all that hostile requests could have changed.
func (d *deployment) state() string {
	d.t.Helper()
	var all strings.Builder
	subscription := served.ManagementHost + "/subscriptions/" + d.about.Subscription
	for _, target := range append([]string{
		served.VaultHost + "/secrets?api-version=7.6", served.VaultHost + "/deletedsecrets?api-version=7.6",
		served.VaultHost + "/secrets/kept?api-version=7.6", served.VaultHost + "/secrets/kept/versions?api-version=7.6",
		d.vault() + "?api-version=2024-11-01",
		d.vault() + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
		subscription + "/providers/Microsoft.KeyVault/vaults?api-version=2024-11-01",
		subscription + "/providers/Microsoft.KeyVault/deletedVaults?api-version=2024-11-01",
		subscription + "/resourceGroups?api-version=2021-04-01",
		subscription + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31",
		subscription + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
		"graph.localhost/v1.0/applications", "graph.localhost/v1.0/servicePrincipals", "graph.localhost/v1.0/groups",
	}, d.also...) {
		fmt.Fprintf(&all, "%s\n%s\n", target, d.Must("GET", target, ""))
	}
	return all.String()
}

// unchanged checks that the state is as it was, that the server is ready, and that nothing in it
// panicked.
func (d *deployment) unchanged(after string) {
	d.t.Helper()
	if got := d.state(); got != d.before {
		d.t.Errorf("%s: the state is not as it was:%s", after, difference(got, d.before))
		d.before = got
	}
	if log := d.Log(); strings.Contains(log, "panic") {
		d.t.Errorf("%s: a panic in the log: %s", after, log[strings.Index(log, "panic"):])
	}
	d.WaitReady()
}

// difference shows the lines of a state that are not as before.
func difference(got, want string) string {
	var b strings.Builder
	before := strings.Split(want, "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(before) || line != before[i] {
			fmt.Fprintf(&b, "\n%s\nwant\n%s", line, before[min(i, len(before)-1)])
		}
	}
	return b.String()
}

// trust is the TLS configuration of a client that trusts the server's authority alone.
func (d *deployment) trust(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: d.roots, ServerName: served.VaultHost, NextProtos: protocols}
}

// dial opens a TLS connection with the given protocol; it ends with the test.
func (d *deployment) dial(protocol string) *tls.Conn {
	d.t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", d.Listen, d.trust(protocol))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// authorized is a GET of a secret with the caller's token, as bytes.
func (d *deployment) authorized() string {
	return request("GET /secrets/kept?api-version=7.6", "Authorization: Bearer "+d.token)
}

// request writes a request to the vault: method and target, and lines of headers.
func request(line string, headers ...string) string {
	return bare(line+" HTTP/1.1", append([]string{"Host: " + served.VaultHost}, headers...)...)
}

// bare writes a request as it stands.
func bare(line string, headers ...string) string {
	return line + "\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// prompts sends honest requests over new connections, and wants a prompt success each time.
func (d *deployment) prompts(n int, during string) {
	d.t.Helper()
	for range n {
		began := time.Now()
		a := d.ask(d.authorized())
		if took := time.Since(began); a.status != http.StatusOK || took > prompt {
			d.t.Errorf("%s: an honest request got %d after %v; want 200 within %v", during, a.status, took, prompt)
		}
	}
}
