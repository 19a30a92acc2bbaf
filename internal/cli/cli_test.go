package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// aboutJSON is what the stub says of itself.
const aboutJSON = `{"tenant":"T","subscription":"S","group":"g","managementHost":"management.test","graphHost":"graph.test",` +
	`"loginHost":"login.test","vaultSuffix":"vault.test:8443","runVaultSuffix":"vault.run.test","listen":"127.0.0.1:8443","region":"here"}`

// A stub stands for a server at the other end of the local socket. Its answers are
// "200 body" by "METHOD host/path?query", where GUID stands for a random one; a longer list is
// given one by one.
type stub struct {
	socket  string
	answers map[string][]string

	mu       sync.Mutex
	requests []string // "METHOD host/path?query body", without those for about; guarded by mu
}

var guid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func newStub(t *testing.T, answers map[string][]string) *stub {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // shorter than t.TempDir: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stub{socket: filepath.Join(dir, socketName), answers: answers}
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := guid.ReplaceAllString(r.Method+" "+r.Host+r.URL.RequestURI(), "GUID")
	if strings.HasPrefix(key, "GET local/about?") {
		fmt.Fprint(w, aboutJSON)
		return
	}
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, strings.TrimSpace(key+" "+string(body)))
	var status int
	answer := "404 "
	if list := s.answers[key]; len(list) > 0 {
		answer = list[0]
		if len(list) > 1 {
			s.answers[key] = list[1:]
		}
	}
	head, text, _ := strings.Cut(answer, " ")
	fmt.Sscan(head, &status)
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

// take returns the requests so far.
func (s *stub) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// result is what a run of the program left.
type result struct {
	code      int
	out, errs string
}

// run runs the program with no environment.
func run(t *testing.T, in string, args ...string) result {
	t.Helper()
	return runWith(t, nil, in, args...)
}

func runWith(t *testing.T, environ []string, in string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{version: "v1", in: strings.NewReader(in), out: &out, errs: &errs, environ: environ}
	code := a.execute(t.Context(), args)
	return result{code, out.String(), errs.String()}
}

// ask runs the program against the stub.
func (s *stub) ask(t *testing.T, in string, args ...string) result {
	t.Helper()
	return run(t, in, append(args, "--socket", s.socket)...)
}

func check(t *testing.T, got, want result) {
	t.Helper()
	if got != want {
		t.Errorf("got exit code %d\n%s%swant exit code %d\n%s%s", got.code, got.out, got.errs, want.code, want.out, want.errs)
	}
}

func TestUsage(t *testing.T) {
	t.Chdir(t.TempDir()) // no server here
	for _, tt := range []struct {
		args string
		code int
		errs string
	}{
		{"bogus", 2, `strongroom: "strongroom" has no command "bogus"
strongroom: hint: "strongroom --help" shows what it takes
`},
		{"sercet", 2, `strongroom: "strongroom" has no command "sercet"
strongroom: hint: did you mean "strongroom secret"?
`},
		{"secret sho", 2, `strongroom: "strongroom secret" has no command "sho"
strongroom: hint: did you mean "strongroom secret show"?
`},
		{"audit", 2, `strongroom: want a command after "strongroom audit": export, key, tail, verify
strongroom: hint: "strongroom audit --help" shows what it takes
`},
		{"secret show", 2, `strongroom: want NAME after "strongroom secret show"
strongroom: hint: "strongroom secret show --help" shows what it takes
`},
		{"secret set a b", 2, `strongroom: found "b", want nothing more
strongroom: hint: "strongroom secret set --help" shows what it takes
`},
		{"secret get a", 2, `strongroom: "strongroom secret" has no command "get"
strongroom: hint: did you mean "strongroom secret show"?
`},
		{"help foo", 2, `strongroom: "strongroom" has no command "foo"
strongroom: hint: "strongroom --help" shows what it takes
`},
		{"dev --port 65536", 2, "strongroom: --port 65536: want 0 to 65535\n"},
		{"secret show a", 2, `strongroom: want the name of a vault with --vault
strongroom: hint: "strongroom vault list" shows the names
`},
		{"secret show a --vault evil.example/", 2, `strongroom: --vault "evil.example/": want the name of a vault, letters, digits and dashes
strongroom: hint: "strongroom vault list" shows the names
`},
		{"secret list --vault v --socket s --nope", 2, `strongroom: unknown flag: --nope
strongroom: hint: "strongroom secret list --help" shows what it takes
`},
		{"vault create v --retention-days x", 2, `strongroom: --retention-days "x": want a whole number
strongroom: hint: "strongroom vault create --help" shows what it takes
`},
		{"vault list -o xml", 2, "strongroom: --output \"xml\": want json or table\n"},
		{"vault list --server http://management.test", 2, "strongroom: --server \"http://management.test\": want https:// and the management host\n"},
		{"audit tail --lines -1", 2, "strongroom: --lines -1: want a whole number from 0\n"},
		{"role list --secret s", 2, "strongroom: want the vault of the secret with --vault\n"},
		{"role list --scope here", 2, "strongroom: --scope \"here\": want a path as /subscriptions/…\n"},
		{"role list --scope / --vault v", 2, "strongroom: want --scope, or --vault with or without --secret, found both\n"},
		{"role assign --to web", 2, `strongroom: want a role with --role
strongroom: hint: "strongroom role definitions" lists them
`},
		{"identity remove-credential web", 2, `strongroom: want KEY-ID after "strongroom identity remove-credential"
strongroom: hint: "strongroom identity remove-credential --help" shows what it takes
`},
		{"run", 2, `strongroom: want a program after --
strongroom: hint: as in "strongroom run -- ./app"
`},
		{"run -- ./", 126, "strongroom: run \"./\": is a directory\n"},
		{"run -- ./no-such-program", 127, "strongroom: run \"./no-such-program\": stat ./no-such-program: no such file or directory\n"},
		{"completion bash x", 2, `strongroom: found "x", want nothing more
strongroom: hint: "strongroom completion bash --help" shows what it takes
`},
		{"secret list --vault v --socket nowhere", 1, `strongroom: no server runs here: there is no socket nowhere
strongroom: hint: start one with "strongroom dev", or name one with --socket
`},
		{"run --socket nowhere -- true", 1, `strongroom: no server runs here: there is no socket nowhere
strongroom: hint: start one with "strongroom dev", or name one with --socket
`},
	} {
		if tt.args == "run -- true" && fileExists(filepath.Join(serveDataDir, socketName)) {
			continue // a server of this machine
		}
		t.Run(tt.args, func(t *testing.T) {
			check(t, run(t, "", strings.Fields(tt.args)...), result{tt.code, "", tt.errs})
		})
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestVersion(t *testing.T) {
	check(t, run(t, "", "version"), result{0, "strongroom v1\n", ""})
	check(t, run(t, "", "version", "--output", "json"), result{0, "{\n  \"version\": \"v1\"\n}\n", ""})
	check(t, run(t, "", "version", "-o", "xml"), result{2, "", "strongroom: --output \"xml\": want json or table\n"})
}

// Every command prints its result as --output says. Those without a result run a program or print
// one, and the help says so.
func TestEveryResultHasAnOutput(t *testing.T) {
	exempt := []string{"dev", "serve", "run", "completion"}
	root := (&app{}).root()
	for _, name := range exempt {
		if !strings.Contains(root.Long, name) {
			t.Errorf("the help of strongroom does not say that %s has no --output", name)
		}
	}
	leaves := 0
	var walk func(cmd *cobra.Command, verb string)
	walk = func(cmd *cobra.Command, verb string) {
		for _, sub := range cmd.Commands() {
			walk(sub, or(verb, sub.Name()))
		}
		if cmd.HasSubCommands() || cmd.Name() == "help" {
			return
		}
		leaves++
		has := cmd.Flags().Lookup("output") != nil || cmd.InheritedFlags().Lookup("output") != nil
		if want := !slices.Contains(exempt, verb); has != want {
			t.Errorf("%s has --output: %v, want %v", cmd.CommandPath(), has, want)
		}
	}
	walk(root, "")
	if leaves < 40 {
		t.Errorf("%d commands seen, want all", leaves)
	}
}

// Every command has help and an example, and the example is one that the command takes.
func TestExamples(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" {
			return
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: short %q, example %q, want both", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		for _, line := range strings.Split(cmd.Example, "\n") {
			checkExample(t, line)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
}

func checkExample(t *testing.T, line string) {
	t.Helper()
	_, command, ok := strings.Cut(line, "strongroom ")
	if !ok {
		t.Errorf("example %q: want the program's name in it", line)
		return
	}
	command, _, _ = strings.Cut(command, " > ")
	command = strings.NewReplacer(`"Key Vault Secrets User"`, "role").Replace(command)
	root := (&app{}).root()
	cmd, args, err := root.Find(strings.Fields(command))
	if err == nil {
		err = cmd.ParseFlags(args)
	}
	if err == nil && cmd.HasSubCommands() {
		err = fmt.Errorf("%s needs a command", cmd.CommandPath())
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("example %q: %v", line, err)
	}
}

func TestInterrupted(t *testing.T) {
	s := newStub(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, errs: &errs}
	code := a.execute(ctx, []string{"vault", "list", "--socket", s.socket})
	check(t, result{code, out.String(), errs.String()}, result{1, "", "strongroom: interrupted\n"})
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{`403 {"error":{"code":"Forbidden","message":"Caller is not authorized.\r\nAction: x","innererror":{"code":"ForbiddenByRbac"}}}`, "the server answered 403 Forbidden, ForbiddenByRbac: Caller is not authorized. Action: x"},
		{`401 {"error":"invalid_client","error_description":"AADSTS7000215: no.\r\nTrace ID: t"}`, "the server answered 401 invalid_client: AADSTS7000215: no. Trace ID: t"},
		{`401 {"statusCode":401,"message":"wrong header"}`, "the server answered 401 Unauthorized: wrong header"},
		{`502 <html>a proxy's page</html>`, "the server answered 502 Bad Gateway"},
		{`302 {}`, "the server answered 302 Found"},
		{`400 {"error":{"code":"Bad","message":"\u001b[2Jforged"}}`, "\"the server answered 400 Bad: \\x1b[2Jforged\""},
		{`200 s3cret`, "the server's answer is not the JSON that was expected; is it Strongroom?"},
		{`200 {"value":"s3cret"}`, "the server's answer is not the JSON that was expected; is it Strongroom?"},
	} {
		s := newStub(t, map[string][]string{"GET v.vault.test:8443/secrets?api-version=7.6": {tt.answer}})
		check(t, s.ask(t, "", "secret", "list", "--vault", "v"), result{1, "", "strongroom: " + tt.want + "\n"})
	}
}

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s differ (-want +got):\n%s", what, d)
	}
}
