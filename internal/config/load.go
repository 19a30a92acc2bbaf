package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Options says from where to load.
type Options struct {
	File     string            // the YAML file; empty for none. A file that is not there is an error
	Environ  []string          // as os.Environ gives it
	Others   []string          // STRONGROOM_ variables that other parts of the program read
	Flags    map[string]string // by key, such as "database.engine"; only those that were given
	Defaults Config            // Dev, Serve or zero
}

// Load puts the layers together and returns a complete, checked configuration. The notes say
// which place decided what, a line each, for start-up to print; they hold no secret. The
// error has one line for each thing wrong, in all layers.
func Load(o Options) (Config, []string, error) {
	c := o.Defaults
	l := newLoader(&c)
	if o.File != "" {
		if err := l.file(o.File); err != nil {
			return Config{}, nil, err
		}
	}
	l.environ(o.Environ, o.Others)
	l.flags(o.Flags)
	if len(l.problems) == 0 {
		c = c.Complete()
		l.problems = c.problems()
	}
	if err := l.err(); err != nil {
		return Config{}, nil, err
	}
	return c, l.notes(c, o.File), nil
}

// A target is where the text of a key goes.
type target struct {
	key   key
	value reflect.Value
}

// A loader sets the fields of one Config and remembers from where.
type loader struct {
	targets  map[string]target   // by path
	children map[string][]string // the keys of a section, by its path; "" is the top
	places   map[string]string   // by path: "strongroom.yaml:3", "STRONGROOM_LISTEN", "flag"
	problems []problem
}

// A problem is one thing wrong with a key. The text begins with the key.
type problem struct{ path, place, text string }

func newLoader(c *Config) *loader {
	l := &loader{
		targets: map[string]target{}, children: map[string][]string{}, places: map[string]string{},
	}
	l.add(reflect.ValueOf(c).Elem(), "")
	return l
}

// add makes the keys of a struct known.
func (l *loader) add(v reflect.Value, prefix string) {
	each(v, prefix, func(k key, v reflect.Value) {
		l.targets[k.path] = target{key: k, value: v}
		l.addChild(k.path)
	})
}

// addChild enters a path into its section, and the section into its own.
func (l *loader) addChild(path string) {
	section, name := "", path
	if dot := strings.LastIndexByte(path, '.'); dot >= 0 {
		section, name = path[:dot], path[dot+1:]
	}
	if slices.Contains(l.children[section], name) {
		return
	}
	l.children[section] = append(l.children[section], name)
	if section != "" && !strings.HasSuffix(section, "]") {
		l.addChild(section)
	}
}

// set gives a key the text that a layer has for it.
func (l *loader) set(path, place, text string) {
	t := l.targets[path]
	v, ok := t.key.parse(text)
	if !ok {
		l.problem(path, place, path+": "+t.key.mismatch(text))
		return
	}
	t.value.Set(v)
	l.places[path] = place
}

func (l *loader) problem(path, place, text string) {
	l.problems = append(l.problems, problem{path: path, place: place, text: text})
}

// serviceLink matches the variables that Kubernetes sets in every container beside a service
// of the name "strongroom". They are nobody's typing error.
var serviceLink = regexp.MustCompile(`^STRONGROOM_([A-Z0-9_]+_)?` +
	`(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// environ reads the variables. An empty one counts as not set, since many tools cannot unset.
func (l *loader) environ(environ, others []string) {
	paths := map[string]string{}
	for path, t := range l.targets {
		if !inList(path) {
			paths[t.key.environment()] = path
		}
	}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		path, known := paths[name]
		switch {
		case !strings.HasPrefix(name, variablePrefix) || text == "" || slices.Contains(others, name):
		case known:
			l.fromOutside(path, name, text)
		case !serviceLink.MatchString(name):
			l.problem("", "environment", fmt.Sprintf("%s: no such key; want the path of a key in capitals, such as STRONGROOM_DATABASE_ENGINE", printable(name)))
		}
	}
}

// flags reads what the command line gave.
func (l *loader) flags(flags map[string]string) {
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		if _, ok := l.targets[path]; !ok || inList(path) {
			l.problem("", "flag", printable(path)+": no such key")
			continue
		}
		l.fromOutside(path, "flag", flags[path])
	}
}

// inList says whether a path leads into a list entry, which only the file can set.
func inList(path string) bool { return strings.Contains(path, "[") }

// fromOutside sets a key from a layer that is not the file.
func (l *loader) fromOutside(path, place, text string) {
	if l.targets[path].key.typ.Kind() == reflect.Slice {
		l.problem(path, place, path+": want lists in the configuration file, where each entry has a line")
		return
	}
	l.set(path, place, text)
}

// printable quotes a key that could break a line.
func printable(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return fmt.Sprintf("%q", shorten(name))
}

var plainKey = regexp.MustCompile(`^[0-9A-Za-z_.\[\]-]{1,100}$`)

// err joins the problems, each with the place that last set its key.
func (l *loader) err() error {
	var errs []error
	for _, p := range l.problems {
		if p.place == "" {
			p.place = l.places[p.path]
		}
		if p.place != "" {
			p.place += ": "
		}
		errs = append(errs, errors.New(p.place+p.text))
	}
	return errors.Join(errs...)
}

// notes tells what was decided: the keys that a layer set, and the files that follow from others.
func (l *loader) notes(c Config, file string) []string {
	notes := []string{"no configuration file"}
	if file != "" {
		notes[0] = "configuration file " + file
	}
	each(reflect.ValueOf(c), "", func(k key, v reflect.Value) {
		place := l.places[k.path]
		switch {
		case place == "" && (v.IsZero() || k.tag.Get("derived") == ""):
			return
		case place == "":
			place = "default"
		}
		notes = append(notes, fmt.Sprintf("%s = %s (%s)", k.path, display(v), place))
	})
	return notes
}

// display prints a value of Config for a note.
func display(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case string:
		return fmt.Sprintf("%q", x)
	case []NameFamily:
		var list []string
		for _, n := range x {
			list = append(list, fmt.Sprintf("%s on %s:%d", n.Name, n.VaultSuffix, n.Port))
		}
		return strings.Join(list, ", ")
	default:
		return fmt.Sprint(x)
	}
}
