package structure

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// parsers are the functions that read bytes of strangers, with the fuzz target that each must have.
// Whoever adds such a function adds a line here; scripts/fuzz runs every target there is.
var parsers = []struct{ of, pkg, function, target string }{
	{"path", "internal/operation", "canonical", "FuzzCanonical"},
	{"query", "internal/operation", "parseQuery", "FuzzParseQuery"},
	{"api-version", "internal/operation", "ParseVersion", "FuzzParseVersion"},
	{"JSON body", "internal/operation", "decode", "FuzzDecode"},
	{"form", "internal/operation", "decode", "FuzzForm"},
	{"host", "internal/resource", "Resolve", "FuzzResolve"},
	{"scope", "internal/resource", "ParseScope", "FuzzParseScope"},
	{"bodies of secrets", "internal/dataplane", "UnmarshalJSONFrom", "FuzzSecretBodies"},
	{"backup blob as text", "internal/dataplane", "decodeBase64", "FuzzDecodeBase64"},
	{"backup blob", "internal/envelope", "OpenBackup", "FuzzOpenBackup"},
	{"what is in a backup", "internal/secrets", "OpenArchive", "FuzzOpenArchive"},
	{"skip token", "internal/envelope", "OpenToken", "FuzzOpenToken"},
	{"bodies of management", "internal/arm", "Check", "FuzzBodies"},
	{"filter of management", "internal/arm", "parseFilter", "FuzzParseFilter"},
	{"network rule", "internal/vaults", "parseRange", "FuzzParseRange"},
	{"bodies of the directory", "internal/graph", "objectID", "FuzzBodies"},
	{"filter of the directory", "internal/graph", "parseFilter", "FuzzParseFilter"},
	{"access token", "internal/identity", "parseCompact", "FuzzVerifyForeign"},
	{"client assertion", "internal/identity", "parseCompact", "FuzzParseAssertion"},
	{"claims of an assertion", "internal/identity", "checkAssertion", "FuzzAssertionClaims"},
	{"thumbprint", "internal/identity", "thumbprint", "FuzzThumbprint"},
	{"certificate", "internal/identity", "parseCertificate", "FuzzParseCertificate"},
	{"client of a token request", "internal/login", "readClient", "FuzzReadClient"},
	{"sealed value", "internal/envelope", "Open", "FuzzDataKeyOpen"},
	{"data keys", "internal/envelope", "OpenDataKeys", "FuzzOpenDataKey"},
	{"audit entry", "internal/audit", "Decode", "FuzzDecode"},
	{"journal row", "internal/db", "SplitRecords", "FuzzSplitRecords"},
	{"audit segment", "internal/segment", "Open", "FuzzOpen"},
	{"dump", "internal/dump", "NewReader", "FuzzRead"},
	{"configuration", "internal/config", "Load", "FuzzLoad"},
	{"socket table", "internal/peer", "match", "FuzzMatch"},
}

// TestParsersAreFuzzed wants each parser to exist under its name, and its target too, with a corpus
// that is checked in.
func TestParsersAreFuzzed(t *testing.T) {
	for _, p := range parsers {
		if !isDeclared(t, p.pkg, p.function) {
			t.Errorf("%s: there is no function %s in %s", p.of, p.function, p.pkg)
		}
		if !strings.Contains(sourceOf(t, p.pkg, "*_test.go"), "\nfunc "+p.target+"(") {
			t.Errorf("%s: %s has no fuzz target %s", p.of, p.pkg, p.target)
		}
		corpus := path.Join(p.pkg, "testdata/fuzz", p.target, "*")
		if files, err := fs.Glob(os.DirFS(root), corpus); err != nil || len(files) == 0 {
			t.Errorf("%s: no corpus in %s", p.of, path.Dir(corpus))
		}
	}
}

// isDeclared says whether a package has a function or method of a name.
func isDeclared(t *testing.T, pkg, name string) bool {
	t.Helper()
	declared := regexp.MustCompile(`\nfunc (\([^)]*\) )?` + regexp.QuoteMeta(name) + `[\[(]`)
	return declared.MatchString(sourceOf(t, pkg, "*.go"))
}

// sourceOf is the text of a package's files of a pattern.
func sourceOf(t *testing.T, pkg, pattern string) string {
	t.Helper()
	var b strings.Builder
	for _, text := range readAll(t, path.Join(pkg, pattern)) {
		b.WriteString(text)
	}
	return b.String()
}
