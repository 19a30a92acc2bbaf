package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/pflag"
)

func (a *app) runSpec() spec {
	return spec{
		use:   "run [flags] -- PROGRAM [ARGUMENT...]",
		short: "Run an unmodified program against the server of this machine",
		long: "Run an unmodified program against the server of this machine. Azure's own host names (vaults, sign-in,\n" +
			"management, Graph) lead here, for this program only: the managed identity endpoint, a certificate\n" +
			"authority and a proxy are set in its environment, and nothing of it is left when it ends. Other names of\n" +
			"Azure are refused, everything else passes. Java, which is told by JAVA_TOOL_OPTIONS, says so in one line\n" +
			"on standard error. Signals are passed on, and the exit code is the program's (128+n for signal n).\n\n" +
			"A vault's name in the program leads to the vault of that name here, unless --vault says otherwise.",
		example: "  strongroom run -- ./app\n  strongroom run --vault payroll --as web -- node server.js\n" +
			"  strongroom run --vault contoso-payroll=payroll --offline -- ./app",
		flags: func(f *pflag.FlagSet) {
			f.SetInterspersed(false) // what follows the program is the program's
			f.StringArray("vault", nil, "the vault that all names of vaults lead to, and whose URL is set as AZURE_KEYVAULT_URL,\n"+
				"KEY_VAULT_URL and VAULT_URL (dev, if none is given); or NAME=VAULT, to lead one name to a vault; may be repeated")
			f.String("as", "", "the identity the program has: a name, client id or object id (default: the server's)")
			f.String("sign-in", "managed", "managed: the program has that identity; env: it signs in by its own AZURE_CLIENT_ID and secret,\n"+
				"certificate or token file")
			f.Bool("offline", false, "let the program reach nothing but the server and its own machine")
			f.Bool("ephemeral", false, "start a server for this command alone, with data that go with it and one vault that all names lead to;\n"+
				"so it is too where no server was ever started")
			f.Bool("allow-azure", false, "let the program reach what Azure has beside vaults, sign-in, management and Graph")
			socketFlags(f)
		},
		run: (*call).runProgram,
	}
}

// A runGrant is what the server gives for one run.
type runGrant struct {
	Proxy            string `json:"proxy"`
	IdentityEndpoint string `json:"identityEndpoint"`
	Secret           string `json:"secret"`
	ClientID         string `json:"clientId"`
	CAPEM            string `json:"caPem"`
	VaultSuffix      string `json:"vaultSuffix"`
	ManagementHost   string `json:"managementHost"`
	Tenant           string `json:"tenant"`
	Subscription     string `json:"subscription"`
}

// A runLine is a line of the server's answer.
type runLine struct {
	Started *runGrant `json:"started"`
	Error   string    `json:"error"`
	Say     string    `json:"say"`
}

// A runRequest is what the server is asked for.
type runRequest struct {
	Identity   string            `json:"identity"`
	OwnSignIn  bool              `json:"ownSignIn"`
	Tenant     string            `json:"tenant"`
	Vault      string            `json:"vault"`
	Vaults     map[string]string `json:"vaults"`
	Offline    bool              `json:"offline"`
	AllowAzure bool              `json:"allowAzure"`
}

func (c *call) runProgram() error {
	if len(c.args) == 0 {
		return usage(`as in "strongroom run -- ./app"`, "want a program after --")
	}
	if runtime.GOOS != "linux" {
		return failed("", "run works on Linux only so far, this is %s", runtime.GOOS)
	}
	file, err := exec.LookPath(c.args[0])
	if err != nil {
		code := exitNotExecutable
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNoProgram
		}
		return &fault{fmt.Errorf("run %q: %w", c.args[0], errors.Unwrap(err)), "", code}
	}
	want, err := c.runRequest()
	if err != nil {
		return err
	}
	cl, private, err := c.serverForRun()
	if err != nil {
		return err
	}
	if private != nil {
		defer private.stop()
		if or(want.Vault, onlyVault) != onlyVault || len(want.Vaults) > 0 {
			return usage("", "the server of this command alone has one vault, %q, that all names lead to: leave --vault out", onlyVault)
		}
		want.Vault = onlyVault
	}
	return c.withRun(cl, want, file)
}

// onlyVault is the vault that "dev" makes.
const onlyVault = "dev"

// The ways in which a run's program signs in.
const (
	signInManaged = "managed"
	signInEnv     = "env"
)

// runRequest reads the flags.
func (c *call) runRequest() (r runRequest, err error) {
	r = runRequest{Identity: c.text("as"), Vaults: map[string]string{}, Offline: c.text("offline") == "true", AllowAzure: c.text("allow-azure") == "true"}
	if r.Offline && r.AllowAzure {
		return r, usage("", "want --offline or --allow-azure, found both")
	}
	switch c.text("sign-in") {
	case signInManaged:
	case signInEnv:
		if c.given("as") {
			return r, usage("", "want --as or --sign-in env, found both: with env the program says who it is")
		}
		r.OwnSignIn = true
		r.Tenant = lookup(c.environ, "AZURE_TENANT_ID") // clients compare it with what the vault names
	default:
		return r, usage("", "--sign-in %q: want %s or %s", c.text("sign-in"), signInManaged, signInEnv)
	}
	names, _ := c.flags.GetStringArray("vault")
	for _, name := range names {
		from, to, isPair := strings.Cut(name, "=")
		_, twice := r.Vaults[strings.ToLower(from)]
		switch {
		case isPair && !twice:
			r.Vaults[strings.ToLower(from)] = to
		case isPair || r.Vault != "":
			return r, usage("", "--vault %s: another --vault says otherwise", name)
		default:
			r.Vault = name
		}
	}
	return r, nil
}

// withRun opens a run at the server, with what the child needs of it, runs the child, and takes all of it
// away again: the server's part goes with the connection, however this process ends.
func (c *call) withRun(cl *client, want runRequest, file string) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(c.ctx))
	defer stop()
	body, err := cl.stream(ctx, cl.login(), "/runs", want)
	if err != nil {
		return fmt.Errorf("open the run: %w", err)
	}
	defer body.Close()
	lines := jsontext.NewDecoder(body)
	first, err := nextLine(lines)
	if err != nil || first.Started == nil {
		return fmt.Errorf("open the run: %w", cmp.Or(err, errors.New(or(first.Error, "the server did not say how"))))
	}
	grant := *first.Started
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	background.Go(func() { c.sayLines(ctx, lines) }) // ends with stop

	files, err := makeRunFiles(c.environ, grant.CAPEM)
	if err != nil {
		return err
	}
	defer files.remove()
	c.tellChanges(files)
	environ := runEnviron(c.environ, runFacts{runGrant: grant, vault: or(want.Vault, onlyVault), vaultNamed: want.Vault != "", ownSignIn: want.OwnSignIn, files: files})
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return c.runChild(file, environ)
}

func nextLine(lines *jsontext.Decoder) (line runLine, err error) {
	err = json.UnmarshalDecode(lines, &line)
	return line, err
}

// sayLines passes on what the server has to say of the run, until ctx ends.
func (c *call) sayLines(ctx context.Context, lines *jsontext.Decoder) {
	for {
		line, err := nextLine(lines)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.say("the run has ended at the server: the program cannot reach it any more")
			return
		}
		c.say("%s", line.Say)
	}
}

// tellChanges says what the program has not, though the user might expect it.
func (c *call) tellChanges(files runFiles) {
	if lookup(c.environ, "HTTPS_PROXY")+lookup(c.environ, "https_proxy") != "" {
		c.say("the proxy of HTTPS_PROXY is not used by the program: its connections go out directly")
	}
	if files.alone {
		c.say("this machine has no bundle of authorities: the program trusts the server's alone")
	}
	for _, name := range javaVariables {
		// That store cannot be read here, so its authorities are missing in the run's.
		if strings.Contains(lookup(c.environ, name), javaTrustStore) {
			c.say("the trust store of %s is not used by the program: Java trusts the system's authorities and the server's", name)
		}
	}
}

// runChild runs the program to its end. Signals that reach us go to it, except those that the
// terminal has sent to both of us: a second interrupt would often mean "at once".
func (c *call) runChild(file string, environ []string) error {
	cmd := exec.Command(file, c.args[1:]...)
	cmd.Args[0] = c.args[0]
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, c.in, c.out, c.errs
	runtime.LockOSThread() // the child's end is bound to the thread that starts it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = withUs()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %q: %w", c.args[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if !fromTerminal(s) {
				_ = cmd.Process.Signal(s) // it fails when the child has just ended, which Wait tells
			}
		case err := <-ended:
			return childExit(c.args[0], err)
		}
	}
}

// childExit turns how the child ended into our own exit code.
func childExit(name string, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return fmt.Errorf("run %q: %w", name, err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitCode(128 + int(status.Signal()))
	}
	return exitCode(exit.ExitCode())
}
