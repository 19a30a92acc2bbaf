//go:build unix

package matrix

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// A role is a role as testdata/roles.txt has it.
type role struct {
	id, name                         string
	actions, notActions, dataActions []string
	assigns                          []string // ids of roles; nil: any
}

// An operation is a row of testdata/operations.txt.
type operation struct{ name, method, path, action, kind, level string }

// rows are the lines of a table that are neither empty nor comments.
func rows(t *testing.T, file string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func readRoles(t *testing.T) (out []*role) {
	t.Helper()
	var shared []string
	for _, line := range rows(t, "testdata/roles.txt") {
		word, rest, _ := strings.Cut(line, " ")
		if word == "role" {
			id, name, _ := strings.Cut(rest, " ")
			out = append(out, &role{id: id, name: name})
			continue
		}
		if len(out) == 0 {
			shared = append(shared, rest)
			continue
		}
		r := out[len(out)-1]
		switch word {
		case "C":
			r.actions = append(r.actions, shared...)
		case "action":
			r.actions = append(r.actions, rest)
		case "notAction":
			r.notActions = append(r.notActions, rest)
		case "dataAction":
			r.dataActions = append(r.dataActions, rest)
		case "assigns":
			r.assigns = append(r.assigns, rest)
		default:
			t.Fatalf("roles.txt: %q", line)
		}
	}
	return out
}

func readOperations(t *testing.T) (out []operation) {
	t.Helper()
	for _, line := range rows(t, "testdata/operations.txt") {
		f := strings.Split(line, " | ")
		if len(f) != 5 {
			t.Fatalf("operations.txt: %q: want five columns", line)
		}
		method, path, _ := strings.Cut(f[1], " ")
		out = append(out, operation{f[0], method, path, f[2], f[3], f[4]})
	}
	return out
}

// sections of the API reference, and whether their operations belong to the matrix. Those of the
// others ask for no right of Azure RBAC on a vault or its management.
var sections = map[string]bool{"Data plane": true, "Management": true, "Directory": false, "Sign-in": false, "Managed identity": false}

// compareOperations holds the table to the server's operations: docs/api.md is generated from
// their declarations.
func compareOperations(t *testing.T, have []operation) {
	t.Helper()
	rest := map[string]bool{}
	for _, o := range have {
		rest[o.name+" `"+o.method+" "+o.path+"`"] = true
	}
	for _, declared := range declaredOperations(t) {
		if !rest[declared] {
			t.Errorf("operations.txt has no row of the operation %s", declared)
		}
		delete(rest, declared)
	}
	for row := range rest {
		t.Errorf("the row %s of operations.txt is of no operation", row)
	}
}

// declaredOperations reads name, method and path of the operations off the API reference.
func declaredOperations(t *testing.T) (out []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	counts, name := false, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section, _, _ := strings.Cut(title, " (")
			if counts, ok = sections[section]; !ok {
				t.Errorf("docs/api.md has the section %q; say in sections whether its operations belong to the matrix", section)
			}
		} else if title, ok := strings.CutPrefix(line, "### "); ok {
			name = title
		} else if counts && name != "" && strings.HasPrefix(line, "`") {
			out = append(out, name+" "+line)
			name = ""
		}
	}
	return out
}

// A question is an operation, for those of level "each" at one level, and for those that write or
// delete an assignment with one role in it.
type question struct {
	operation
	at       string // the level at which the action is asked
	assigned string // id of the role of the assignment, or ""
	number   int    // its own, for ids of assignments
}

func (q *question) String() string {
	s := q.name
	if q.level == "each" {
		s += " at " + q.at
	}
	if q.assigned == foreignRole {
		s += " of a role that not everybody may assign"
	}
	return s
}

// Roles of assignments that cells write and delete: one in the condition of Key Vault Data Access
// Administrator, and one outside it.
const (
	plainRole   = "21090545-7ca7-4776-b22c-e363652d74d2" // Key Vault Reader
	foreignRole = "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba" // Key Vault Certificate User
)

// each are the levels at which an operation can be asked that takes any scope.
var each = []string{"object", "vault", "group", "subscription", "root"}

func questionsOf(operations []operation) (out []*question) {
	for _, o := range operations {
		levels := []string{o.level}
		if o.level == "each" {
			levels = each
		}
		for _, level := range levels {
			assigned := []string{""}
			if o.name == "RoleAssignmentPut" || o.name == "RoleAssignmentDelete" {
				assigned = []string{plainRole, foreignRole}
			}
			for _, role := range assigned {
				out = append(out, &question{o, level, role, len(out)})
			}
		}
	}
	return out
}

// A verdict is what a cell wants.
type verdict int

const (
	deny     verdict = iota // no assignment holds the action at the scope
	denyRole                // one does, but its condition forbids the role of the assignment
	hide                    // there is no such operation over the wire
	allow
)

// expected reads the tables: a role at some scopes, and a question.
func (d *deployment) expected(q *question, c *caller, scopes []string) verdict {
	switch q.kind {
	case "none", "open":
		return allow
	case "local":
		return hide
	}
	asked := d.asked(q, d.names(q, c, standing))
	covered := slices.ContainsFunc(scopes, func(s string) bool { return covers(s, asked) })
	switch {
	case !covered || !c.role.has(q.operation):
		return deny
	case q.assigned != "" && c.role.assigns != nil && !slices.Contains(c.role.assigns, q.assigned):
		return denyRole
	}
	return allow
}

// has says whether the role holds an operation's action.
func (r *role) has(o operation) bool {
	if o.kind == "data" {
		return anyMatches(r.dataActions, o.action)
	}
	return anyMatches(r.actions, o.action) && !anyMatches(r.notActions, o.action)
}

func anyMatches(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return matches(strings.ToLower(p), strings.ToLower(action))
	})
}

// matches: a star stands for any run of characters, slashes too, or for none.
func matches(pattern, s string) bool {
	if pattern == "" || s == "" {
		return strings.Trim(pattern, "*") == "" && s == ""
	}
	if pattern[0] == '*' {
		return matches(pattern[1:], s) || matches(pattern, s[1:])
	}
	return pattern[0] == s[0] && matches(pattern[1:], s[1:])
}

// covers says whether a right at a scope holds at another one: the same or one below.
func covers(at, asked string) bool {
	at, asked = strings.ToLower(at), strings.ToLower(asked)
	return at == "/" || at == asked || strings.HasPrefix(asked, at+"/")
}

// TestExpectation holds the reading of the tables to the examples that Azure gives.
func TestExpectation(t *testing.T) {
	for _, tt := range []struct {
		pattern, action string
		want            bool
	}{
		{"Microsoft.KeyVault/vaults/*", "Microsoft.KeyVault/vaults/secrets/getSecret/action", true},
		{"*/read", "Microsoft.KeyVault/vaults/keys/read", true},
		{"*/read", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", false},
		{"Microsoft.Authorization/*/Delete", "microsoft.authorization/roleassignments/delete", true},
		{"Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/read", false},
		{"Microsoft.KeyVault/vaults/keys/*", "Microsoft.KeyVault/vaults/keyrotationpolicies/read", false},
		{"*", "x", true},
	} {
		if got := anyMatches([]string{tt.pattern}, tt.action); got != tt.want {
			t.Errorf("%q on %q = %v, want %v", tt.pattern, tt.action, got, tt.want)
		}
	}
	for _, tt := range []struct {
		at, asked string
		want      bool
	}{
		{"/", "/subscriptions/a", true},
		{"/a/secrets/x", "/A/Secrets/X", true},
		{"/a/secrets/x", "/a/secrets/xy", false},
		{"/a/secrets/xy", "/a/secrets/x", false},
		{"/a", "/a/secrets/x", true},
		{"/a/secrets/x", "/a", false},
	} {
		if got := covers(tt.at, tt.asked); got != tt.want {
			t.Errorf("a right at %q holds at %q: %v, want %v", tt.at, tt.asked, got, tt.want)
		}
	}
	roles := readRoles(t)
	for _, r := range roles {
		if len(r.actions)+len(r.dataActions) == 0 {
			t.Errorf("%s has no permissions", r.name)
		}
	}
	if len(roles) < 13 {
		t.Errorf("%d roles, want the 13 of Key Vault at least", len(roles))
	}
}
