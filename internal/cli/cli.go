// Package cli is the command line: the commands that run a server, and those that ask one over
// the local socket or over HTTPS.
//
// Two dangers shape it. A command line is seen by every user of the machine and kept in the
// shell's history, so a secret value never is an argument: it comes from a file or from standard
// input, and a prompt does not show it. And what a server sends was written by others: names and
// tags may hold terminal control sequences, so text that is not printable is shown quoted.
//
// Results go to standard output, all else to standard error with the prefix "strongroom: ".
// The exit code is 0 if it was done, 1 if it was refused or failed, 2 if the call was wrong, and
// for "run" that of the program that ran.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2

	// Of run, as shells have them (POSIX, 2.8.2).
	exitNotExecutable = 126
	exitNoProgram     = 127
)

// Main runs the command that args (without the program's name) ask for and returns the exit
// code. An interrupt ends it with one line; a second one kills the process.
func Main(version string, args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{version: version, in: in, out: out, errs: errs, environ: os.Environ()}
	return a.execute(ctx, args)
}

// An app is one run of the program with what surrounds it.
type app struct {
	version   string
	in        io.Reader
	out, errs io.Writer
	environ   []string // NAME=value
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errs)
	return a.report(ctx, root.ExecuteContext(ctx))
}

// report prints an error for people and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if ctx.Err() != nil {
		a.say("interrupted")
		return exitFailed
	}
	for line := range strings.Lines(err.Error()) {
		a.say("%s", strings.TrimRight(line, "\n"))
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return exitFailed
	}
	if f.hint != "" {
		a.say("hint: %s", f.hint)
	}
	return f.code
}

// say prints a line for people.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.errs, "strongroom: %s\n", printable(fmt.Sprintf(format, args...)))
}

// env is the value of an environment variable, "" if it is not set.
func (a *app) env(name string) string { return lookup(a.environ, name) }

// lookup finds a variable; the last of two entries counts, as for the system.
func lookup(environ []string, name string) (value string) {
	for _, entry := range environ {
		if n, v, _ := strings.Cut(entry, "="); n == name {
			value = v
		}
	}
	return value
}

// An exitCode ends the program without a word: a child has had it already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// A fault is an error with an exit code and, if there is a next step, a hint.
type fault struct {
	error
	hint string
	code int
}

func (f *fault) Unwrap() error { return f.error }

// usage says that the command was called wrongly.
func usage(hint, format string, args ...any) error {
	return &fault{fmt.Errorf(format, args...), hint, exitUsage}
}

// failed says that it could not be done, and what to do next.
func failed(hint, format string, args ...any) error {
	return &fault{fmt.Errorf(format, args...), hint, exitFailed}
}

func (a *app) root() *cobra.Command {
	cobra.MousetrapHelpText = "" // a double click on Windows gets the help text like anybody
	root := &cobra.Command{
		Use:   "strongroom",
		Short: "Azure Key Vault that you run yourself",
		Long: "Strongroom serves the Key Vault REST API, with the identities, roles and audit log around it,\n" +
			"to unmodified Azure SDKs and tools.\n\n" +
			"Every command prints its result as --output says, table or json. dev, serve and run have no result:\n" +
			"they run a program; nor has completion, which prints one.\n\n" +
			"Exit codes: 0 done, 1 refused or failed, 2 wrong usage; \"run\" has that of its program, or 127 and 126\n" +
			"where there is none and where it can't be run.",
		Example:       "  strongroom dev\n  strongroom run -- ./app",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.serverCommands()...)
	root.AddCommand(
		a.leaf(a.runSpec()), a.leaf(a.dumpSpec()), a.vaultGroup(), a.secretGroup(), a.roleGroup(), a.identityGroup(), a.auditGroup(), a.rootKeyGroup(),
		a.leaf(spec{
			use: "version", short: "Print the version", example: "  strongroom version --output json",
			flags: outputFlag, run: (*call).showVersion,
		}),
	)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd("completion")
	exemplify(root)
	return root
}

// helpCommand is cobra's own but for a command that is not there, which is wrong usage.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [command]", Short: "Help about any command", Example: "  strongroom help secret set",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return cmp.Or(unknownCommand(of, rest), err)
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

func (c *call) showVersion() error {
	if !c.json() {
		_, err := fmt.Fprintln(c.out, "strongroom", c.version)
		return err
	}
	b, err := json.Marshal(map[string]string{"version": c.version})
	if err != nil {
		return fmt.Errorf("print the version: %w", err)
	}
	return c.writeJSON(b)
}

// exemplify gives cobra's own commands what every command of ours has.
func exemplify(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Example = "  strongroom completion bash > /etc/bash_completion.d/strongroom"
		for _, shell := range cmd.Commands() {
			shell.Example = "  strongroom completion " + shell.Name()
			shell.Args = func(cmd *cobra.Command, args []string) error { return checkArgs(cmd, cmd.Name(), args) }
		}
		cmd.Args, cmd.RunE = unknownCommand, wantCommand
	}
}
