package cli

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"strongroom/internal/childproxy"
)

const (
	renewEvery = 10 * time.Second // the server forgets a run that is not renewed for 60 s
	endWithin  = 5 * time.Second
)

func (a *app) runSpec() spec {
	return spec{
		use:   "run [flags] -- PROGRAM [ARGUMENT...]",
		short: "Run an unmodified program against the server of this machine",
		long: "Run an unmodified program against the server of this machine. For this program only, the managed\n" +
			"identity endpoint, the certificate authority and a proxy for the server's host names are set in its\n" +
			"environment; Java, which is told by JAVA_TOOL_OPTIONS, says so in one line on standard error.\n" +
			"Signals are passed on, and the exit code is the program's (128+n for signal n).",
		example: "  strongroom run -- ./app\n  strongroom run --vault payroll --as web -- node server.js",
		flags: func(f *pflag.FlagSet) {
			f.SetInterspersed(false) // what follows the program is the program's
			f.String("vault", "dev", "the vault whose URL is set as AZURE_KEYVAULT_URL, KEY_VAULT_URL and VAULT_URL")
			f.String("as", "", "the identity the program has: a name, client id or object id (default: the server's)")
			socketFlags(f)
		},
		run: (*call).runProgram,
	}
}

// A runGrant is what the server gives for one run.
type runGrant struct {
	IdentityEndpoint string `json:"identityEndpoint"`
	IMDSEndpoint     string `json:"imdsEndpoint"`
	ClientID         string `json:"clientId"`
	Listen           string `json:"listen"`
	CAPEM            string `json:"caPem"` // "" if the server's certificate is publicly trusted
	VaultSuffix      string `json:"vaultSuffix"`
	ManagementHost   string `json:"managementHost"`
	LoginHost        string `json:"loginHost"`
	Tenant           string `json:"tenant"`
	Subscription     string `json:"subscription"`
}

// A lease is a run at the server: an identity, and a secret that gets its tokens. Only this
// process and its child know the secret, and it ends with them.
type lease struct {
	cl   *client
	path string
	body map[string]string
	runGrant
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
	cl, err := c.overSocket()
	if err != nil {
		return err
	}
	l, err := c.newLease(cl)
	if err != nil {
		return err
	}
	return c.withLease(l, file)
}

// newLease asks the server for a run.
func (c *call) newLease(cl *client) (*lease, error) {
	l := &lease{
		cl: cl, path: "/runs/" + newGUID(),
		body: map[string]string{"identity": c.text("as"), "secret": newSecret()},
	}
	return l, l.renew(c.ctx)
}

// newSecret is 43 characters that nobody guesses.
func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (l *lease) renew(ctx context.Context) error {
	if err := l.cl.ask(ctx, l.cl.login(), http.MethodPut, l.path, l.body, &l.runGrant); err != nil {
		return fmt.Errorf("ask for an identity to run with: %w", err)
	}
	return nil
}

// keep renews the lease until ctx ends, and then gives it back. The first failure is told, since
// the program's next sign-in may fail by it; it goes on trying.
func (l *lease) keep(ctx context.Context, say func(string, ...any)) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			l.end()
			return
		case <-tick.C:
		}
		renewed := lease{cl: l.cl, path: l.path, body: l.body}
		err := renewed.renew(ctx)
		if err != nil && !told && ctx.Err() == nil {
			say("the program runs on, but the server does not answer: %v", err)
		}
		told = err != nil
	}
}

func (l *lease) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	// If the server is gone there is nothing to give back; else it forgets the run by itself.
	_, _ = l.cl.do(ctx, l.cl.login(), http.MethodDelete, l.path, nil)
}

// withLease opens what the child needs, runs it, and takes all of it away again.
func (c *call) withLease(l *lease, file string) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(c.ctx))
	var background sync.WaitGroup
	background.Go(func() { l.keep(ctx, c.say) })
	defer background.Wait()
	defer stop()

	proxy, err := c.openProxy(l.runGrant)
	if err != nil {
		return err
	}
	defer proxy.Close()
	files, err := makeRunFiles(c.environ, l.CAPEM)
	if err != nil {
		return err
	}
	defer files.remove()
	c.tellTrust(files)
	environ := runEnviron(c.environ, runFacts{
		runGrant: l.runGrant, secret: l.body["secret"], vault: c.text("vault"), proxy: proxy.URL(), files: files,
	})
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return c.runChild(file, environ)
}

// openProxy leads the server's own names to it, and lets everything else pass.
func (c *call) openProxy(g runGrant) (*childproxy.Proxy, error) {
	metadata := ""
	if u, err := url.Parse(g.IMDSEndpoint); err == nil {
		metadata = u.Host
	}
	if user := lookup(c.environ, "HTTPS_PROXY") + lookup(c.environ, "https_proxy"); user != "" {
		c.say("the proxy of HTTPS_PROXY is not used by the program: its connections go out directly")
	}
	return childproxy.Listen(childproxy.Options{
		Suffixes: []string{ownDomain(g.VaultSuffix)},
		Target:   reachable(g.Listen), Metadata: metadata,
		Log: func(line string) { c.say("%s", line) },
	})
}

// tellTrust says what the program trusts less than the user might expect.
func (c *call) tellTrust(files runFiles) {
	if files.alone {
		c.say("this machine has no bundle of authorities: the program trusts the server's alone")
	}
	for _, name := range javaVariables {
		// That store cannot be read here, so its authorities are missing in the run's.
		if files.java != "" && strings.Contains(lookup(c.environ, name), javaTrustStore) {
			c.say("the trust store of %s is not used by the program: Java trusts the system's authorities and the server's", name)
		}
	}
}

// ownDomain is the domain under which all names of the family lie, without a port.
func ownDomain(vaultSuffix string) string {
	if host, _, err := net.SplitHostPort(vaultSuffix); err == nil {
		vaultSuffix = host
	}
	return strings.TrimPrefix(vaultSuffix, "vault.")
}

// reachable turns the address of a listener on every interface into one that can be dialled.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if addr, addrErr := netip.ParseAddr(host); err == nil && (host == "" || addrErr == nil && addr.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

// runChild runs the program to its end. Signals that reach us go to it, except those that the
// terminal has sent to both of us: a second interrupt would often mean "at once".
func (c *call) runChild(file string, environ []string) error {
	cmd := exec.Command(file, c.args[1:]...)
	cmd.Args[0] = c.args[0]
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, c.in, c.out, c.errs
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
