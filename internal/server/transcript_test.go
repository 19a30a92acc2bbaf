package server

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// TestTranscripts runs each file of testdata/transcripts on both engines. A file holds requests,
// what each is answered, and at its end the audit lines that all of them must leave:
//
//	# a comment
//	@reader GET vault:/secrets/a            the caller, the method, face and path, and maybe a body
//	200 {"value": "x", "id": "*/secrets/a/$v"}
//	-- audit --
//	SecretGet 200
//
// The face is vault (of name kv1; vault.NAME for another), management, login, graph or managed.
// An answer is a status and either a code or JSON whose members must be there; in its texts "*"
// stands for anything and $name for what it stood for first. api-version is added where missing.
// Callers: owner is the local owner, none has no token, others are identities with their role
// on vault kv1 (see newTranscript).
func TestTranscripts(t *testing.T) {
	files, err := fs.Glob(os.DirFS("testdata/transcripts"), "*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %d files, %v", len(files), err)
	}
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		for _, file := range files {
			t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
				text, err := os.ReadFile(filepath.Join("testdata/transcripts", file))
				if err != nil {
					t.Fatal(err)
				}
				newTranscript(t, start(t)).play(string(text))
			})
		}
	})
}

// A transcript plays one file against one server.
type transcript struct {
	t       *testing.T
	app     *app
	callers map[string]*identity.Caller
	vars    map[string]string
	from    int64 // the first audit position that belongs to the file
}

// roles on vault kv1 by caller.
var roles = map[string]string{
	"admin":       "00482a5a-887f-4fb3-b363-3b7fe8e74483", // Key Vault Administrator
	"officer":     "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", // Key Vault Secrets Officer
	"reader":      "4633458b-17de-408a-b874-0445c86b69e6", // Key Vault Secrets User
	"auditor":     "21090545-7ca7-4776-b22c-e363652d74d2", // Key Vault Reader
	"contributor": "f25e0fa2-a7c8-4377-a976-54943a77a395", // Key Vault Contributor
	"access":      "8b54135c-b56d-4d72-a534-26097cfdc8d8", // Key Vault Data Access Administrator
	"nobody":      "",
}

func newTranscript(t *testing.T, a *app) *transcript {
	t.Helper()
	tr := &transcript{t: t, app: a, vars: map[string]string{
		"subscription": a.deployment.subscription, "group": a.deployment.group, "tenant": a.deployment.tenant,
		"vault": resource.VaultScope(a.deployment.subscription, a.deployment.group, "kv1").Text,
	}, callers: map[string]*identity.Caller{"owner": operation.LocalOwner()}}
	tr.must("owner", "PUT", "management:$vault", `{"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`)
	for name, role := range roles {
		tr.addCaller(name, role)
	}
	tr.from = tr.lastPosition() + 1
	return tr
}

func (tr *transcript) addCaller(name, role string) {
	tr.t.Helper()
	body := tr.must("owner", "PUT", "management:/subscriptions/$subscription/resourceGroups/$group/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+name, `{"location":"local"}`)
	var made struct {
		Properties struct {
			PrincipalID string `json:"principalId"`
			ClientID    string `json:"clientId"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &made); err != nil {
		tr.t.Fatal(err)
	}
	tr.vars[name] = made.Properties.PrincipalID
	tr.callers[name] = &identity.Caller{
		ObjectID: made.Properties.PrincipalID, AppID: made.Properties.ClientID, TenantID: tr.app.deployment.tenant,
		Issuer: tr.app.families[0].IssuerV1(tr.app.deployment.tenant), Kind: identity.ManagedIdentity, Name: name,
	}
	if role != "" {
		tr.must("owner", "PUT", "management:$vault/providers/Microsoft.Authorization/roleAssignments/"+db.NewGUID(),
			fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s"}}`, role, made.Properties.PrincipalID))
	}
}

// must sends a request that has to succeed.
func (tr *transcript) must(caller, method, target, body string) []byte {
	tr.t.Helper()
	resp := tr.send(caller, method, target, body)
	if resp.Status >= 300 {
		tr.t.Fatalf("%s %s: status %d: %s", method, target, resp.Status, resp.Body)
	}
	return resp.Body
}

func (tr *transcript) send(caller, method, target, body string) *operation.Response {
	tr.t.Helper()
	face, path, ok := strings.Cut(tr.expand(target), ":")
	if !ok {
		tr.t.Fatalf("request %q: want face:path", target)
	}
	path, query, _ := strings.Cut(path, "?")
	family := tr.app.families[0]
	r := &operation.Request{
		Method: method, Path: path, Query: query, Header: http.Header{"User-Agent": {"transcript"}},
		Body: strings.NewReader(tr.expand(body)), Address: netip.MustParseAddr("127.0.0.1"), TLS: "TLS1_3",
		Peer: operation.Peer{UID: func() (int, bool) { return os.Geteuid(), true }},
	}
	if caller != "none" {
		if r.Caller = tr.callers[caller]; r.Caller == nil {
			tr.t.Fatalf("no caller %q", caller)
		}
		r.Peer.Local = caller == "owner"
	}
	version, table := "", tr.app.managed
	switch name, _, _ := strings.Cut(face, "."); name {
	case "vault":
		vault := "kv1"
		if _, other, ok := strings.Cut(face, "."); ok {
			vault = other
		}
		r.Host, version, table = family.VaultHost(vault), "7.6", tr.app.faces[resource.Vault]
	case "management":
		r.Host, version, table = family.ManagementHost(), "2026-02-01", tr.app.faces[resource.Management]
	case "login":
		r.Host, table = family.LoginHost(), tr.app.faces[resource.Login]
	case "graph":
		r.Host, table = family.GraphHost(), tr.app.faces[resource.Graph]
	case "managed":
		r.Host = family.LoginHost()
		r.Header.Set("Metadata", "true")
	default:
		tr.t.Fatalf("request %q: no face %q", target, face)
	}
	if version != "" && !strings.Contains(strings.ToLower(query), "version") {
		r.Query = strings.TrimPrefix(query+"&api-version="+version, "&")
	}
	if strings.HasPrefix(body, "grant_type") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return tr.app.pipeline.Do(tr.t.Context(), table, r)
}

// expand replaces $name by what it stands for.
func (tr *transcript) expand(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := tr.vars[m[1:]]; ok {
			return v
		}
		return m
	})
}

var (
	variable = regexp.MustCompile(`\$[a-z][a-zA-Z0-9]*`)
	request  = regexp.MustCompile(`^@(\w+) ([A-Z]+) (\S+)(?: (.*))?$`)
	answer   = regexp.MustCompile(`^(\d{3})(?: (.*))?$`)
)

// play runs the requests of a file in order and then compares the audit lines.
func (tr *transcript) play(text string) {
	requests, wantAudit, hasAudit := strings.Cut(text, "-- audit --\n")
	var last *operation.Response
	var lastLine string
	for i, line := range strings.Split(requests, "\n") {
		where := fmt.Sprintf("line %d", i+1)
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case request.MatchString(line):
			m := request.FindStringSubmatch(line)
			last, lastLine = tr.send(m[1], m[2], m[3], m[4]), line
		case answer.MatchString(line):
			m := answer.FindStringSubmatch(line)
			tr.compare(where+": "+lastLine, last, m[1], m[2])
		case strings.HasPrefix(line, "header "):
			name, want, _ := strings.Cut(strings.TrimPrefix(line, "header "), ": ")
			if got := last.Header.Get(name); !tr.matches(got, want) {
				tr.t.Errorf("%s: header %s = %q, want %q", where, name, got, tr.expand(want))
			}
		default:
			tr.t.Fatalf("%s: not understood: %q", where, line)
		}
	}
	if !hasAudit {
		tr.t.Fatal("the transcript has no audit section")
	}
	if got := tr.auditLines(); got != strings.TrimSpace(wantAudit) {
		tr.t.Errorf("audit lines:\n%s\nwant:\n%s", got, wantAudit)
	}
}

func (tr *transcript) compare(where string, resp *operation.Response, status, want string) {
	tr.t.Helper()
	if got := fmt.Sprint(resp.Status); got != status {
		tr.t.Fatalf("%s: status %s, want %s: %s", where, got, status, resp.Body)
	}
	if want == "" {
		return
	}
	if !strings.HasPrefix(want, "{") {
		if got := string(resp.Body); !strings.Contains(got, `"`+want+`"`) && !strings.Contains(got, want) {
			tr.t.Errorf("%s: got %s, want %s in it", where, got, want)
		}
		return
	}
	var gotValue, wantValue any
	if err := json.Unmarshal(resp.Body, &gotValue); err != nil {
		tr.t.Fatalf("%s: answer is no JSON: %s", where, resp.Body)
	}
	if err := json.Unmarshal([]byte(want), &wantValue); err != nil {
		tr.t.Fatalf("%s: the expected answer is no JSON: %v", where, err)
	}
	if why := tr.contains(gotValue, wantValue, ""); why != "" {
		tr.t.Errorf("%s: %s in %s", where, why, resp.Body)
	}
}

// contains says how got lacks what want asks for, or "".
func (tr *transcript) contains(got, want any, at string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s = %v, want an object", at, got)
		}
		for name, value := range w {
			have, there := g[name]
			if value == "absent" {
				if there {
					return fmt.Sprintf("%s.%s is there", at, name)
				}
				continue
			}
			if !there && value != nil {
				return fmt.Sprintf("%s.%s is missing", at, name)
			}
			if why := tr.contains(have, value, at+"."+name); why != "" {
				return why
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s has %v, want %d items", at, got, len(w))
		}
		for i := range w {
			if why := tr.contains(g[i], w[i], fmt.Sprintf("%s[%d]", at, i)); why != "" {
				return why
			}
		}
		return ""
	case string:
		if g, ok := got.(string); ok && tr.matches(g, w) {
			return ""
		}
		return fmt.Sprintf("%s = %v, want %q", at, got, tr.expand(w))
	default:
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("%s = %v, want %v", at, got, want)
		}
		return ""
	}
}

// matches compares a text with a pattern of "*" and $name; a name without a value yet takes what
// stands in its place.
func (tr *transcript) matches(got, pattern string) bool {
	pattern = tr.expand(pattern)
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(quoted, `\*`, `(?s:.*)`)
	quoted = regexp.MustCompile(`\\\$([a-z][a-zA-Z0-9]*)`).ReplaceAllString(quoted, `(?P<$1>[^"]+)`)
	re, err := regexp.Compile("^" + quoted + "$")
	if err != nil {
		return false
	}
	m := re.FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, name := range re.SubexpNames() {
		if name != "" {
			tr.vars[name] = m[i]
		}
	}
	return true
}

func (tr *transcript) lastPosition() (last int64) {
	tr.t.Helper()
	if err := tr.app.scheduler.Number(tr.t.Context()); err != nil {
		tr.t.Fatal(err)
	}
	err := tr.app.db.View(tr.t.Context(), func(tx *db.Tx) (err error) {
		last, err = audit.Last(tx)
		return err
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return last
}

// auditLines prints the entries of the file: operation, status, and of a refusal the code and
// what was missing.
func (tr *transcript) auditLines() string {
	tr.t.Helper()
	tr.lastPosition()
	var lines []string
	err := tr.app.db.View(tr.t.Context(), func(tx *db.Tx) error {
		entries, err := audit.Read(tx, tr.from, 10000)
		for _, p := range entries {
			line := fmt.Sprintf("%s %d", p.Entry.Operation, p.Entry.Status)
			if p.Entry.Code != "" {
				line += " " + p.Entry.Code
			}
			if p.Entry.MissingAction != "" {
				line += " " + p.Entry.MissingAction[strings.LastIndex(p.Entry.MissingAction, "vaults/")+len("vaults/"):]
			}
			lines = append(lines, line)
		}
		return err
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
