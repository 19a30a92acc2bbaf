package server

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/db"
	"strongroom/internal/operation"
)

// What a transcript says must be there: the comparison of answers and of audit lines.

func (tr *transcript) compare(where string, resp *operation.Response, status, want string) {
	tr.t.Helper()
	if got := fmt.Sprint(resp.Status); got != status {
		tr.t.Fatalf("%s: status %s, want %s: %s", where, got, status, resp.Body)
	}
	if want == "" {
		return
	}
	if want == "(empty)" {
		if len(resp.Body) != 0 {
			tr.t.Errorf("%s: got %s, want no body", where, resp.Body)
		}
		return
	}
	if !strings.HasPrefix(want, "{") && !strings.HasPrefix(want, "[") {
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
		return tr.containsMembers(got, w, at)
	case []any:
		return tr.containsItems(got, w, at)
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

func (tr *transcript) containsMembers(got any, want map[string]any, at string) string {
	g, ok := got.(map[string]any)
	if !ok {
		return fmt.Sprintf("%s = %v, want an object", at, got)
	}
	for name, value := range want {
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
}

func (tr *transcript) containsItems(got any, want []any, at string) string {
	g, ok := got.([]any)
	if n := len(want); ok && n > 0 && want[n-1] == "..." {
		return tr.containsAnywhere(g, want[:n-1], at)
	}
	if !ok || len(g) != len(want) {
		return fmt.Sprintf("%s has %v, want %d items", at, got, len(want))
	}
	for i := range want {
		if why := tr.contains(g[i], want[i], fmt.Sprintf("%s[%d]", at, i)); why != "" {
			return why
		}
	}
	return ""
}

func (tr *transcript) containsAnywhere(got, want []any, at string) string {
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g any) bool { return tr.contains(g, w, at) == "" }) {
			return fmt.Sprintf("%s has no %v", at, w)
		}
	}
	return ""
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

// auditColumns are what an audit line may say beyond operation, status, code and missing action.
var auditColumns = map[string]func(audit.Entry) string{
	"by":         func(e audit.Entry) string { return e.ObjectID },
	"kind":       func(e audit.Entry) string { return e.PrincipalKind },
	"assignment": func(e audit.Entry) string { return e.Assignment },
	"scope":      func(e audit.Entry) string { return e.MissingScope },
	"vault":      func(e audit.Entry) string { return e.Vault },
	"object":     func(e audit.Entry) string { return e.Object },
	"version":    func(e audit.Entry) string { return e.Version },
	"credential": func(e audit.Entry) string { return e.CredentialID },
	"pinned":     func(e audit.Entry) string { return fmt.Sprint(e.Pinned) },
}

// compareAudit compares the file's entries with its audit lines: the whole list first, then the
// columns that a line asks for.
func (tr *transcript) compareAudit(want []string) {
	tr.t.Helper()
	entries := tr.entries()
	var got, heads []string
	for _, e := range entries {
		got = append(got, auditLine(e))
	}
	for _, line := range want {
		head, _, _ := strings.Cut(line, " | ")
		heads = append(heads, head)
	}
	if !slices.Equal(got, heads) {
		tr.t.Errorf("audit lines:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(heads, "\n"))
		return
	}
	for i, line := range want {
		_, columns, _ := strings.Cut(line, " | ")
		for _, column := range strings.Fields(columns) {
			name, value, _ := strings.Cut(column, "=")
			read := auditColumns[name]
			if read == nil {
				tr.t.Fatalf("audit line %q: no column %q", line, name)
			}
			if have := read(entries[i]); !tr.matches(have, value) {
				tr.t.Errorf("audit line %d, %q: %s = %q, want %q", i+1, line, name, have, tr.expand(value))
			}
		}
	}
}

// auditLine prints an entry: operation, status, and of a refusal the code and what was missing.
func auditLine(e audit.Entry) string {
	line := fmt.Sprintf("%s %d", e.Operation, e.Status)
	if e.Code != "" {
		line += " " + e.Code
	}
	if e.MissingAction != "" {
		line += " " + strings.TrimPrefix(e.MissingAction, "Microsoft.KeyVault/vaults/")
	}
	return line
}

// entries reads what the file has left in the log.
func (tr *transcript) entries() (out []audit.Entry) {
	tr.t.Helper()
	tr.lastPosition()
	err := tr.app.db.View(tr.t.Context(), func(tx *db.Tx) error {
		found, err := (&audit.Archive{}).Read(tx, tr.from, 10000)
		for _, p := range found {
			out = append(out, p.Entry)
		}
		return err
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	return out
}
