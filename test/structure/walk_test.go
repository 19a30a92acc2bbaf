package structure

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A walk is a section of docs/architecture.md: the request in its title, and the stops on its way,
// each written as package.Function or package.(Type).Method.
type walk struct {
	title  string
	method string
	path   string // segments between slashes, without a slash at either end
	stops  []string
}

var (
	walkTitle = regexp.MustCompile("(?m)^## The way of a [a-z]+: `([A-Z]+) /([^?`]*?)/?(?:\\?[^`]*)?`$")
	walkStop  = regexp.MustCompile("(?m)^[0-9]+\\. `([a-z]+\\.[^`]+)`")
)

func readWalks(t *testing.T) (walks []walk) {
	t.Helper()
	text := read(t, "docs/architecture.md")
	for _, at := range walkTitle.FindAllStringSubmatchIndex(text, -1) {
		w := walk{text[at[0]:at[1]], text[at[2]:at[3]], text[at[4]:at[5]], nil}
		section, _, _ := strings.Cut(text[at[1]:], "\n## ")
		for _, m := range walkStop.FindAllStringSubmatch(section, -1) {
			w.stops = append(w.stops, m[1])
		}
		walks = append(walks, w)
	}
	return walks
}

// TestArchitectureWalk holds the walks of docs/architecture.md to the code.
func TestArchitectureWalk(t *testing.T) {
	walks, calls := readWalks(t), readCalls(t)
	if len(walks) != 2 {
		t.Fatalf("docs/architecture.md has %d walks, want that of a read and that of a write", len(walks))
	}
	for _, w := range walks {
		if len(w.stops) != 5 {
			t.Errorf("%s: %d stops from socket to SQL, want 5", w.title, len(w.stops))
		}
		for _, fault := range calls.faults(w) {
			t.Errorf("%s: %s", w.title, fault)
		}
	}
}

// A wrong function is noticed, though it exists.
func TestWrongStopsAreNoticed(t *testing.T) {
	walks, calls := readWalks(t), readCalls(t)
	for _, tt := range []struct {
		walk, stop int
		to         string
	}{
		{0, 1, "operation.(Call).Update"},
		{0, 2, "dataplane.(face).listSecrets"},
		{0, 2, "dataplane.(face).updateSecret"},
		{0, 3, "secrets.(Store).PurgeAll"},
		{0, 3, "secrets.(Store).Set"},
		{0, 4, "db.(Tx).Exec"},
		{1, 0, "server.(app).health"},
		{1, 2, "dataplane.(face).getSecret"},
		{1, 3, "secrets.(Store).Get"},
		{1, 4, "db.Open"},
		{1, 4, "db.(Tx).NoSuchMethod"},
	} {
		w := walks[tt.walk]
		w.stops = slices.Clone(w.stops)
		w.stops[tt.stop] = tt.to
		if len(calls.faults(w)) == 0 {
			t.Errorf("%s: stop %d can be %s, and nobody notices", w.title, tt.stop+1, tt.to)
		}
	}
}

// A callGraph says which functions of ours name which others, by their names as in the walks. A
// function that is handed on counts like one that is called.
type callGraph struct {
	of       map[string][]string // the functions that a function's body names
	handlers map[string]declared // by the function that handles the operation
}

// A declared is what an operation.Op says of itself.
type declared struct{ method, path string }

// faults are what is wrong with a walk: a stop must reach the next one by way of its own package
// alone. From the pipeline to a handler no call leads, but a declaration; that must be of the
// walk's request.
func (g callGraph) faults(w walk) (faults []string) {
	for i, stop := range w.stops {
		if _, exists := g.of[stop]; !exists {
			faults = append(faults, fmt.Sprintf("stop %d: %s does not exist", i+1, stop))
			continue
		}
		op, handles := g.handlers[stop]
		switch {
		case i == 0:
		case handles && packageOf(w.stops[i-1]) == "operation":
			if op.method != w.method || !matches(op.path, w.path) {
				faults = append(faults, fmt.Sprintf("stop %d: %s handles %s %s", i+1, stop, op.method, op.path))
			}
		case !slices.Contains(g.reach(w.stops[i-1]), stop):
			faults = append(faults, fmt.Sprintf("stop %d: %s does not lead to %s", i+1, w.stops[i-1], stop))
		}
	}
	return faults
}

// reach lists what a function names, or another one of its package that it reaches.
func (g callGraph) reach(from string) []string {
	found := []string{from}
	for i := 0; i < len(found); i++ {
		if packageOf(found[i]) != packageOf(from) {
			continue
		}
		for _, next := range g.of[found[i]] {
			if !slices.Contains(found, next) {
				found = append(found, next)
			}
		}
	}
	return found[1:]
}

func packageOf(name string) string {
	pkg, _, _ := strings.Cut(name, ".")
	return pkg
}

// matches compares the path of a declaration with that of a request.
func matches(pattern, path string) bool {
	want, have := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(path, "/")
	for len(want) > len(have) && strings.HasSuffix(want[len(want)-1], "?}") {
		want = want[:len(want)-1]
	}
	return slices.EqualFunc(want, have, func(w, h string) bool { return strings.HasPrefix(w, "{") || w == h })
}

// A loader checks the types of our own packages from their source. All others are empty to it, so
// that nothing has to be compiled: the errors that follow are passed over, and what concerns our
// own functions is known all the same.
type loader struct {
	fset  *token.FileSet
	known map[string]*types.Package
	graph callGraph
}

func readCalls(t *testing.T) callGraph {
	t.Helper()
	l := &loader{token.NewFileSet(), map[string]*types.Package{}, callGraph{map[string][]string{}, map[string]declared{}}}
	if _, err := l.Import("strongroom/internal/server"); err != nil {
		t.Fatal(err)
	}
	return l.graph
}

// Import is how the type checker asks for a package.
func (l *loader) Import(name string) (*types.Package, error) {
	if pkg, ok := l.known[name]; ok {
		return pkg, nil
	}
	dir, ours := strings.CutPrefix(name, "strongroom/")
	if !ours {
		l.known[name] = types.NewPackage(name, filepath.Base(name))
		l.known[name].MarkComplete()
		return l.known[name], nil
	}
	found, err := build.ImportDir(filepath.Join(root, dir), 0)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, file := range found.GoFiles {
		f, err := parser.ParseFile(l.fset, filepath.Join(root, dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Importer: l, Error: func(error) {}}
	l.known[name], _ = config.Check(name, l.fset, files, info) // see the type's comment
	for _, f := range files {
		l.read(f, info)
	}
	return l.known[name], nil
}

// read adds the functions of a file to the graph.
func (l *loader) read(f *ast.File, info *types.Info) {
	for _, decl := range f.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := functionName(info.Defs[fn.Name])
		l.graph.of[name] = append(l.graph.of[name], namedIn(fn.Body, info)...)
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				l.readDeclaration(call, info)
			}
			return true
		})
	}
}

// namedIn lists the functions of ours that a piece of code calls or hands on.
func namedIn(code ast.Node, info *types.Info) (names []string) {
	ast.Inspect(code, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if name := functionName(info.Uses[id]); name != "" {
				names = append(names, name)
			}
		}
		return true
	})
	return names
}

// readDeclaration notes operation.Handle(table, operation.Op{Method: …, Path: …}, handler).
func (l *loader) readDeclaration(call *ast.CallExpr, info *types.Info) {
	if names := namedIn(call.Fun, info); len(call.Args) != 3 || !slices.Contains(names, "operation.Handle") {
		return
	}
	literal, ok := call.Args[1].(*ast.CompositeLit)
	if !ok {
		return // a declaration made by a function: no walk goes there
	}
	var op declared
	for _, e := range literal.Elts {
		field, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		value := info.Types[field.Value].Value
		switch key, _ := field.Key.(*ast.Ident); {
		case key == nil || value == nil || value.Kind() != constant.String:
		case key.Name == "Method":
			op.method = constant.StringVal(value)
		case key.Name == "Path":
			op.path = constant.StringVal(value)
		}
	}
	for _, handler := range namedIn(call.Args[2], info) {
		l.graph.handlers[handler] = op
	}
}

// functionName is the name of a function as in the walks, "" of what is none.
func functionName(o types.Object) string {
	fn, ok := o.(*types.Func)
	if !ok || fn.Pkg() == nil {
		return ""
	}
	recv := fn.Signature().Recv()
	if recv == nil {
		return fn.Pkg().Name() + "." + fn.Name()
	}
	kind := recv.Type()
	if p, ok := kind.(*types.Pointer); ok {
		kind = p.Elem()
	}
	named, ok := kind.(*types.Named)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s.(%s).%s", fn.Pkg().Name(), named.Obj().Name(), fn.Name())
}
