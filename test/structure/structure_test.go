// Package structure holds what the layout of the code promises: which package may import which,
// how long functions are, and that the documented walks are ways that the code goes.
package structure

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// layers lists the packages from the top down. A package imports only from layers below its own,
// or, where the layer allows it, from those before it in its own list.
var layers = []struct {
	name     string
	siblings bool // a package may import those before it in the list
	packages []string
}{
	{"command", false, []string{"cmd/strongroom"}},
	{"command line", false, []string{"internal/cli"}},
	{"server", false, []string{"internal/server"}},
	{"faces", false, []string{"internal/dataplane", "internal/arm", "internal/login", "internal/graph", "internal/schedule"}},
	{"pipeline", false, []string{"internal/operation"}},
	{"domain", true, []string{"internal/vaults", "internal/secrets"}},
	{"fabric", true, []string{"internal/identity", "internal/authz", "internal/audit", "internal/event", "internal/keyring"}},
	{"ground", true, []string{
		"internal/durable", "internal/apierr", "internal/resource", "internal/envelope", "internal/db", "internal/segment", "internal/config",
		"internal/localca", "internal/peer", "internal/childproxy", "internal/fair", "internal/ballast", "internal/dump",
	}},
}

func TestImportTable(t *testing.T) {
	level, order := map[string]int{}, map[string]int{}
	for i, l := range layers {
		for j, p := range l.packages {
			level[p], order[p] = i, j
		}
	}
	eachFile(t, func(file string, f *ast.File) {
		dir := path.Dir(file)
		if strings.HasSuffix(dir, "dbtest") || strings.HasPrefix(dir, "test/") {
			return
		}
		mine, known := level[dir]
		if !known {
			t.Errorf("%s: package %s is in no layer; add it to the table", file, dir)
			return
		}
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			target, ours := strings.CutPrefix(name, "strongroom/")
			if !ours {
				continue
			}
			theirs := level[target]
			below := theirs > mine
			sibling := theirs == mine && layers[mine].siblings && order[target] < order[dir]
			if !below && !sibling {
				t.Errorf("%s (%s) imports %s (%s): imports go downwards only", dir, layers[mine].name, target, layers[theirs].name)
			}
		}
	})
}

// maxLines is the length above which a function needs a reason, in a comment that begins with
// "Long:" in its documentation.
const maxLines = 80

func TestFunctionLengths(t *testing.T) {
	var lengths []int
	eachFile(t, func(file string, f *ast.File) {
		fset := fileSets[file]
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			lengths = append(lengths, n)
			if n > maxLines && !strings.Contains(fn.Doc.Text(), "Long:") {
				t.Errorf("%s: %s has %d lines; want at most %d, or a reason in its comment (Long: …)", file, fn.Name.Name, n, maxLines)
			}
		}
	})
	slices.Sort(lengths)
	median := lengths[len(lengths)/2]
	t.Logf("functions: %d, median length %d lines, longest %d", len(lengths), median, lengths[len(lengths)-1])
	if median > 14 {
		t.Errorf("median length of a function is %d lines; want about ten", median)
	}
}

var fileSets = map[string]*token.FileSet{}

// eachFile parses every Go file of the server that is no test.
func eachFile(t *testing.T, visit func(file string, f *ast.File)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "tools" || d.Name() == "node_modules" || name == "test/conformance") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if bytes.Contains(src, []byte("\n// Code generated ")) {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		fileSets[name] = fset
		visit(name, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
