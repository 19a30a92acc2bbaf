package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var attributeColumns = view{
	{title: "Enabled", path: "attributes.enabled"},
	{title: "Updated", path: "attributes.updated", format: date},
	{title: "Not before", path: "attributes.nbf", format: date},
	{title: "Expires", path: "attributes.exp", format: date},
	{title: "Content type", path: "contentType"},
	{title: "Tags", path: "tags", format: tags},
}

var (
	listView    = append(view{{title: "Name", path: "id", format: pathSegment("secrets")}}, attributeColumns...)
	versionView = append(view{{title: "Version", path: "id", format: last}}, attributeColumns...)
	secretView  = append(view{
		{title: "Name", path: "id", format: pathSegment("secrets")},
		{title: "Version", path: "id", format: last},
	}, attributeColumns...)
	valueView   = append(secretView[:len(secretView):len(secretView)], column{title: "Value", path: "value"})
	deletedView = view{
		{title: "Name", path: "recoveryId", format: last},
		{title: "Deleted", path: "deletedDate", format: date},
		{title: "Purge due", path: "scheduledPurgeDate", format: date},
	}
)

// A secretCall is a command that is one request: its answer is printed as it comes.
type secretCall struct {
	use, short, example string
	method, path        string // {name} is the argument
	list                bool
	view                view // nil for purge, which has no answer
}

var secretCalls = []secretCall{
	{"list", "List the secrets of a vault, without values", "  strongroom secret list --vault payroll", "GET", "/secrets", true, listView},
	{"versions NAME", "List the versions of a secret, without values", "  strongroom secret versions db-password --vault payroll", "GET", "/secrets/{name}/versions", true, versionView},
	{"delete NAME", "Delete a secret with all its versions; it can be recovered until its purge", "  strongroom secret delete db-password --vault payroll", "DELETE", "/secrets/{name}", false, deletedView},
	{"recover NAME", "Recover a deleted secret with all its versions", "  strongroom secret recover db-password --vault payroll", "POST", "/deletedsecrets/{name}/recover", false, secretView},
	{"purge NAME", "Remove a deleted secret for good", "  strongroom secret purge db-password --vault payroll", "DELETE", "/deletedsecrets/{name}", false, nil},
	{"list-deleted", "List the deleted secrets of a vault", "  strongroom secret list-deleted --vault payroll", "GET", "/deletedsecrets", true, deletedView},
	{"show-deleted NAME", "Show a deleted secret, without its value", "  strongroom secret show-deleted db-password --vault payroll", "GET", "/deletedsecrets/{name}", false, deletedView},
}

func (a *app) secretGroup() *cobra.Command {
	specs := []spec{
		{
			use: "set NAME", short: "Set a secret: store a new version from a file or standard input",
			long: "Set a secret: store a new version, which becomes the latest. The value is what the file of --file\n" +
				"or standard input holds, byte for byte, a line end included. On a terminal it is asked for.",
			example: "  printf %s \"$PASSWORD\" | strongroom secret set db-password --vault payroll --expires 2027-01-31",
			flags: func(f *pflag.FlagSet) {
				fileFlag(f, "value")
				changeFlags(f)
				f.Bool("allow-empty", false, "store a value without any text, too")
			},
			run: (*call).setSecret,
		},
		{
			use: "show NAME", short: "Show a secret with its value: the latest version unless one is named",
			example: "  strongroom secret show db-password --vault payroll --value-only",
			flags: func(f *pflag.FlagSet) {
				versionFlag(f)
				f.Bool("value-only", false, "print the value alone, byte for byte, without a line end")
			},
			run: (*call).showSecret,
		},
		{
			use: "update NAME", short: "Change content type, dates or tags of a version: the latest unless one is named",
			example: "  strongroom secret update db-password --vault payroll --enabled=false",
			flags:   func(f *pflag.FlagSet) { versionFlag(f); changeFlags(f) },
			run:     (*call).updateSecret,
		},
		{
			use: "backup NAME", short: "Back up a secret with all its versions into a sealed blob",
			example: "  strongroom secret backup db-password --vault payroll > db-password.backup", run: (*call).backupSecret,
		},
		{
			use: "restore", short: "Restore a secret from a backup, from a file or standard input",
			example: "  strongroom secret restore --vault payroll --file db-password.backup",
			flags:   func(f *pflag.FlagSet) { fileFlag(f, "backup") }, run: (*call).restoreSecret,
		},
	}
	for _, s := range secretCalls {
		specs = append(specs, spec{use: s.use, short: s.short, example: s.example, run: s.run})
	}
	return a.group("secret", "Set, show, delete and recover secrets",
		"  strongroom secret set db-password --vault payroll --file password.txt\n  strongroom secret list --vault payroll",
		func(f *pflag.FlagSet) {
			connectionFlags(f)
			f.String("vault", "", "the vault's name; required")
		}, specs...)
}

func fileFlag(f *pflag.FlagSet, what string) {
	f.StringP("file", "f", "", "the file with the "+what+" (default: standard input)")
}

func versionFlag(f *pflag.FlagSet) { f.String("version", "", "the version (default: the latest)") }

func changeFlags(f *pflag.FlagSet) {
	f.String("content-type", "", "what the value is, such as text/plain")
	f.String("not-before", "", "the date before which it is not valid, as in 2027-01-31")
	f.String("expires", "", "the date from which it is not valid any more, as in 2027-01-31")
	f.Bool("enabled", true, "whether its value can be read")
	f.StringArray("tag", nil, "a tag as name=value; may be repeated; replaces all tags")
}

// onSecrets sends a request to the data plane of the vault that --vault names.
func (c *call) onSecrets(method, path string, body any) (jsontext.Value, error) {
	to, err := c.vault()
	if err != nil {
		return nil, err
	}
	v, err := c.connection.do(c.ctx, to, method, path+"?api-version="+dataVersion, body)
	return v, c.explain(path, err)
}

// vault connects and returns the place of the vault that --vault names.
func (c *call) vault() (place, error) {
	name, err := c.required("vault", "the name of a vault", `"strongroom vault list" shows the names`)
	if err != nil {
		return place{}, err
	}
	if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return place{}, usage(`"strongroom vault list" shows the names`, "--vault %q: want the name of a vault, letters, digits and dashes", name)
	}
	cl, err := c.client()
	if err != nil {
		return place{}, err
	}
	return cl.vault(name), nil
}

// explain turns the refusal that people meet most, a name that is not there, into words.
func (c *call) explain(path string, err error) error {
	r, ok := errors.AsType[*refusal](err)
	switch {
	case ok && r.code == "VaultNotFound":
		return noVault(c.text("vault"))
	case !ok || r.code != "SecretNotFound" || len(c.args) == 0:
		return err
	}
	vault, kind, list := c.text("vault"), "secret", "list"
	if strings.HasPrefix(path, "/deletedsecrets/") {
		kind, list = "deleted secret", "list-deleted"
	}
	what := fmt.Sprintf("no %s named %q", kind, c.args[0])
	if version := c.text("version"); version != "" {
		what, list = fmt.Sprintf("no version %q of a secret named %q", version, c.args[0]), "list"
	}
	hint := fmt.Sprintf("\"strongroom secret %s --vault %s\" shows the names", list, vault)
	return &fault{fmt.Errorf("%s in vault %q%w", what, vault, quiet{err}), hint, exitFailed}
}

// quiet keeps an error in the chain and out of the text.
type quiet struct{ err error }

func (quiet) Error() string { return "" }

func (q quiet) Unwrap() error { return q.err }

func (s secretCall) run(c *call) error {
	path := s.path
	if len(c.args) > 0 {
		path = strings.ReplaceAll(path, "{name}", url.PathEscape(c.args[0]))
	}
	if s.list {
		to, err := c.vault()
		if err != nil {
			return err
		}
		items, err := c.connection.list(c.ctx, to, path+"?api-version="+dataVersion)
		if err != nil {
			return c.explain(path, err)
		}
		return c.showList(s.view, items)
	}
	item, err := c.onSecrets(s.method, path, nil)
	switch {
	case err != nil:
		return err
	case s.view == nil:
		c.say("purged the secret %q", c.args[0])
		return nil
	}
	return c.showOne(s.view, item)
}

func (c *call) secretPath() string {
	path := "/secrets/" + url.PathEscape(c.args[0])
	if version := c.text("version"); version != "" {
		path += "/" + url.PathEscape(version)
	}
	return path
}

func (c *call) setSecret() error {
	if _, err := c.vault(); err != nil { // before anyone types a value
		return err
	}
	body, err := c.change()
	if err != nil {
		return err
	}
	value, err := c.readValue("value", maxInput)
	switch {
	case err != nil:
		return err
	case !utf8.Valid(value):
		return failed("store binary values as base64, and say so with --content-type", "the value is no text in UTF-8")
	case len(value) == 0 && c.text("allow-empty") != "true":
		return failed("if an empty value is meant, say so with --allow-empty", "the value is empty: nothing was stored")
	case bytes.HasSuffix(value, []byte("\n")):
		c.say("the value ends in a line end, which is kept")
	}
	body["value"] = string(value)
	made, err := c.onSecrets(http.MethodPut, c.secretPath(), body)
	if err != nil {
		return err
	}
	return c.showOne(secretView, withoutValue(made))
}

// withoutValue drops the value that a set answers: it was typed where nobody looked on.
func withoutValue(secret jsontext.Value) jsontext.Value {
	var members map[string]jsontext.Value
	if json.Unmarshal(secret, &members) != nil {
		return secret
	}
	delete(members, "value")
	b, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil
	}
	return b
}

// change reads the flags that were given into the members of a request.
func (c *call) change() (map[string]any, error) {
	body, attributes := map[string]any{}, map[string]any{}
	for flag, member := range map[string]string{"not-before": "nbf", "expires": "exp"} {
		if !c.given(flag) {
			continue
		}
		at, err := c.moment(flag)
		if err != nil {
			return nil, err
		}
		attributes[member] = unixOrNull(at)
	}
	if c.given("enabled") {
		attributes["enabled"] = c.text("enabled") == "true"
	}
	if len(attributes) > 0 {
		body["attributes"] = attributes
	}
	if c.given("content-type") {
		body["contentType"] = c.text("content-type")
	}
	if c.given("tag") {
		tags, err := c.pairs("tag")
		if err != nil {
			return nil, err
		}
		body["tags"] = tags
	}
	return body, nil
}

// unixOrNull is a date on the wire; an empty flag takes the date away.
func unixOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

func (c *call) showSecret() error {
	secret, err := c.onSecrets(http.MethodGet, c.secretPath(), nil)
	if err != nil {
		return err
	}
	if c.text("value-only") != "true" {
		return c.showOne(valueView, secret)
	}
	var bundle struct {
		Value *string `json:"value"`
	}
	if json.Unmarshal(secret, &bundle) != nil || bundle.Value == nil {
		return errNotJSON
	}
	_, err = fmt.Fprint(c.out, *bundle.Value)
	return err
}

func (c *call) updateSecret() error {
	body, err := c.change()
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return usage("", "nothing to change: want --enabled, --expires, --not-before, --content-type or --tag")
	}
	secret, err := c.onSecrets(http.MethodPatch, c.secretPath(), body)
	if err != nil {
		return err
	}
	return c.showOne(secretView, secret)
}

func (c *call) backupSecret() error {
	blob, err := c.onSecrets(http.MethodPost, c.secretPath()+"/backup", nil)
	if err != nil || c.json() {
		if err == nil {
			err = c.writeJSON(blob)
		}
		return err
	}
	text, err := stringMember(blob, "value")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, text)
	return err
}

func (c *call) restoreSecret() error {
	if _, err := c.vault(); err != nil {
		return err
	}
	blob, err := c.readValue("backup", maxBackup)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(blob))
	if strings.HasPrefix(text, "{") { // as --output json printed it
		if text, err = stringMember(jsontext.Value(text), "value"); err != nil {
			return failed("", "the backup is no JSON with a member \"value\"")
		}
	}
	secret, err := c.onSecrets(http.MethodPost, "/secrets/restore", map[string]string{"value": text})
	if err != nil {
		return err
	}
	return c.showOne(secretView, secret)
}
