package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"strongroom/internal/server"
)

func (a *app) restoreSpec() spec {
	return spec{
		use: "restore", short: "Restore a dump into an empty place, or confirm that the database was put back on purpose",
		long: "Restore a dump into an empty place, or confirm that the database was put back on purpose. The server must\n" +
			"not run.\n\n" +
			"With --from, everything is loaded, compared with what the dump says of itself, and proven by the root key,\n" +
			"or nothing is. It takes the root key of the deployment that made the dump, where root_key.file or\n" +
			"root_key.passphrase_file says; the database may be of the other engine. Without --confirm no server\n" +
			"starts on it yet.\n\n" +
			"With --confirm alone, the state of the database is taken as the right one: of a dump that was restored, or\n" +
			"of a backup of the file or of a PostgreSQL. A node refuses to serve a database that lies behind what the\n" +
			"node has seen: revoked rights and old values would be alive again. The confirmation is audited.",
		example: "  strongroom restore --from strongroom.dump.age --identity key.txt --config strongroom.yaml\n" +
			"  strongroom restore --confirm --config strongroom.yaml",
		flags: func(f *pflag.FlagSet) {
			configFlags(f)
			f.String("data-dir", "", "the data folder of a server of \"strongroom dev\"")
			f.String("from", "", "the dump, or - for standard input; decrypted already if there is no --identity")
			f.StringArray("identity", nil, "a file with the age identity, or the private key of SSH, that opens the dump; may be repeated")
			f.Bool("confirm", false, "take the state of the database as the right one")
			outputFlag(f)
		},
		run: (*call).restore,
	}
}

// restore fills an empty database from a dump, or takes the state of the database as the right one,
// or both.
func (c *call) restore() error {
	confirm := c.text("confirm") == "true"
	switch {
	case c.text("from") == "" && (c.given("from") || c.given("identity")):
		return usage("", "want the dump, or -, with --from")
	case c.text("from") == "" && !confirm:
		return usage("look at what is restored first, then: "+c.confirmation(), "nothing was done: want --from with a dump, or --confirm")
	}
	o, err := c.serverOptions()
	if err != nil {
		return err
	}
	if c.text("from") != "" {
		if err := c.restoreDump(o, confirm); err != nil || !confirm {
			return err
		}
	}
	at, err := server.ConfirmRestore(c.ctx, o)
	if err != nil {
		return failed("", "confirm the restore: %w", err)
	}
	c.say("confirmed; the server can be started")
	if c.text("from") != "" {
		return nil // the comparison was printed
	}
	if c.json() {
		b, err := json.Marshal(at, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		return c.writeJSON(b)
	}
	return c.writeFields([]string{"Authorisation", "Directory", "Audit entries"},
		[]string{fmt.Sprint(at.Authorisation), fmt.Sprint(at.Directory), fmt.Sprint(at.Entries)})
}

func (c *call) restoreDump(o server.Options, confirm bool) error {
	identities, err := c.dumpIdentities()
	if err != nil {
		return err
	}
	from, err := c.openDump()
	if err != nil {
		return err
	}
	defer from.Close()
	in, err := decrypt(from, identities)
	if err != nil {
		return err
	}
	meter := c.newMeter()
	report, err := server.Restore(c.ctx, o, in, func(table string) { meter.show("restoring: %s", table) })
	meter.stop()
	if err != nil {
		return failed("", "nothing was changed: %w", err)
	}
	if !confirm {
		c.say("restored and proven; no server starts on it before it is confirmed")
		c.say("hint: compare, then: %s", c.confirmation())
	}
	return c.showRestored(report)
}

func (c *call) openDump() (io.ReadCloser, error) {
	if c.text("from") != "-" {
		return openFile(c.text("from"), "dump")
	}
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return nil, usage("", "--from -: standard input is a terminal; want a pipe or a file")
	}
	return io.NopCloser(c.in), nil
}

// showRestored prints the comparison.
func (c *call) showRestored(r server.RestoreReport) error {
	rows, list := [][]string{{"deployment", r.Header.Deployment, r.Header.Deployment}}, []map[string]any{}
	for _, line := range r.Compared {
		rows = append(rows, []string{line.What, fmt.Sprint(line.InDump), fmt.Sprint(line.Restored)})
		list = append(list, map[string]any{"what": line.What, "inDump": line.InDump, "restored": line.Restored})
	}
	if !c.json() {
		c.say("the dump shows the state of %s", r.Header.Time.Format(time.RFC3339))
		return c.writeTable([]string{"What", "In the dump", "Restored"}, rows)
	}
	b, err := json.Marshal(map[string]any{"header": r.Header, "sha256": r.SHA256, "compared": list}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return c.writeJSON(b)
}
