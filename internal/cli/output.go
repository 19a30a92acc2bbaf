package cli

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/pflag"
)

// A column shows one member of a JSON object.
type column struct {
	title  string
	path   string           // members with dots between, such as properties.vaultUri
	format func(any) string // nil prints it as it is
}

type view []column

func outputFlag(f *pflag.FlagSet) {
	f.StringP("output", "o", "table", "how the result is printed: table, or json as on the wire")
}

func (c *call) checkOutput() error {
	if f := c.flags.Lookup("output"); f == nil || f.Value.String() == "json" || f.Value.String() == "table" {
		return nil
	}
	return usage("", "--output %q: want json or table", c.text("output"))
}

func (c *call) json() bool { return c.text("output") == "json" }

// showOne prints an object: a line for each column, or its JSON.
func (c *call) showOne(v view, item jsontext.Value) error {
	if c.json() {
		return c.writeJSON(item)
	}
	row, err := v.row(item)
	if err != nil {
		return err
	}
	return c.writeFields(v.titles(), row)
}

// showList prints objects: a table, or their JSON in one page.
func (c *call) showList(v view, items []jsontext.Value) error {
	if c.json() {
		return c.writeList(items)
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		var err error
		if rows[i], err = v.row(item); err != nil {
			return err
		}
	}
	return c.writeTable(v.titles(), rows)
}

func (v view) titles() []string {
	titles := make([]string, len(v))
	for i, col := range v {
		titles[i] = col.title
	}
	return titles
}

func (v view) row(item jsontext.Value) ([]string, error) {
	var object any
	if err := json.Unmarshal(item, &object); err != nil {
		return nil, errNotJSON
	}
	row := make([]string, len(v))
	for i, col := range v {
		format := col.format
		if format == nil {
			format = plain
		}
		row[i] = format(member(object, col.path))
	}
	return row, nil
}

// member follows a path into nested objects; what is not there is nil.
func member(object any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		members, _ := object.(map[string]any)
		object = members[name]
	}
	return object
}

func plain(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(x)
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return ""
	}
	return string(b)
}

// date prints seconds since 1970, as the data plane has them.
func date(v any) string {
	seconds, ok := v.(float64)
	if !ok {
		return ""
	}
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// last prints the last segment of an id.
func last(v any) string {
	id, _ := v.(string)
	return path.Base(id)
}

// pathSegment prints the segment of an id that follows a keyword: the vault of ".../vaults/payroll/...".
func pathSegment(keyword string) func(any) string {
	return func(v any) string {
		id, _ := v.(string)
		parts := strings.Split(id, "/")
		for i := 0; i+1 < len(parts); i++ {
			if strings.EqualFold(parts[i], keyword) {
				return parts[i+1]
			}
		}
		return ""
	}
}

// tags prints an object of strings as name=value, sorted.
func tags(v any) string {
	members, _ := v.(map[string]any)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		parts = append(parts, name+"="+plain(members[name]))
	}
	return strings.Join(parts, " ")
}

// printable is s, quoted if a terminal might take a part of it for something else than text.
func printable(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(s)
		}
	}
	return s
}

func (c *call) writeTable(titles []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	writeRow(w, titles, strings.ToUpper)
	for _, row := range rows {
		writeRow(w, row, printable)
	}
	return w.Flush()
}

func writeRow(w io.Writer, cells []string, format func(string) string) {
	for i, cell := range cells {
		if cell = format(cell); cell == "" {
			cell = "-"
		}
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprintln(w)
}

func (c *call) writeFields(titles, row []string) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	for i, title := range titles {
		if row[i] != "" {
			fmt.Fprintf(w, "%s\t%s\n", title, printable(row[i]))
		}
	}
	return w.Flush()
}

func (c *call) writeList(items []jsontext.Value) error {
	if items == nil {
		items = []jsontext.Value{}
	}
	b, err := json.Marshal(struct {
		Value []jsontext.Value `json:"value"`
	}{items})
	if err != nil {
		return fmt.Errorf("print the list: %w", err)
	}
	return c.writeJSON(b)
}

func (c *call) writeJSON(v jsontext.Value) error {
	v = v.Clone()
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return errNotJSON
	}
	_, err := fmt.Fprintf(c.out, "%s\n", v)
	return err
}
