package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"strongroom/internal/envelope"
)

func (a *app) rootKeyGroup() *cobra.Command {
	file := func(f *pflag.FlagSet) {
		f.String("file", "", "the file of root keys, root_key.file of the configuration")
	}
	return a.group("root-key", "Change the root key, under which all other keys are sealed",
		"  strongroom root-key add --file /etc/strongroom/root.key\n"+
			"  strongroom root-key change\n"+
			"  strongroom root-key remove --file /etc/strongroom/root.key --id 0123456789abcdef",
		connectionFlags,
		spec{
			use: "list", short: "Say which root keys there are, what each wraps, and which nodes have it",
			example: "  strongroom root-key list", run: (*call).listRootKeys,
		},
		spec{
			use: "add", short: "Draw another root key and write it behind those of the file",
			long: "Draw another root key and write it behind those of the file. Bring the file to every node: a server looks\n" +
				"at its file every few seconds, and nothing uses the new key before \"strongroom root-key change\".\n" +
				"Where the root key comes from a passphrase, write the new one as another line into the file of the\n" +
				"old one instead, on every node.",
			example: "  strongroom root-key add --file /etc/strongroom/root.key",
			flags:   file, run: (*call).addRootKey,
		},
		spec{
			use: "change", short: "Wrap everything by the newest root key, when every node has it",
			long: "Wrap everything by the newest root key, when every node has it. Requests go on meanwhile. Afterwards\n" +
				"the old key opens nothing that is stored; dumps made before still need it.",
			example: "  strongroom root-key change", run: (*call).changeRootKey,
		},
		spec{
			use: "remove", short: "Remove a root key from the file, when nothing is wrapped by it any more",
			example: "  strongroom root-key remove --file /etc/strongroom/root.key --id 0123456789abcdef",
			flags: func(f *pflag.FlagSet) {
				file(f)
				f.String("id", "", "the id of the key, as \"strongroom root-key list\" shows it")
			},
			run: (*call).removeRootKey,
		},
	)
}

var rootKeyView = view{
	{title: "Id", path: "id"},
	{title: "Wraps", path: "wraps"},
	{title: "Nodes", path: "nodes"},
}

// rootKeys is the answer about root keys.
type rootKeys struct {
	Value    []jsontext.Value `json:"value"`
	Wrapping string           `json:"wrapping"`
	Pending  bool             `json:"pending"`
}

func (c *call) askRootKeys() (keys rootKeys, err error) {
	cl, err := c.client()
	if err == nil {
		err = cl.get(c.ctx, cl.management(), "/rootKeys?api-version="+vaultVersion, &keys)
	}
	return keys, err
}

func (c *call) listRootKeys() error {
	keys, err := c.askRootKeys()
	if err != nil {
		return err
	}
	return c.showList(rootKeyView, keys.Value)
}

func (c *call) addRootKey() error {
	name, err := c.required("file", "the file of root keys", "root_key.file of the server's configuration")
	if err != nil {
		return err
	}
	ids, err := envelope.AddToRootKeyFile(name)
	if err != nil {
		return failed("", "%w", err)
	}
	_, err = fmt.Fprintf(c.out, "%s\n", ids[len(ids)-1])
	c.say("the key was added; bring %s to every node, then: strongroom root-key change", name)
	return err
}

// changeEnds bounds how long the command watches the work that is left.
const changeEnds = 15 * time.Minute

func (c *call) changeRootKey() error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	cl.http.Timeout = 2 * requestTimeout // the server waits for the nodes, and a passphrase takes its time
	var keys rootKeys
	if err := cl.ask(c.ctx, cl.management(), http.MethodPost, "/rootKeys/change?api-version="+vaultVersion, nil, &keys); err != nil {
		return err
	}
	c.say("root key %s wraps from now on; wrapping the keys of the vaults by it", keys.Wrapping)
	for deadline := time.Now().Add(changeEnds); keys.Pending; {
		if time.Now().After(deadline) {
			return failed("look again with \"strongroom root-key list\", and into the server's log", "not everything is wrapped by it after %s; the server goes on", changeEnds)
		}
		select {
		case <-c.ctx.Done():
			return failed("\"strongroom root-key list\" shows when it is done", "interrupted; the server goes on")
		case <-time.After(time.Second):
		}
		if keys, err = c.askRootKeys(); err != nil {
			return err
		}
	}
	c.say("done; keep the old key as long as you keep dumps from before")
	for _, item := range keys.Value {
		if row, err := rootKeyView.row(item); err == nil && row[0] != keys.Wrapping {
			c.say("hint: then, on every node: strongroom root-key remove --file FILE --id %s", row[0])
		}
	}
	return c.showList(rootKeyView, keys.Value)
}

// removeRootKey asks the server first: a key that still wraps something must stay.
func (c *call) removeRootKey() error {
	name, err := c.required("file", "the file of root keys", "root_key.file of the server's configuration")
	if err != nil {
		return err
	}
	id, err := c.required("id", "the id of a root key", "\"strongroom root-key list\" shows them")
	if err != nil {
		return err
	}
	keys, err := c.askRootKeys()
	if err != nil {
		return err
	}
	if keys.Wrapping == id || keys.Pending {
		return failed("change to another one first: strongroom root-key change", "the root key %s is in use", id)
	}
	for _, item := range keys.Value {
		row, err := rootKeyView.row(item)
		if err == nil && row[0] == id && row[1] != "0" {
			err = failed("", "the root key %s still wraps %s keys", id, row[1])
		}
		if err != nil {
			return err
		}
	}
	left, err := envelope.RemoveFromRootKeyFile(name, id)
	if err != nil {
		return failed("", "%w", err)
	}
	if !slices.Contains(left, keys.Wrapping) {
		return failed("put the file back from a copy", "%s does not hold the root key that wraps what is stored, %s", name, keys.Wrapping)
	}
	_, err = fmt.Fprintf(c.out, "%s\n", strings.Join(left, "\n"))
	return err
}
