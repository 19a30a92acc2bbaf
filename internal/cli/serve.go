package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"strongroom/internal/config"
	"strongroom/internal/server"
)

// serverCommands are those that run a server, or look after one that does not run.
func (a *app) serverCommands() []*cobra.Command {
	specs := []spec{
		{
			use: "dev", short: "Serve for development on this machine, with nothing to set up",
			long: "Serve for development on this machine, with nothing to set up: loopback only, data in .strongroom,\n" +
				"a vault \"dev\", and an identity that may use it. What to paste next is printed.",
			example: "  strongroom dev\n  strongroom dev --port 9443 --set log.level=debug",
			flags: func(f *pflag.FlagSet) {
				f.String("data-dir", devDataDir, "the folder of all data")
				f.String("listen", "", "the address of the TLS listener (default 127.0.0.1:8443)")
				f.Int("port", 0, "the port of the TLS listener on 127.0.0.1 (default 8443)")
				testClockFlag(f)
				setFlag(f)
			},
			run: (*call).dev,
		},
		{
			use: "init", short: "Make the root key and the database of a server, once",
			example: "  strongroom init --config /etc/strongroom/strongroom.yaml",
			flags: func(f *pflag.FlagSet) {
				configFlags(f)
				f.String("passphrase-file", "", "a file with a passphrase, instead of a file with the root key")
				testClockFlag(f)
				outputFlag(f)
			},
			run: (*call).init,
		},
		{
			use: "serve", short: "Serve until asked to stop; SIGHUP reads the certificate again",
			example: "  strongroom serve --config /etc/strongroom/strongroom.yaml",
			flags:   configFlags, run: (*call).serve,
		},
		a.restoreSpec(),
		{
			use: "doctor", short: "Look for what is wrong with a server's settings and surroundings",
			long: "Look for what is wrong with a server's settings and surroundings: files, certificate, ports, clock, root key,\n" +
				"the database's settings, and room on the disk, with what the audit log takes of it in a day. Nothing is\n" +
				"changed; the server may run. Run it as the server's user. Without --config, a .strongroom in this folder\n" +
				"is looked at. The exit code is 1 if anything needs mending.",
			example: "  strongroom doctor --config /etc/strongroom/strongroom.yaml",
			flags: func(f *pflag.FlagSet) {
				configFlags(f)
				f.String("data-dir", "", "the data folder of a server of \"strongroom dev\"")
				outputFlag(f)
			},
			run: (*call).doctor,
		},
	}
	var commands []*cobra.Command
	for _, s := range specs {
		commands = append(commands, a.leaf(s))
	}
	return commands
}

// testClockFlag is for tests and demonstrations: what has a date comes sooner.
func testClockFlag(f *pflag.FlagSet) {
	f.Bool("test-clock", false, "make a new database with a clock that can be set off (meta row clock_offset_us); never in production")
}

func setFlag(f *pflag.FlagSet) {
	f.StringArray("set", nil, "a setting as key=value, such as log.level=debug; may be repeated")
}

func configFlags(f *pflag.FlagSet) {
	f.String("config", "", "the configuration file, in YAML")
	setFlag(f)
}

// options loads the configuration over its defaults. given are settings that have a flag of
// their own.
func (c *call) options(defaults config.Config, given map[string]string) (server.Options, error) {
	flags, err := c.pairs("set")
	if err != nil {
		return server.Options{}, err
	}
	for key, value := range given {
		if _, twice := flags[key]; twice {
			return server.Options{}, usage("", "%s is given twice, with --set and with a flag of its own", key)
		}
		flags[key] = value
	}
	cfg, notes, err := config.Load(config.Options{
		File: c.text("config"), Environ: c.environ, Others: otherVariables, Flags: flags, Defaults: defaults,
	})
	if c.text("config") != "" && errors.Is(err, fs.ErrNotExist) {
		return server.Options{}, failed(fileHint(c.text("config"), err), "%w", err)
	}
	if err != nil {
		return server.Options{}, err
	}
	return server.Options{Config: cfg, Notes: notes, Stderr: c.errs, Version: c.version}, nil
}

// dev serves the folder of --data-dir, which the first start fills.
func (c *call) dev() error {
	given := map[string]string{}
	switch {
	case c.given("listen") && c.given("port"):
		return usage("", "want --listen or --port, found both")
	case c.given("listen"):
		given["listen"] = c.text("listen")
	case c.given("port"):
		if _, err := strconv.ParseUint(c.text("port"), 10, 16); err != nil {
			return usage("", "--port %s: want 0 to 65535", c.text("port"))
		}
		given["listen"] = net.JoinHostPort("127.0.0.1", c.text("port"))
	}
	o, err := c.options(c.devDefaults(given["listen"]), given)
	if err != nil {
		return err
	}
	if err := loopbackOnly(o.Config); err != nil {
		return err
	}
	o.Dev, o.TestClock = true, c.text("test-clock") == "true"
	return c.serving(server.Run(c.ctx, o, func(r server.Ready) { fmt.Fprint(c.out, welcome(r, c.text("data-dir"))) }))
}

// devDefaults are the settings of dev. The host names that curl resolves carry the port of the
// listener, wherever that was set.
func (c *call) devDefaults(listen string) config.Config {
	defaults := config.Dev(c.text("data-dir"))
	sets, _ := c.pairs("set") // options tells what is wrong with them
	for _, text := range []string{listen, sets["listen"], c.env("STRONGROOM_LISTEN")} {
		if text == "" {
			continue
		}
		_, port, _ := net.SplitHostPort(text)
		if n, err := strconv.Atoi(port); err == nil {
			defaults.Names[0].Port = n
		}
		break
	}
	return defaults
}

// loopbackOnly refuses a dev server that other machines could reach: it hands out an identity to
// whoever runs as this user, and its root key lies beside its data.
func loopbackOnly(cfg config.Config) error {
	for _, l := range []struct{ key, address string }{
		{"listen", cfg.Listen}, {"metrics_listen", cfg.MetricsListen}, {"identity_listen", cfg.IdentityListen},
	} {
		host, _, err := net.SplitHostPort(l.address)
		if l.address != config.Off && (err != nil || !isLoopback(host)) {
			return usage(`"strongroom serve" listens elsewhere`, "dev listens on loopback only: %s is %q", l.key, l.address)
		}
	}
	return nil
}

func (c *call) init() error {
	given := map[string]string{}
	if c.given("passphrase-file") {
		given["root_key.passphrase_file"] = c.text("passphrase-file")
	}
	o, err := c.options(config.Serve(), given)
	if err != nil {
		return err
	}
	o.TestClock = c.text("test-clock") == "true"
	made, err := server.Init(c.ctx, o)
	if err != nil {
		return c.serving(err)
	}
	if c.json() {
		b, err := json.Marshal(map[string]string{
			"tenant": made.Tenant, "subscription": made.Subscription, "group": made.Group,
			"dataDir": made.DataDir, "rootKeyFile": made.RootKeyFile,
		}, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
		return c.writeJSON(b)
	}
	key := made.RootKeyFile
	if key == "" {
		key = "your passphrase"
	}
	c.say("hint: nothing can be read without the root key (%s): keep a copy, apart from copies of the data", key)
	return c.writeFields([]string{"Tenant", "Subscription", "Resource group", "Data folder", "Root key file"},
		[]string{made.Tenant, made.Subscription, made.Group, made.DataDir, made.RootKeyFile})
}

func (c *call) serve() error {
	o, err := c.options(config.Serve(), nil)
	if err != nil {
		return err
	}
	if o.Config.Log.Format == "json" { // a collector reads it, and the log says the same
		return c.serving(server.Run(c.ctx, o, func(server.Ready) {}))
	}
	for _, note := range o.Notes {
		c.say("%s", note)
	}
	return c.serving(server.Run(c.ctx, o, func(r server.Ready) { c.say("serving; management at %s", r.ManagementURL) }))
}

// serving adds to the end of a server, or of what makes one, what an operator types next.
func (c *call) serving(err error) error {
	address, isAddress := errors.AsType[*server.AddressError](err)
	path, isPath := errors.AsType[*fs.PathError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, server.ErrUnconfirmed):
		return failed(c.confirmation(), "%w", err)
	case isAddress:
		return failed(addressHint(address), "%w", err)
	case isPath:
		return failed(fileHint(path.Path, err), "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return failed("run it as a user who may, or set another path", "%w", err)
	}
	return err
}

func addressHint(e *server.AddressError) string {
	another := "--set " + e.Setting + "=127.0.0.1:9443"
	switch {
	case errors.Is(e, syscall.EADDRINUSE):
		return "stop what listens there, or name another: " + another
	case errors.Is(e, fs.ErrPermission):
		return "name a port from 1024 on, or run it as a user who may: " + another
	}
	return "name an address of this machine: " + another
}

// confirmation is the command that confirms the state of the server that this call has named.
func (c *call) confirmation() string {
	command := "strongroom restore --confirm"
	for _, flag := range []string{"config", "data-dir"} {
		if c.text(flag) != "" {
			command += " --" + flag + " " + shellQuote(c.text(flag))
		}
	}
	sets, _ := c.flags.GetStringArray("set")
	for _, set := range sets {
		command += " --set " + shellQuote(set)
	}
	return command
}

// doctor prints what it found, the bad with how to mend it.
func (c *call) doctor() error {
	o, err := c.serverOptions()
	if misuse, ok := errors.AsType[*fault](err); ok && misuse.code == exitUsage {
		return misuse
	}
	if err != nil {
		return c.showFindings(server.ConfigurationFindings(err))
	}
	return c.showFindings(server.Doctor(c.ctx, o))
}

// serverOptions are those of the server that is meant: by --config, by --data-dir, or the one whose
// data lie in this folder.
func (c *call) serverOptions() (server.Options, error) {
	defaults, dir := config.Serve(), c.text("data-dir")
	if dir == "" && !c.given("config") {
		if _, err := os.Stat(devDataDir); err == nil {
			dir = devDataDir
		}
	}
	if dir != "" {
		defaults = config.Dev(dir)
	}
	return c.options(defaults, nil)
}

func (c *call) showFindings(findings []server.Finding) error {
	bad, rows := 0, [][]string(nil)
	for _, f := range findings {
		if !f.OK {
			bad++
		}
		rows = append(rows, []string{f.State(), f.Subject, f.Found, f.Mend})
	}
	if err := c.writeFindings(findings, rows); err != nil {
		return err
	}
	if bad > 0 {
		return failed("", "%d of %d checks need mending", bad, len(findings))
	}
	return nil
}

func (c *call) writeFindings(findings []server.Finding, rows [][]string) error {
	if !c.json() {
		return c.writeTable([]string{"State", "Subject", "Found", "To mend"}, rows)
	}
	list := []map[string]any{}
	for _, f := range findings {
		list = append(list, map[string]any{"ok": f.OK, "state": f.State(), "subject": f.Subject, "found": f.Found, "mend": f.Mend})
	}
	b, err := json.Marshal(map[string]any{"value": list}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("print the findings: %w", err)
	}
	return c.writeJSON(b)
}
