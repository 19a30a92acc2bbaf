package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds the configuration file; a real one has a few kilobytes.
const maxFile = 1 << 20

// file reads the YAML layer. Nodes are walked here rather than decoded by the library, so
// that every error has our words and its line. An error is returned where nothing can be
// read at all; what is wrong with single keys goes to l.problems.
func (l *loader) file(name string) error {
	data, err := readBounded(name, maxFile)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	docs, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read configuration file %q: %w", name, err)
	}
	y := yamlFile{loader: l, name: name}
	var doc, more yaml.Node
	if err := docs.Load(&doc); errors.Is(err, io.EOF) {
		return nil // empty, or comments only
	} else if err != nil {
		return y.syntax(err)
	}
	if err := docs.Load(&more); err == nil {
		return fmt.Errorf("%s: want one document, found a second", y.place(&more))
	} else if !errors.Is(err, io.EOF) {
		return y.syntax(err)
	}
	if len(doc.Content) == 1 {
		y.section(doc.Content[0], "")
	}
	return nil
}

// readBounded reads a file of at most most bytes.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("file %q: want at most %d bytes", name, most)
	}
	return data, nil
}

// A yamlFile walks the nodes of one file.
type yamlFile struct {
	*loader
	name string // as the operator gave it
}

func (y yamlFile) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", y.name, n.Line) }

// syntax turns an error of the library into file, line and message.
func (y yamlFile) syntax(err error) error {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok && e.Mark.Line > 0 {
		return fmt.Errorf("%s:%d: want YAML: %s", y.name, e.Mark.Line, e.Message)
	} else if ok {
		return fmt.Errorf("%s: want YAML: %s", y.name, e.Message)
	}
	return fmt.Errorf("%s: want YAML: %w", y.name, err)
}

// section reads a mapping whose keys are those below path. An empty one is allowed: its keys
// may all be commented out.
func (y yamlFile) section(n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		y.wrongKind(n, path, "keys and values")
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		full := join(path, name.Value)
		if first, twice := lines[name.Value]; twice {
			y.problem(full, y.place(name), fmt.Sprintf("%s: want the key once, found it in line %d too", printable(full), first))
			continue
		}
		lines[name.Value] = name.Line
		y.entry(name, value, path, full)
	}
}

// entry reads one key of a section.
func (y yamlFile) entry(name, value *yaml.Node, section, path string) {
	t := y.targets[path]
	_, isSection := y.children[path]
	switch {
	case name.Kind != yaml.ScalarNode || !slices.Contains(y.children[section], name.Value):
		want := strings.Join(y.children[section], ", ")
		y.problem("", y.place(name), printable(path)+": no such key; want one of "+want)
	case isSection:
		y.section(value, path)
	case t.key.typ.Kind() == reflect.Slice:
		y.list(value, t)
	default:
		y.scalar(value, path)
	}
}

// scalar reads the text of a key as it is written: 010 and no stay what they are.
func (y yamlFile) scalar(n *yaml.Node, path string) {
	switch {
	case isNull(n):
		y.problem(path, y.place(n), path+": "+y.targets[path].key.mismatch(""))
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0:
		y.wrongKind(n, path, y.targets[path].key.want())
	default:
		y.set(path, y.place(n), n.Value)
	}
}

// list reads a list of structs, in place of the one that was there before.
func (y yamlFile) list(n *yaml.Node, t target) {
	if n.Kind != yaml.SequenceNode {
		y.wrongKind(n, t.key.path, t.key.want())
		return
	}
	y.places[t.key.path] = y.place(n)
	list := reflect.MakeSlice(t.key.typ, len(n.Content), len(n.Content))
	for i, item := range n.Content {
		path := fmt.Sprintf("%s[%d]", t.key.path, i)
		y.add(list.Index(i), path+".")
		y.places[path] = y.place(item)
		y.section(item, path)
	}
	t.value.Set(list)
}

func (y yamlFile) wrongKind(n *yaml.Node, path, want string) {
	found := map[yaml.Kind]string{
		yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list",
		yaml.AliasNode: "an alias", yaml.ScalarNode: "a single value",
	}[n.Kind]
	if n.Style&yaml.TaggedStyle != 0 {
		found = "a tag"
	}
	if isNull(n) {
		found = "nothing"
	}
	if path != "" {
		path += ": "
	}
	y.problem("", y.place(n), fmt.Sprintf("%swant %s, found %s", path, want, found))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}
