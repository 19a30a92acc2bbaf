//go:build unix

package leak

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	_ "github.com/jackc/pgx/v5/stdlib" // the drivers by which store writes
	_ "modernc.org/sqlite"

	"strongroom/test/served"
)

// A course is a server that is taken through everything, with all secrets that it was given or gave.
type course struct {
	*served.Server
	t                           *testing.T
	about                       served.About
	identityListen, debugListen string
	passphraseFile              string // "" where the root key is in a file itself
	exempt                      string // an operation that this course leaves out
	secrets                     needles

	mu      sync.Mutex
	answers bytes.Buffer // all that must hold no secret: refusals above all; guarded by mu
}

// newCourse starts a server whose root key is derived from a passphrase, on PostgreSQL, or in a file.
func newCourse(t *testing.T, postgresURL string, more ...string) *course {
	t.Helper()
	c := &course{t: t, identityListen: served.FreeAddress(t), debugListen: served.FreeAddress(t)}
	settings := append([]string{
		"log.level=debug", "log.format=json", "identity_listen=" + c.identityListen, "debug_listen=" + c.debugListen, "audit.segment_age=1m", "--test-clock",
	}, more...)
	if postgresURL != "" {
		passphrase := newSecret()
		file := filepath.Join(t.TempDir(), "passphrase")
		if err := os.WriteFile(file, []byte(passphrase+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.passphraseFile = file
		c.secrets.add("the passphrase", passphrase, file)
		settings = append(settings, "root_key.passphrase_file="+file)
	}
	c.Server = served.New(t, postgresURL, settings...)
	c.Start()
	c.about = c.About()
	c.keyFiles()
	return c
}

// keyFiles takes what stands in files of keys: there it belongs, and nowhere else.
func (c *course) keyFiles() {
	c.t.Helper()
	found := 0
	for path, b := range readAll(c.t, c.Data()) {
		text := string(b)
		if filepath.Base(path) == "root.key" {
			c.secrets.add("the root key", text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:], path)
			found++
		}
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			if strings.Contains(block.Type, "PRIVATE KEY") {
				body := base64.StdEncoding.EncodeToString(block.Bytes)
				c.secrets.add("the key in "+filepath.Base(path), body[len(body)/3:len(body)/3+60], path)
				found++
			}
		}
	}
	if found == 0 {
		c.t.Error("no key was found in the data folder")
	}
}

// good sends a request and wants success. Its answer may hold no secret. Any goroutine may call it,
// as bad.
func (c *course) good(method, target, body string) []byte {
	c.t.Helper()
	answer, err := c.Owner(method, target, body)
	if err != nil {
		c.t.Error(err)
	}
	c.keep(answer)
	return answer
}

// bad sends a request and wants a refusal.
func (c *course) bad(method, target, body string) {
	c.t.Helper()
	host, path, _ := strings.Cut(target, "/")
	status, _, answer, err := c.Call(method, host, "/"+path, body)
	if err != nil || status < 400 {
		c.t.Errorf("%s %s: %d, %v: want a refusal", method, target, status, err)
	}
	c.keep(answer)
}

func (c *course) keep(answer []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.Write(answer)
}

const (
	vault   = served.VaultHost + "/"
	version = "?api-version=7.6"
	graph   = "graph.localhost/v1.0/"
)

// values takes n values through every way in, several at once.
func (c *course) values(n int) {
	c.t.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	texts := make([]string, n)
	for i := range texts {
		texts[i] = "leak?/" + newSecret() + "é+ÿ\"\\"
		c.secrets.add(fmt.Sprintf("value %d", i), texts[i], "")
	}
	for range 8 {
		all.Go(func() {
			for i := range next {
				c.value(i, texts[i])
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// value takes a value through all ways: stored, read, backed up, restored, and in requests that fail
// at each stage.
func (c *course) value(i int, value string) {
	c.t.Helper()
	quoted, err := json.Marshal(value)
	if err != nil {
		c.t.Error(err)
	}
	name := fmt.Sprintf("%ssecrets/leak-%d", vault, i)
	set := fmt.Sprintf(`{"value":%s}`, quoted)
	for _, method := range []string{"PUT", "GET"} { // whose answers have the value
		if _, err := c.Owner(method, name+version, set); err != nil {
			c.t.Error(err)
		}
	}
	c.good("PATCH", name+version, `{"tags":{"a":"b"}}`)
	c.good("GET", name+"/versions"+version, "")
	blob := c.good("POST", name+"/backup"+version, "")
	c.good("DELETE", name+version, "")
	c.bad("PUT", name+version, set)
	c.good("DELETE", fmt.Sprintf("%sdeletedsecrets/leak-%d%s", vault, i, version), "")
	c.good("POST", vault+"secrets/restore"+version, string(blob))
	c.bad("POST", vault+"secrets/restore"+version, string(blob)) // the name is in use
	c.bad("PUT", vault+"secrets/x", set)                         // no api-version
	c.bad("PUT", vault+"secrets/x_y"+version, set)
	c.bad("POST", vault+"secrets/restore"+version, set)
	c.bad("POST", vault+"secrets/x"+version, set)
	c.bad("PUT", vault+"secrets/x"+version, fmt.Sprintf(`{"value":%s%s}`, quoted[:len(quoted)-1], strings.Repeat("x", 26000)+`"`))
	c.bad("PUT", "nosuch.vault.localhost/secrets/x"+version, set)
	c.wrongBodies(i, string(quoted))
}

// wrongEverywhere are bodies that no operation takes; %s is a value as JSON.
var wrongEverywhere = []string{
	`{"value":%s,"value":"y"}`, `{"value":%s`, `{"value":%s} %[1]s`, `[%s]`, `%s`, `{%s:1,%[1]s:2}`, `{%s:{"a":1,"a":2}}`,
	`{"a":[%s,]}`, `{"value":%s}}`, `{"\x":%s}`, `%s: 1`,
}

// wrong are bodies that an operation does not take.
var wrong = map[string][]string{
	"PUT " + vault + "secrets/x" + version: {
		`{"value":[%s]}`, `{"value":{"a":%s}}`, `{"value":"x","attributes":{"exp":%s}}`, `{"value":"x","attributes":{"enabled":%s}}`,
		`{"value":"x","tags":%s}`, `{"value":"x","tags":{%s:1}}`, `{"value":"x","tags":{%s:"a",%[1]s:"b"}}`, `{"value":"x","contentType":[%s]}`,
	},
	"PATCH " + vault + "secrets/kept" + version:   {`{"attributes":{"nbf":%s}}`, `{"tags":{%s:null}}`, `{"contentType":{"a":%s}}`},
	"POST " + vault + "secrets/restore" + version: {`{"value":{"a":%s}}`},
	"POST " + graph + "applications":              {`{"displayName":[%s]}`},
	"POST " + graph + "groups":                    {`{"displayName":{"a":%s}}`, `{"displayName":"x","mailEnabled":%s}`},
}

// wrongBodies sends a value in some of them; the values take turns, so that each body has its share.
func (c *course) wrongBodies(i int, quoted string) {
	c.t.Helper()
	send := func(method, target string, bodies []string) {
		for n := range 2 {
			c.bad(method, target, fmt.Sprintf(bodies[(2*i+n)%len(bodies)], quoted))
		}
	}
	for target, bodies := range wrong {
		method, target, _ := strings.Cut(target, " ")
		send(method, target, append(slices.Clone(bodies), wrongEverywhere...))
	}
	for _, target := range []string{
		c.about.Vault("dev") + "?api-version=2024-11-01",
		c.about.Vault("dev") + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000009?api-version=2022-04-01",
	} {
		send("PUT", target, wrongEverywhere)
	}
	send("POST", "login.localhost/runs", wrongEverywhere)
}

// token takes a token of an application for a resource.
func (c *course) token(app served.Application, resource string) string {
	c.t.Helper()
	_, token, err := c.SignIn(c.about.Tenant, app.AppID, app.Secret.SecretText, resource)
	if err != nil {
		c.t.Fatal(err)
	}
	c.secrets.add("a token for "+resource, token[strings.LastIndex(token, ".")+1:], "")
	return token
}

// everyOperation calls all that there is but the operations of value, at least once.
func (c *course) everyOperation() {
	c.t.Helper()
	c.Must("PUT", vault+"secrets/kept"+version, `{"value":"harmless"}`)
	c.Must("PUT", vault+"secrets/back"+version, `{"value":"harmless"}`)
	c.good("DELETE", vault+"secrets/back"+version, "")
	c.good("GET", vault+"deletedsecrets/back"+version, "")
	c.good("GET", vault+"deletedsecrets"+version, "")
	c.good("POST", vault+"deletedsecrets/back/recover"+version, "")
	c.good("GET", vault+"secrets"+version, "")
	c.management()
	c.directory()
	c.documents()
	c.managedIdentity()
	c.changeKeys()
	c.good("POST", served.ManagementHost+"/dump", "")
}

// changeKeys gives the deployment a new root key, or a new passphrase, and a vault a new data key.
func (c *course) changeKeys() {
	c.t.Helper()
	c.good("GET", served.ManagementHost+"/rootKeys", "")
	c.good("POST", c.about.Vault("dev")+"/rotateDataKey?api-version=2024-11-01", "")
	if c.passphraseFile != "" {
		if !served.IsLong() {
			c.exempt = "RootKeyChange" // a passphrase costs seconds of work each time; a key in a file is changed in any case
			return
		}
		old, err := os.ReadFile(c.passphraseFile)
		if err != nil {
			c.t.Fatal(err)
		}
		passphrase := newSecret()
		c.secrets.add("the new passphrase", passphrase, c.passphraseFile)
		if err := os.WriteFile(c.passphraseFile, append(old, passphrase+"\n"...), 0o600); err != nil {
			c.t.Fatal(err)
		}
	} else {
		out, err := exec.Command(served.Binary(c.t), "root-key", "add", "--file", filepath.Join(c.Data(), "root.key")).CombinedOutput()
		if err != nil {
			c.t.Fatalf("add a root key: %v: %s", err, out)
		}
		c.keep(out)
		c.keyFiles()
	}
	changed := served.Poll(time.Minute, func() bool { // it takes the server a moment to see the new key
		status, _, answer, err := c.Call("POST", served.ManagementHost, "/rootKeys/change", "")
		c.keep(answer)
		return err == nil && status == http.StatusOK
	})
	if !changed {
		c.t.Errorf("the root key was not changed: %.2000s", c.Log())
	}
}

func (c *course) management() {
	subscription := served.ManagementHost + "/subscriptions/" + c.about.Subscription
	const vaults, identities = "?api-version=2024-11-01", "?api-version=2023-01-31"
	provider := subscription + "/providers/Microsoft.KeyVault/"
	other := fmt.Sprintf(`{"location":%q,"properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, c.about.Region, c.about.Tenant)
	c.good("PUT", c.about.Vault("other")+vaults, other)
	c.good("PATCH", c.about.Vault("other")+vaults, `{"tags":{"a":"b"}}`)
	c.good("GET", c.about.Vault("other")+vaults, "")
	c.good("GET", c.about.Vault("")+vaults, "")
	c.good("GET", provider+"vaults"+vaults, "")
	c.good("POST", provider+"checkNameAvailability"+vaults, `{"name":"fresh","type":"Microsoft.KeyVault/vaults"}`)
	c.good("DELETE", c.about.Vault("other")+vaults, "")
	c.good("GET", provider+"deletedVaults"+vaults, "")
	c.good("GET", provider+"locations/"+c.about.Region+"/deletedVaults/other"+vaults, "")
	c.good("POST", provider+"locations/"+c.about.Region+"/deletedVaults/other/purge"+vaults, "")
	group := subscription + "/resourceGroups/fresh"
	c.good("PUT", group+identities, `{"location":"local"}`)
	c.good("GET", group+identities, "")
	c.good("HEAD", group+identities, "")
	c.good("GET", subscription+"/resourceGroups"+identities, "")
	c.good("GET", subscription+"/resources?api-version=2021-04-01", "")
	managed := "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	c.good("PUT", group+managed+"/fresh"+identities, `{"location":"local"}`)
	c.good("GET", group+managed+"/fresh"+identities, "")
	c.good("GET", group+managed+identities, "")
	c.good("GET", subscription+managed+identities, "")
	c.good("DELETE", group+managed+"/fresh"+identities, "")
	roles := subscription + "/providers/Microsoft.Authorization/roleDefinitions"
	c.good("GET", roles+"?api-version=2022-04-01", "")
	c.good("GET", roles+"/"+administrator+"?api-version=2022-04-01", "")
	c.good("GET", subscription+identities, "")
	for _, target := range []string{"/subscriptions?api-version=2022-12-01", "/tenants?api-version=2022-12-01", "/metadata/endpoints?api-version=2022-09-01", "/about"} {
		c.good("GET", served.ManagementHost+target, "")
	}
	c.auditLog()
}

// administrator is the published id of Key Vault Administrator.
const administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483"

// auditLog reads the whole log as an export does.
func (c *course) auditLog() []byte {
	c.t.Helper()
	var all []byte
	for from, last := int64(1), int64(1); from <= last; {
		answer := c.Must("GET", fmt.Sprintf("%s/audit/entries?from=%d", served.ManagementHost, from), "")
		var page struct{ Next, Last int64 }
		c.MustDecode(answer, &page)
		if len(all) == 0 {
			last = page.Last
		}
		all, from = append(all, answer...), page.Next
	}
	return all
}

var (
	documented = regexp.MustCompile(`(?m)^### (\w+)$`)
	succeeded  = regexp.MustCompile(`strongroom_requests_total\{[^}]*operation="(\w+)"[^}]*status="2\d\d"`)
)

// allCovered wants every operation of the reference, which is made from their declarations, to have
// succeeded.
func (c *course) allCovered() {
	c.t.Helper()
	reference, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		c.t.Fatal(err)
	}
	done := map[string]bool{}
	for _, m := range succeeded.FindAllStringSubmatch(c.ReadMetrics(), -1) {
		done[m[1]] = true
	}
	all := documented.FindAllStringSubmatch(string(reference), -1)
	if len(all) < 50 {
		c.t.Fatalf("the reference has %d operations", len(all))
	}
	for _, m := range all {
		if !done[m[1]] && m[1] != c.exempt {
			c.t.Errorf("the operation %s was not called with success", m[1])
		}
	}
}

// store puts a text into the database of a stopped server.
func (c *course) store(postgresURL, key, text string) {
	c.t.Helper()
	driver, source := "sqlite", filepath.Join(c.Data(), "strongroom.db")
	if postgresURL != "" {
		driver, source = "pgx", postgresURL
	}
	database, err := sql.Open(driver, source)
	if err != nil {
		c.t.Fatal(err)
	}
	defer database.Close()
	if _, err := database.Exec(`INSERT INTO meta (key, value) VALUES ($1, $2)`, key, text); err != nil {
		c.t.Fatal(err)
	}
	if postgresURL == "" {
		return
	}
	if _, err := database.Exec(`CHECKPOINT`); err != nil { // else it is in memory for a while
		c.t.Fatal(err)
	}
}
