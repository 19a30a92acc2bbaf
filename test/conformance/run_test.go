//go:build linux

package conformance

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"strongroom/test/served"
)

// runLimit is far above what a run takes; a client that hangs has found a fault.
const runLimit = 3 * time.Minute

// A result is what one run of a client program said.
type result struct {
	combination
	vault      string
	releases   string // of the client libraries
	apiVersion string
	answered   int // requests that the server answered to a token it took
	cases      []verdict
	unfinished bool // the program did not come to its end
	took       time.Duration
}

// A verdict is what a program says of one case.
type verdict struct {
	Case     string   `json:"case"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

// A line of a program's output: who it is, a verdict, or what it counted.
type line struct {
	verdict
	Client     string `json:"client"`
	APIVersion string `json:"apiVersion"`
	Answered   int    `json:"answered"`
	MS         int    `json:"ms"`
}

func (r result) count() (passed, failed int) {
	for _, v := range r.cases {
		if v.OK {
			passed++
		} else {
			failed++
		}
	}
	if r.unfinished {
		failed++
	}
	return passed, failed
}

// run runs the client program under "strongroom run" and reads its verdicts.
func (d *deployment) run(t *testing.T, c combination, vault string) result {
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	args := []string{"run", "--socket", d.server.Socket(), "--vault", vault, "--as", managedName, "--"}
	args = append(args, c.command(t, d.writeConfig(t, c, vault))...)
	cmd := exec.CommandContext(ctx, served.Binary(t), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // run passes it on
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	r := result{combination: c, vault: vault, took: time.Since(start)}
	r.read(t, &out)
	if err != nil || r.answered == 0 {
		r.unfinished = true
		t.Errorf("the program did not come to its end: %v\n%s", err, errs.String())
	}
	for _, v := range r.cases {
		if !v.OK {
			t.Errorf("%s:\n\t%s", v.Case, strings.Join(v.Problems, "\n\t"))
		}
	}
	return r
}

func (r *result) read(t *testing.T, out *bytes.Buffer) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("line %q: %v", lines.Text(), err)
			continue
		}
		switch {
		case l.Client != "":
			r.releases = l.Client
		case l.Case != "":
			r.cases = append(r.cases, l.verdict)
		default:
			r.apiVersion, r.answered = l.APIVersion, l.Answered
		}
	}
}

// command is what "strongroom run" runs.
func (c combination) command(t *testing.T, config string) []string {
	if strings.HasPrefix(c.client, "go") {
		return []string{absolute(t, "../../bin/conformance/"+c.client), config}
	}
	program := []string{"node", absolute(t, "js/main.js"), config, absolute(t, c.client)}
	if c.port == "443" {
		return program
	}
	// The SDK's NO_PROXY knows exact names and suffixes with a dot, and Node finds no names below
	// .localhost: both are told, as a hosts file would.
	const direct = "127.0.0.1,localhost,.localhost,::1"
	return append([]string{"env", "NO_PROXY=" + direct, "no_proxy=" + direct, "NODE_OPTIONS=--require=" + absolute(t, "js/loopback.cjs")}, program...)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("want what scripts/conformance makes: %v", err)
	}
	return path
}
