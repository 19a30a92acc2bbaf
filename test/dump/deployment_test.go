//go:build unix

// Package dump dumps the built server while it runs, restores elsewhere and on the other engine, and
// compares everything that callers can see.
package dump

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// atOnce is how many requests are under way.
const atOnce = 16

// commandWithin bounds one run of the command line.
const commandWithin = 30 * time.Minute

// A deployment is a server with its place, its keys, and what was put into it.
type deployment struct {
	*served.Server
	t     *testing.T
	url   string // of its PostgreSQL, or ""
	about served.About
	app   served.Application
	plain []string // values of secrets, and other plaintext that nothing on a disk may show
	names []string // of some secrets, which a decrypted dump does show
}

// newDeployment starts a server with an empty vault "dev".
func newDeployment(t *testing.T, url string) *deployment {
	t.Helper()
	d := &deployment{Server: served.New(t, url), t: t, url: url}
	d.Start()
	d.about = d.About()
	return d
}

// emptyPlace is a place for the dump of another deployment, whose root key it has already.
func (d *deployment) emptyPlace(url string) *deployment {
	d.t.Helper()
	p := &deployment{Server: served.New(d.t, url), t: d.t, url: url, about: d.about, app: d.app, plain: d.plain, names: d.names}
	if err := os.MkdirAll(p.Data(), 0o700); err != nil {
		d.t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(d.Data(), "root.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Data(), "root.key"), key, 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// fill makes n secrets in two vaults, some with more versions, deleted, purged or disabled, and what
// else a deployment has.
func (d *deployment) fill(n int) {
	d.t.Helper()
	for _, vault := range []string{"payroll", "gone"} {
		d.Must("PUT", d.about.Vault(vault)+"?api-version=2023-07-01",
			`{"location":"`+d.about.Region+`","tags":{"of":"`+vault+`"},"properties":{"tenantId":"`+d.about.Tenant+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`)
	}
	d.Must("PUT", "gone.vault.localhost/secrets/inside?api-version=7.6", `{"value":"in a deleted vault"}`)
	d.Must("DELETE", d.about.Vault("gone")+"?api-version=2023-07-01", "")
	each(d.t, n, d.fillOne)
	for i := range min(n, 40) {
		d.plain = append(d.plain, value(i, 1))
		d.names = append(d.names, fmt.Sprintf("secret-%d", i))
	}
	d.fillDirectory()
}

func value(i, version int) string { return fmt.Sprintf("value %d of secret %d, grün", version, i) }

func (d *deployment) fillOne(i int) error {
	vault := []string{"dev", "payroll"}[i%2]
	at := fmt.Sprintf("%s.vault.localhost/secrets/secret-%d", vault, i)
	const version = "?api-version=7.6"
	requests := [][3]string{{"PUT", at + version, fmt.Sprintf(`{"value":%q,"tags":{"n":"%d"},"contentType":"text/plain"}`, value(i, 1), i)}}
	if i%3 == 0 {
		requests = append(requests, [3]string{"PUT", at + version, fmt.Sprintf(`{"value":%q,"attributes":{"exp":4102444800}}`, value(i, 2))})
	}
	if i%11 == 0 {
		requests = append(requests, [3]string{"PATCH", at + "/" + version, `{"attributes":{"enabled":false},"tags":{"off":"yes"}}`})
	}
	if i%5 == 0 {
		requests = append(requests, [3]string{"DELETE", at + version, ""})
	}
	if i%35 == 0 {
		requests = append(requests, [3]string{"DELETE", strings.Replace(at, "/secrets/", "/deletedsecrets/", 1) + version, ""})
	}
	for _, r := range requests {
		if _, err := d.Owner(r[0], r[1], r[2]); err != nil {
			return err
		}
	}
	return nil
}

// Published ids of roles: Key Vault Secrets User, Key Vault Administrator.
const (
	secretsUser   = "4633458b-17de-408a-b874-0445c86b69e6"
	administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
)

// fillDirectory makes an application that may read the vault dev, a group, and an identity.
func (d *deployment) fillDirectory() {
	d.t.Helper()
	var err error
	if d.app, err = d.NewApplication("reader"); err != nil {
		d.t.Fatal(err)
	}
	d.plain = append(d.plain, d.app.Secret.SecretText)
	assignment := d.about.Vault("dev") + "/providers/Microsoft.Authorization/roleAssignments/%s?api-version=2022-04-01"
	d.Must("PUT", fmt.Sprintf(assignment, "00000001-0000-4000-8000-000000000000"), served.RoleAssignment(secretsUser, d.app.PrincipalID))
	d.Must("PUT", fmt.Sprintf("%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web?api-version=2023-01-31",
		served.ManagementHost, d.about.Subscription, d.about.Group), `{"location":"`+d.about.Region+`"}`)
	var group struct{ ID string }
	d.MustDecode(d.Must("POST", "graph.localhost/v1.0/groups", `{"displayName":"people","mailEnabled":false,"mailNickname":"people","securityEnabled":true}`), &group)
	d.Must("POST", "graph.localhost/v1.0/groups/"+group.ID+"/members/$ref", `{"@odata.id":"https://graph.localhost/v1.0/directoryObjects/`+d.app.PrincipalID+`"}`)
	d.Must("PUT", fmt.Sprintf(assignment, "00000002-0000-4000-8000-000000000000"), served.RoleAssignment(administrator, group.ID))
}

// each calls fn for 0 to n-1, many at once.
func each(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { return fn(i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// port is the server's, which stands in ids and links.
func (d *deployment) port() string {
	_, port, err := net.SplitHostPort(d.Listen)
	if err != nil {
		d.t.Fatal(err)
	}
	return port
}

// place are the settings by which a command finds the deployment when its server does not run.
func (d *deployment) place() []string {
	args := []string{"--data-dir", d.Data()}
	if d.url != "" {
		args = append(args, "--set", "database.engine=postgresql", "--set", "database.url="+d.url)
	}
	return args
}

// A pair is an age key in files.
type pair struct{ recipient, identityFile string }

func newPair(t *testing.T) pair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	p := pair{id.Recipient().String(), filepath.Join(t.TempDir(), "key.txt")}
	if err := os.WriteFile(p.identityFile, []byte("# made by a test\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// dump dumps to a new file.
func (d *deployment) dump(to pair) string {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "strongroom.dump.age")
	command(d.t, "dump", "--socket", d.Socket(), "--to", file, "--recipient", to.recipient)
	return file
}

// restore restores and confirms.
func (d *deployment) restore(file string, with pair) (printed string) {
	d.t.Helper()
	return command(d.t, append([]string{"restore", "--from", file, "--identity", with.identityFile, "--confirm"}, d.place()...)...)
}

// run runs the command line.
func run(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := newCommand(t, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func newCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandWithin)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, served.Binary(t), args...)
}

// command runs the command line, wants success, and returns what it printed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := run(t, args...)
	if code != 0 {
		t.Fatalf("strongroom %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// readWithAge opens a dump by age alone, for a look inside.
func readWithAge(t *testing.T, file string, with pair) []byte {
	t.Helper()
	key, err := os.ReadFile(with.identityFile)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(key))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	in, err := age.Decrypt(sealed, identities...)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pathOf is the path and query of a link.
func pathOf(link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", err
	}
	return u.Host + u.RequestURI(), nil
}
