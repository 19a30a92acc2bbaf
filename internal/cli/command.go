package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A spec declares a command.
type spec struct {
	use     string // "show NAME": words in capitals are its arguments, all required
	short   string
	long    string // short if empty
	example string
	flags   func(*pflag.FlagSet)
	run     func(*call) error
}

// A call is one run of a command.
type call struct {
	*app
	ctx   context.Context
	flags *pflag.FlagSet
	args  []string // as many as the spec names

	connection *client // see client
}

// leaf makes a command that does something.
func (a *app) leaf(s spec) *cobra.Command {
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: s.long, Example: s.example,
		Args:              func(cmd *cobra.Command, args []string) error { return checkArgs(cmd, s.use, args) },
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := &call{app: a, ctx: cmd.Context(), flags: cmd.Flags(), args: args}
			if err := c.checkOutput(); err != nil {
				return err
			}
			return s.run(c)
		},
		DisableFlagsInUseLine: strings.Contains(s.use, "["),
	}
	if s.flags != nil {
		s.flags(cmd.Flags())
	}
	return cmd
}

// checkArgs holds the arguments against the words in capitals. A use with "..." takes any.
func checkArgs(cmd *cobra.Command, use string, args []string) error {
	if strings.Contains(use, "...") {
		return nil
	}
	want := strings.Fields(use)[1:]
	switch {
	case len(args) < len(want):
		return usage(helpHint(cmd), "want %s after %q", want[len(args)], cmd.CommandPath())
	case len(args) > len(want):
		return usage(helpHint(cmd), "found %q, want nothing more", args[len(want)])
	}
	for i, arg := range args {
		if arg == "" {
			return usage(helpHint(cmd), "%s is empty", want[i])
		}
	}
	return nil
}

// group makes a command that only holds others.
func (a *app) group(name, short, example string, flags func(*pflag.FlagSet), specs ...spec) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Example: example, Args: unknownCommand, RunE: wantCommand}
	if flags != nil {
		flags(cmd.PersistentFlags())
	}
	for _, s := range specs {
		cmd.AddCommand(a.leaf(s))
	}
	return cmd
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := helpHint(cmd)
	if near := nearest(cmd, args[0]); near != "" {
		hint = "did you mean \"" + cmd.CommandPath() + " " + near + "\"?"
	}
	return usage(hint, "%q has no command %q", cmd.CommandPath(), args[0])
}

// meant are the names of our commands by those that other programs give to the same.
var meant = map[string]string{
	"get": "show", "read": "show", "cat": "show", "ls": "list", "put": "set", "write": "set", "add": "create", "new": "create",
	"rm": "delete", "remove": "delete", "undelete": "recover", "destroy": "purge", "start": "serve", "server": "serve",
	"backup": "dump", "exec": "run",
}

// nearest is the command that was probably meant: what others call so, one that begins so, or else is
// spelt alike.
func nearest(cmd *cobra.Command, word string) string {
	if other, ok := meant[word]; ok {
		if found, _, err := cmd.Find([]string{other}); err == nil && found != cmd {
			return other
		}
	}
	cmd.SuggestionsMinimumDistance = 2
	near := cmd.SuggestionsFor(word)
	for _, name := range near {
		if strings.HasPrefix(name, word) {
			return name
		}
	}
	if len(near) > 0 {
		return near[0]
	}
	return ""
}

func wantCommand(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usage(helpHint(cmd), "want a command after %q: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

func helpHint(cmd *cobra.Command) string {
	return "\"" + cmd.CommandPath() + " --help\" shows what it takes"
}

// flagError says in our words which value a flag does not take.
func flagError(cmd *cobra.Command, err error) error {
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usage(helpHint(cmd), "%w", err)
	}
	want := "a whole number"
	if e.GetFlag().Value.Type() == "bool" {
		want = "true or false"
	}
	return usage(helpHint(cmd), "--%s %q: want %s", e.GetFlag().Name, e.GetValue(), want)
}

// text is the value of a flag, as it would be written.
func (c *call) text(name string) string {
	if f := c.flags.Lookup(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// given says whether a flag stood on the command line.
func (c *call) given(name string) bool { return c.flags.Changed(name) }

// required is the value of a flag that must not be empty.
func (c *call) required(name, what, hint string) (string, error) {
	value := c.text(name)
	if value == "" {
		return "", usage(hint, "want %s with --%s", what, name)
	}
	return value, nil
}

// pairs reads a repeatable flag of the form name=value.
func (c *call) pairs(name string) (map[string]string, error) {
	entries, err := c.flags.GetStringArray(name)
	if err != nil {
		return nil, err
	}
	pairs := map[string]string{}
	for _, entry := range entries {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			// What was found is left out: people paste values where they do not belong.
			return nil, usage("", "--%s: want name=value", name)
		}
		if _, twice := pairs[key]; twice {
			return nil, usage("", "--%s: %q is given twice", name, key)
		}
		pairs[key] = value
	}
	return pairs, nil
}
