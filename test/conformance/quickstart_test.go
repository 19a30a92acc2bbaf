//go:build linux

package conformance

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/test/served"
)

// quickstarts are programs as the official quickstarts have them, with the address of a vault of Azure
// in the code, by the name that they give their secret.
var quickstarts = map[string]func(t *testing.T) []string{
	"go": func(t *testing.T) []string { return []string{absolute(t, "../../bin/conformance/quickstart")} },
	"js": func(t *testing.T) []string { return []string{"node", absolute(t, "js/quickstart.js")} },
	"python": func(t *testing.T) []string {
		return []string{absolute(t, "../../bin/conformance/python/bin/python"), absolute(t, "python/quickstart.py")}
	},
}

// TestQuickstarts runs them unmodified, with the challenge check on, and lists what they connect to.
func TestQuickstarts(t *testing.T) {
	d := newDeployment(t)
	for _, signIn := range []string{"managed", "secret", "certificate"} {
		for language, program := range quickstarts {
			vault := "payroll-" + language + "-" + signIn[:1]
			d.makeVault(t, vault)
			t.Run(language+" "+signIn, func(t *testing.T) {
				t.Parallel()
				run := []string{"--socket", d.server.Socket(), "--vault", "contoso-payroll=" + vault}
				environ := os.Environ()
				if signIn == "managed" {
					run = append(run, "--as", managedName)
				} else {
					run = append(run, "--sign-in", "env")
					environ = append(environ, d.ownSignIn(t, signIn)...)
				}
				quickstart(t, language, program(t), nil, run, environ, t.TempDir())
			})
		}
	}
}

// TestQuickstartsOfNobody runs them as an ordinary user without a server, in a network of their own that
// has nothing but loopback.
func TestQuickstartsOfNobody(t *testing.T) {
	if !wanted {
		t.Skip("needs the client programs that scripts/conformance builds: make conformance")
	}
	const apart = `ip link set lo up && test "$(id -u)" -ne 0 && exec "$@"`
	wrapper := []string{"unshare", "--user", "--map-current-user", "--net", "--keep-caps", "sh", "-c", apart, "sh"}
	if os.Geteuid() == 0 {
		wrapper = append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}, wrapper...)
	}
	if out, err := exec.Command(wrapper[0], append(slices.Clone(wrapper[1:]), "true")...).CombinedOutput(); err != nil {
		t.Skipf("this system gives an ordinary user no network of his own (a container may forbid it): %v, %s", err, out)
	}
	for language, program := range quickstarts {
		t.Run(language, func(t *testing.T) {
			if err := exec.Command(wrapper[0], append(slices.Clone(wrapper[1:]), "test", "-x", program(t)[0])...).Run(); filepath.IsAbs(program(t)[0]) && err != nil {
				t.Skipf("%s lies where an ordinary user cannot run it", program(t)[0])
			}
			home, err := os.MkdirTemp("", "home")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(home) })
			if os.Geteuid() == 0 {
				if err := os.Chown(home, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			quickstart(t, language, program(t), wrapper, []string{"--ephemeral"}, append(os.Environ(), "HOME="+home, "TMPDIR="+home), home)
		})
	}
}

// quickstart runs a program by "strongroom run --offline", and judges what it printed and connected to.
func quickstart(t *testing.T, language string, program, wrapper, run, environ []string, folder string) {
	t.Helper()
	connects := filepath.Join(folder, "connects")
	all := slices.Concat(wrapper,
		[]string{"strace", "-f", "-qq", "-e", "trace=connect", "-e", "signal=none", "-o", connects, served.Binary(t), "run", "--offline"},
		run, []string{"--"}, program)
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = folder, environ, &errs
	out, err := cmd.Output()
	want := strings.ReplaceAll("set NAME\ngot created with *\nlisted NAME\ndeleted NAME\nrecovered NAME\npurged NAME\n", "NAME", "quickstart-"+language)
	if got := value.ReplaceAllString(string(out), "created with *"); err != nil || got != want {
		t.Errorf("%v, printed %q, want %q\n%s", err, got, want, errs.String())
	}
	checkConnects(t, connects)
}

var value = regexp.MustCompile(`created with \w+`)

// ownSignIn are the variables of a program that brings its own credential, and the tenant that it comes
// from.
func (d *deployment) ownSignIn(t *testing.T, by string) []string {
	t.Helper()
	own := []string{"AZURE_CLIENT_ID=" + d.ids[appName], "AZURE_TENANT_ID=72f988bf-86f1-41af-91ab-2d7cd011db47"}
	if by == "certificate" {
		return append(own, "AZURE_CLIENT_CERTIFICATE_PATH="+d.pem)
	}
	secret, err := os.ReadFile(d.secrets[appName])
	if err != nil {
		t.Fatal(err)
	}
	return append(own, "AZURE_CLIENT_SECRET="+strings.TrimSpace(string(secret)))
}

// inet is the address of a connect call as strace prints it.
var inet = regexp.MustCompile(`inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"`)

// checkConnects wants that nothing outside this machine was tried.
func checkConnects(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "AF_INET") {
			continue
		}
		found := inet.FindAllStringSubmatch(line, -1)
		if len(found) == 0 {
			t.Errorf("no address in %s", line)
		}
		for _, match := range found {
			addr, err := netip.ParseAddr(match[1])
			if err != nil || !addr.Unmap().IsLoopback() {
				t.Errorf("a connection outside this machine: %s", line)
			}
			seen++
		}
	}
	if seen == 0 {
		t.Error("no connection was seen at all")
	}
}
