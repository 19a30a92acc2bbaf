package server

import (
	"fmt"
	"reflect"
	"strings"

	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

// apiReference prints docs/api.md from the declared operations.
func apiReference(a *app) string {
	var b strings.Builder
	b.WriteString("# API reference\n\nGenerated from the declarations of the operations by `make generate`; do not edit.\n\n" +
		"Paths match in any letter case; empty segments are dropped. `{name?}` may be missing, `{scope...}` is any ARM scope.\n" +
		"An operation without an action needs a valid token and nothing else, unless its access says otherwise.\n")
	for _, face := range []struct {
		title string
		table *operation.Table
	}{
		{"Data plane (`<vault>.vault.<domain>`)", a.faces[resource.Vault]},
		{"Management (`management.<domain>`)", a.faces[resource.Management]},
		{"Directory (`graph.<domain>`)", a.faces[resource.Graph]},
		{"Sign-in (`login.<domain>`)", a.faces[resource.Login]},
		{"Managed identity (plain HTTP on loopback)", a.managed},
	} {
		fmt.Fprintf(&b, "\n## %s\n", face.title)
		for _, op := range face.table.Ops {
			writeOperation(&b, op)
		}
	}
	return b.String()
}

func writeOperation(b *strings.Builder, op *operation.Bound) {
	fmt.Fprintf(b, "\n### %s\n\n`%s %s`\n\n%s\n\n", op.Name, op.Method, op.Path, op.Summary)
	access := map[operation.Access]string{
		operation.Authenticated: "", operation.Anonymous: "anonymous", operation.Local: "local socket only",
	}[op.Access]
	for _, row := range [][2]string{
		{"Access", access},
		{"Action", op.Action},
		{"Asked at", string(op.Level)},
		{"Body", typeName(op.In)},
		{"Answer", typeName(op.Out)},
	} {
		if row[1] != "" {
			fmt.Fprintf(b, "- %s: %s\n", row[0], row[1])
		}
	}
	if op.In != reflect.TypeFor[operation.None]() {
		fmt.Fprintf(b, "- Largest body: %d bytes\n", op.MaxBody)
	}
	fmt.Fprintf(b, "- Success: %d\n", op.Status)
}

// typeName names a wire type with its members.
func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[operation.None]():
		return ""
	case t == reflect.TypeFor[operation.Form]():
		return "form"
	case t.Kind() != reflect.Struct:
		return t.Name()
	}
	var members []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			members = append(members, typeName(f.Type))
			continue
		}
		if name != "" && name != "-" {
			members = append(members, "`"+name+"`")
		}
	}
	return strings.Join(members, ", ")
}
