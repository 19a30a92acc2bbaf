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

	"strongroom/internal/db"
	"strongroom/internal/envelope"
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
// An answer is a status and either "(empty)", a part of the text, or JSON whose members must be
// there; in its texts "*" stands for anything and $name for what it stood for first. A list that
// ends in "..." may have other items, in any order. api-version is added where missing.
//
//	with Metadata: true                     a header of the next request
//	header Allow: GET                       a header of the last answer
//	root key added                          to the file of root keys
//
// Callers: owner is the local owner, none has no token, others are identities with their role
// on vault kv1 (see newTranscript), or the name of a token that an answer gave. An audit line may
// have columns behind " | ", such as by=$reader (see auditColumns).
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
	headers http.Header // of the next request
	paused  func()      // runs while the body of the next request arrives; may be nil
	from    int64       // the first audit position that belongs to the file

	answered func(*operation.Response) // is told of every answer; may be nil
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
	vault := resource.VaultScope(a.deployment.subscription, a.deployment.group, "kv1").Text
	tr := &transcript{t: t, app: a, headers: http.Header{}, vars: map[string]string{
		"subscription": a.deployment.subscription, "group": a.deployment.group, "tenant": a.deployment.tenant,
		"sub": resource.Subscription(a.deployment.subscription).Text, "vault": vault, "vaults": strings.TrimSuffix(vault, "/kv1"),
		"rg": resource.Group(a.deployment.subscription, a.deployment.group).Text,
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
	r := &operation.Request{
		Method: method, Path: path, Query: query, Header: tr.headers, Body: &pausedBody{tr.paused, strings.NewReader(tr.expand(body))}, TLS: "TLS1_3",
	}
	tr.headers, tr.paused = http.Header{}, nil
	r.Header.Set("User-Agent", "transcript")
	if strings.HasPrefix(body, "grant_type") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	tr.setCaller(r, caller)
	table, version := tr.setHost(r, face)
	if version != "" && !strings.Contains(strings.ToLower(query), "version") {
		r.Query = strings.TrimPrefix(query+"&api-version="+version, "&")
	}
	resp := tr.app.pipeline.Do(tr.t.Context(), table, r)
	if tr.answered != nil {
		tr.answered(resp)
	}
	return resp
}

// setCaller says who asks and from where: the local socket has no address.
func (tr *transcript) setCaller(r *operation.Request, caller string) {
	tr.t.Helper()
	r.Address = netip.MustParseAddr("127.0.0.1")
	r.Peer.UID = func() (int, bool) { return os.Geteuid(), true }
	switch token := tr.vars[caller]; {
	case caller == "none":
	case tr.callers[caller] != nil:
		r.Caller = tr.callers[caller]
	case token != "":
		r.Header.Set("Authorization", "Bearer "+token)
	default:
		tr.t.Fatalf("no caller %q", caller)
	}
	if caller == "owner" {
		r.Peer.Local, r.Address = true, netip.Addr{}
	}
}

// setHost finds the face's host and operations, and the api-version that its requests have.
func (tr *transcript) setHost(r *operation.Request, face string) (table *operation.Table, version string) {
	tr.t.Helper()
	family := tr.app.families[0]
	name, vault, named := strings.Cut(face, ".")
	switch name {
	case "vault":
		if !named {
			vault = "kv1"
		}
		r.Host = family.VaultHost(vault)
		return tr.app.faces[resource.Vault], "7.6"
	case "management":
		r.Host = family.ManagementHost()
		return tr.app.faces[resource.Management], "2026-02-01"
	case "login":
		r.Host = family.LoginHost()
		return tr.app.faces[resource.Login], ""
	case "graph":
		r.Host = family.GraphHost()
		return tr.app.faces[resource.Graph], ""
	case "managed":
		r.Host = family.LoginHost()
		return tr.app.managed, ""
	}
	tr.t.Fatalf("no face %q", face)
	return nil, ""
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
	tr.t.Helper()
	requests, wantAudit, hasAudit := strings.Cut(text, "-- audit --\n")
	tr.run(requests)
	if !hasAudit {
		tr.t.Fatal("the transcript has no audit section")
	}
	tr.compareAudit(strings.Split(strings.TrimSpace(wantAudit), "\n"))
}

// run sends requests in order and compares their answers.
func (tr *transcript) run(requests string) {
	tr.t.Helper()
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
		case line == "root key added":
			if _, err := envelope.AddToRootKeyFile(tr.app.config.RootKey.File); err != nil {
				tr.t.Fatalf("%s: %v", where, err)
			}
		case strings.HasPrefix(line, "with "):
			name, value, _ := strings.Cut(strings.TrimPrefix(line, "with "), ": ")
			tr.headers.Set(name, tr.expand(value))
		case strings.HasPrefix(line, "header "):
			name, want, _ := strings.Cut(strings.TrimPrefix(line, "header "), ": ")
			if got := last.Header.Get(name); !tr.matches(got, want) {
				tr.t.Errorf("%s: header %s = %q, want %q", where, name, got, tr.expand(want))
			}
		default:
			tr.t.Fatalf("%s: not understood: %q", where, line)
		}
	}
}
