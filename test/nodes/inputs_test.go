//go:build unix

package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// timed are the tables that no request changes, but time, or an operator. Making keys is slow.
var timed = map[string]func(t *testing.T, changes int){
	"signing_keys": changeSigningKeys, "audit_segments": changeSegments, "settings": changeSettings,
}

// TestEveryInputCountsAtOnce changes each table of docs/architecture.md, "What a decision reads".
func TestEveryInputCountsAtOnce(t *testing.T) {
	changes := served.Size(10, 500)
	var tested []string
	d := newDeployment(t)
	for _, row := range inputRows {
		tested = append(tested, row.table)
		t.Run(row.table, func(t *testing.T) {
			for i := range changes {
				on, at := d.first, d.second
				if i/2%2 == 1 {
					on, at = d.second, d.first
				}
				// What the other node has in memory is of before.
				if i > 0 {
					if err := row.check(d, i-1, at); err != nil {
						t.Fatalf("before change %d: %v", i, err)
					}
				}
				if err := row.change(d, i, on); err != nil {
					t.Fatalf("change %d: %v", i, err)
				}
				if err := row.check(d, i, at); err != nil {
					t.Fatalf("after change %d: %v", i, err)
				}
			}
		})
	}
	for table, change := range timed {
		tested = append(tested, table)
		t.Run(table, func(t *testing.T) { change(t, served.Size(4, 500)) })
	}
	slices.Sort(tested)
	if want := documentedInputs(t); !slices.Equal(tested, want) {
		t.Errorf("tested are the tables %q; docs/architecture.md lists %q", tested, want)
	}
}

// documentedInputs are the tables that docs/architecture.md lists.
func documentedInputs(t *testing.T) (tables []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## What a decision reads")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
		tables = append(tables, m[1])
	}
	slices.Sort(tables)
	return tables
}

// A deployment is two nodes with what the rows change.
type deployment struct {
	*client
	first, second *served.Server
	app           served.Application // of the client
	group         string             // has the right that the client has as its member
	made          served.Application // by the last change of an application
	secret        served.Secret      // by the last change of a credential
}

// other is the secret that rows change; nothing else does.
const other = "/secrets/other?api-version=7.6"

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{}
	d.first, d.second = twoNodes(t)
	d.client = newClient(t, d.first)
	d.app = d.client.app
	d.first.Must("PUT", served.VaultHost+other, `{"value":"0"}`)
	var made struct{ ID string }
	d.first.MustDecode(d.first.Must("POST", "graph.localhost/v1.0/groups",
		`{"displayName":"readers","mailEnabled":false,"mailNickname":"readers","securityEnabled":true}`), &made)
	d.group = made.ID
	d.first.Must("PUT", d.assignment(1_000_000), served.RoleAssignment(secretsUser, d.group))
	d.first.Must("PUT", d.about.Vault(vault)+management, vaultBody(d, ""))
	d.first.Must("PUT", vaultSecret, `{"value":"x"}`)
	return d
}

// twoNodes starts two processes over one PostgreSQL.
func twoNodes(t *testing.T) (first, second *served.Server) {
	t.Helper()
	url := dbtest.NewDatabase(t)
	first = served.New(t, url, "identity_listen="+served.FreeAddress(t))
	first.Start()
	second = served.New(t, url, "root_key.file="+filepath.Join(first.Data(), "root.key"))
	second.ListenBeside(first)
	second.Start()
	return first, second
}

// wantStatus compares what the client's read is answered.
func (d *deployment) wantStatus(at *served.Server, want int) error {
	status, err := at.Get(served.VaultHost, shared, d.token)
	if err != nil || status != want {
		return fmt.Errorf("a read on the other node: %d, %v, want %d", status, err, want)
	}
	return nil
}

// wantSignIn compares how a sign-in is answered.
func (d *deployment) wantSignIn(at *served.Server, appID, secret string, want int) error {
	status, _, err := at.SignIn(d.about.Tenant, appID, secret, served.VaultResource)
	if status != want {
		return fmt.Errorf("a sign-in on the other node: %d, %v, want %d", status, err, want)
	}
	return nil
}

// wantOwner compares what the owner is answered.
func wantOwner(at *served.Server, target string, want int, part string) error {
	host, path, _ := strings.Cut(target, "/")
	status, _, answer, err := at.Call("GET", host, "/"+path, "")
	if err != nil || status != want || !strings.Contains(string(answer), part) {
		return fmt.Errorf("a read on the other node: %d, %v: %s; want %d and %s", status, err, answer, want, part)
	}
	return nil
}
