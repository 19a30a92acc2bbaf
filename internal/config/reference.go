package config

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

//go:embed config.go
var source string

const referenceHead = `# Configuration

<!-- Generated from the comments in internal/config/config.go; do not edit.
     Renew with: go test ./internal/config -run TestReferenceIsCurrent -update -->

A setting is taken from the first of these that has it:

1. a flag of the command;
2. an environment variable: ` + "`STRONGROOM_`" + ` and the key in capitals with ` + "`_`" + ` for the dot, such as
   ` + "`STRONGROOM_DATABASE_ENGINE`" + `. An empty one counts as not set. An unknown one is an error, except those that
   Kubernetes sets for a service of the name ` + "`strongroom`" + `;
3. the configuration file, in YAML;
4. the default below.

Lists can be set in the file only. Unknown keys, keys given twice, values of the wrong type or out of range
are errors, and the server does not start. Durations have a unit: ` + "`90s`, `15m`, `1h30m`" + `. Passwords and
passphrases are never settings: a setting names the file that holds one.

` + "```yaml" + `
listen: :8443
names:
  - name: public
    domain: example.org
    port: 443
database:
  engine: postgresql
  url_file: /etc/strongroom/database-url
root_key:
  file: /etc/strongroom/root.key
` + "```" + `
`

// Reference is the manual page of the configuration, docs/configuration.md. It is made from
// the comments and tags of config.go.
func Reference() string {
	docs := comments(source)
	var b strings.Builder
	b.WriteString(referenceHead)
	docs.describe(&b, reflect.TypeFor[Config](), "")
	return b.String()
}

// fieldDocs are comments by "Type.Field".
type fieldDocs map[string]string

// comments collects the comments on the fields of the structs in our own file. It panics where
// that is no Go, which the compiler has ruled out.
func comments(source string) fieldDocs {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic("config: read the comments of config.go: " + err.Error())
	}
	docs := fieldDocs{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				docs[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
			}
		}
		return false
	})
	return docs
}

// describe writes the keys of a struct: first those of its own, then the sections.
func (docs fieldDocs) describe(b *strings.Builder, t reflect.Type, prefix string) {
	var sections []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() == reflect.Struct {
			sections = append(sections, f)
			continue
		}
		k := key{path: prefix + f.Tag.Get("yaml"), tag: f.Tag, typ: f.Type}
		fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n%s", k.path, docs[t.Name()+"."+f.Name], facts(k))
		if f.Type.Kind() == reflect.Slice {
			docs.describe(b, f.Type.Elem(), k.path+"[].")
		}
	}
	for _, f := range sections {
		path := prefix + f.Tag.Get("yaml")
		fmt.Fprintf(b, "\n## `%s`\n\n%s\n", path, docs[t.Name()+"."+f.Name])
		docs.describe(b, f.Type, path+".")
	}
}

// facts lists what the tags say of a key.
func facts(k key) string {
	lines := "- Takes: " + k.want() + "\n"
	if d := k.tag.Get("default"); d != "" {
		lines += "- Default: `" + d + "`\n"
	} else if d := k.tag.Get("derived"); d != "" {
		lines += "- Default: " + d + "\n"
	}
	if k.typ.Kind() != reflect.Slice && !strings.Contains(k.path, "[") {
		lines += "- Environment: `" + k.environment() + "`\n"
	}
	return lines
}
