//go:build unix

// Package tamper lets somebody loose who can write to the database but has no key: he edits, copies,
// swaps, deletes, forges and brings back rows, while the built server runs and while it is stopped.
// No attack may yield a value that its reader is not entitled to or that is not the current one, and
// each has to be refused, or named in the log and the audit log within one scrub.
//
// A base is prepared once per engine: a day yesterday, kept as tables y_… beside the real ones, and
// what has changed lawfully since. Each attack has a server and a copy of the base of its own, so
// that nothing has to be undone.
package tamper

import (
	"database/sql"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// atOnce is how many attacks run beside each other: most of their time they wait for a scrub.
const atOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set(atOnce)
	}
	dbtest.Main(m)
}

// Roles, by their published ids.
const (
	administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483" // Key Vault Administrator
	metadata      = "21090545-7ca7-4776-b22c-e363652d74d2" // Key Vault Reader: no values
)

// apiVersion follows a path of the management plane or of a vault.
const (
	vaultVersion  = "?api-version=7.6"
	armVersion    = "?api-version=2024-11-01"
	assignVersion = "?api-version=2022-04-01"
)

// A base is a stopped deployment to copy.
type base struct {
	dir      string // its data folder
	database string // of PostgreSQL, a template; else ""
	names    map[string]string
	about    served.About
}

// A builder prepares a base over the local socket, as the local owner.
type builder struct {
	*served.Server
	t     testing.TB
	b     *base
	hands *sql.DB

	expiry time.Time // of the credential "expired"
}

// newBase prepares a deployment; url is "" for SQLite.
func newBase(t testing.TB, url, database string) *base {
	t.Helper()
	b := &builder{t: t, Server: served.New(t, url), b: &base{names: map[string]string{}, database: database}}
	b.b.dir = t.TempDir()
	b.Start()
	b.hands = openHands(t, b.Server, url)
	b.b.about = b.About()
	b.yesterday()
	b.keepYesterday()
	b.today()
	b.nameVaults()
	b.numbered()
	b.b.names["outsider-for-reader.secret"], b.b.names["outsider-for-reader.of"] = b.b.names["outsider.secret"], "reader"
	b.Stop()
	// Who held the leases is gone; without this his successor would wait for a minute.
	b.exec(`DELETE FROM leases`)
	b.hands.Close()
	copyFolder(t, b.Data(), b.b.dir)
	return b.b
}

// openHands opens the database as the attacker has it.
func openHands(t testing.TB, s *served.Server, url string) *sql.DB {
	t.Helper()
	driver, source := "pgx", url
	if url == "" {
		driver = "sqlite"
		source = "file:" + filepath.Join(s.Data(), "strongroom.db") + "?_pragma=busy_timeout(10000)&_txlock=immediate"
	}
	d, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// yesterday makes vaults, callers and secrets. Values of victims begin with VALUE-; the outsider's
// own is THEIRS-mine.
func (b *builder) yesterday() {
	for _, vault := range []string{"target", "theirs", "untouched", "closed", "buried", "banded"} {
		b.putVault(vault, `{}`)
	}
	for _, app := range []string{"reader", "outsider", "retired", "narrow"} {
		b.putApplication(app)
	}
	b.assign(1, "target", "reader", administrator)
	b.assign(2, "untouched", "reader", administrator)
	b.assign(3, "closed", "reader", administrator)
	b.assign(4, "theirs", "outsider", administrator)
	b.assign(5, "target", "outsider", administrator) // revoked today
	b.assign(6, "target", "outsider", metadata)
	b.assign(7, "target", "retired", administrator)
	for _, group := range []string{"crew", "band", "junk"} {
		b.putGroup(group)
		b.member("POST", group, "outsider")
	}
	b.assign(8, "target", "crew", administrator)
	b.assign(11, "target/secrets/db", "narrow", administrator) // one secret alone
	b.assign(9, "banded", "band", administrator)
	b.assign(10, "buried", "outsider", administrator)
	b.addPassword("reader", "leaked", "")
	b.expiry = time.Now().Add(1500 * time.Millisecond)
	b.addPassword("reader", "expired", b.expiry.UTC().Format(time.RFC3339Nano))
	for _, s := range []string{"target/db", "target/api", "target/gone", "target/purged", "target/off", "target/dated", "closed/inside", "buried/bones", "banded/tune"} {
		b.set(s, "VALUE-old-"+s[strings.Index(s, "/")+1:])
	}
	b.set("theirs/mine", "THEIRS-mine")
	b.set("untouched/calm", "VALUE-calm")
	b.Must("DELETE", "target.vault.localhost/secrets/purged"+vaultVersion, "")
}

// today is what has lawfully changed since.
func (b *builder) today() {
	b.set("target/db", "VALUE-now-db")
	b.set("target/api", "VALUE-now-api")
	b.Must("DELETE", "target.vault.localhost/secrets/gone"+vaultVersion, "")
	b.Must("DELETE", "target.vault.localhost/deletedsecrets/purged"+vaultVersion, "")
	b.Must("PATCH", "target.vault.localhost/secrets/off"+vaultVersion, `{"attributes":{"enabled":false}}`)
	b.Must("PATCH", "target.vault.localhost/secrets/dated"+vaultVersion, `{"attributes":{"exp":1700000000},"contentType":"text/plain","tags":{"a":"b"}}`)
	b.Must("DELETE", b.assignment(5, "target"), "")
	b.member("DELETE", "crew", "outsider")
	b.Must("PATCH", "graph.localhost/v1.0/servicePrincipals/"+b.b.names["retired.id"], `{"accountEnabled":false}`)
	b.Must("POST", "graph.localhost/v1.0/applications/"+b.b.names["reader.object"]+"/removePassword",
		fmt.Sprintf(`{"keyId":%q}`, b.b.names["leaked.key"]))
	b.putVault("closed", `{"networkAcls":{"defaultAction":"Deny","bypass":"None"}}`)
	b.Must("DELETE", b.vault("buried")+armVersion, "")
	<-time.After(time.Until(b.expiry)) // by now it has expired
}

// keepYesterday copies all tables, and on SQLite the file.
func (b *builder) keepYesterday() {
	b.numbered()
	if b.b.database == "" {
		b.exec(`VACUUM INTO '` + filepath.Join(b.Data(), yesterdaysFile) + `'`)
	}
	for _, table := range tables {
		b.exec(`CREATE TABLE y_` + table + ` AS SELECT * FROM ` + table)
	}
}

// yesterdaysFile is the whole database of yesterday, in the data folder.
const yesterdaysFile = "yesterday.db"

// numbered has all entries numbered that are stored by now.
func (b *builder) numbered() { b.Must("GET", "management.localhost/audit/entries?api-version=7.6", "") }

var tables = []string{
	"meta", "revisions", "journal", "keyring", "resource_groups", "vaults", "secrets", "secret_versions",
	"applications", "principals", "group_members", "credentials", "signing_keys", "role_assignments", "events",
}

func (b *builder) exec(q string) {
	b.t.Helper()
	if _, err := b.hands.Exec(q); err != nil {
		b.t.Fatalf("%s: %v", q, err)
	}
}

func (b *builder) nameVaults() {
	rows, err := b.hands.Query(`SELECT name_key, vault_id FROM vaults`)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, id string
		if err := rows.Scan(&name, &id); err != nil {
			b.t.Fatal(err)
		}
		b.b.names[name] = id
	}
}

// vault is the management path of a vault, behind its host.
func (b *builder) vault(name string) string { return b.b.about.Vault(name) }

func (b *builder) putVault(name, more string) {
	b.t.Helper()
	more = strings.TrimSuffix(strings.TrimPrefix(more, "{"), "}")
	if more != "" {
		more = "," + more
	}
	b.Must("PUT", b.vault(name)+armVersion, fmt.Sprintf(
		`{"location":"local","properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true%s}}`, b.b.about.Tenant, more))
}

// putApplication makes an application with a service principal and a secret: name.app, name.id,
// name.object, name.secret.
func (b *builder) putApplication(name string) {
	b.t.Helper()
	app, err := b.NewApplication(name)
	if err != nil {
		b.t.Fatal(err)
	}
	b.b.names[name+".app"], b.b.names[name+".object"], b.b.names[name+".id"] = app.AppID, app.ObjectID, app.PrincipalID
	b.nameSecret(name, name, app.Secret)
}

// addPassword gives an application one more secret.
func (b *builder) addPassword(app, as, end string) {
	b.t.Helper()
	secret, err := b.NewSecret(b.b.names[app+".object"], end)
	if err != nil {
		b.t.Fatal(err)
	}
	b.nameSecret(app, as, secret)
}

// nameSecret notes an application's secret: as.secret, as.key, as.of.
func (b *builder) nameSecret(app, as string, secret served.Secret) {
	b.b.names[as+".secret"], b.b.names[as+".key"], b.b.names[as+".of"] = secret.SecretText, secret.KeyID, app
}

func (b *builder) putGroup(name string) {
	b.t.Helper()
	var group struct{ ID string }
	b.MustDecode(b.Must("POST", "graph.localhost/v1.0/groups", fmt.Sprintf(`{"displayName":%q,"securityEnabled":true,"mailEnabled":false}`, name)), &group)
	b.b.names[name+".id"] = group.ID
}

// member puts a principal into a group or takes it out.
func (b *builder) member(method, group, member string) {
	b.t.Helper()
	path := "graph.localhost/v1.0/groups/" + b.b.names[group+".id"] + "/members/"
	body := fmt.Sprintf(`{"@odata.id":"https://graph.localhost/v1.0/directoryObjects/%s"}`, b.b.names[member+".id"])
	if method == "DELETE" {
		path, body = path+b.b.names[member+".id"]+"/", ""
	}
	b.Must(method, path+"$ref", body)
}

func (b *builder) assignment(n int, vault string) string {
	return fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/%08d-0000-4000-8000-000000000000%s", b.vault(vault), n, assignVersion)
}

func (b *builder) assign(n int, vault, principal, role string) {
	b.t.Helper()
	b.Must("PUT", b.assignment(n, vault), served.RoleAssignment(role, b.b.names[principal+".id"]))
}

// set stores a value under vault/name.
func (b *builder) set(secret, value string) {
	b.t.Helper()
	vault, name, _ := strings.Cut(secret, "/")
	b.Must("PUT", vault+".vault.localhost/secrets/"+name+vaultVersion, fmt.Sprintf(`{"value":%q}`, value))
}

func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, relative)), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
