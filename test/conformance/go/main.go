// Command go is a judge of the wire: it runs every operation, pager and refusal of secrets through
// Microsoft's own Go clients, unmodified and with the challenge check on. It is built twice, with
// the newest releases (go.mod) and with releases about two years older (old.mod), because a server
// that pleases only today's clients breaks the programs that are in use.
//
// It prints one JSON object a line: first who it is, then each case, then what it counted.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// A config is one sign-in at one vault. Secrets come in files, never as arguments.
type config struct {
	Vault     string `json:"vault"`     // URL; "" for what "strongroom run" has set
	Authority string `json:"authority"` // URL of the login host
	Tenant    string `json:"tenant"`    // a GUID, or "adfs"
	SignIn    string `json:"signIn"`    // "secret", "certificate" or "managed"
	Discovery bool   `json:"discovery"` // leaves the SDK's instance discovery on
	Loopback  bool   `json:"loopback"`  // dials names below .localhost at 127.0.0.1, as browsers do

	ClientID        string `json:"clientId"`
	SecretFile      string `json:"secretFile"`
	CertificateFile string `json:"certificateFile"` // PEM, with its key

	// An identity without any right.
	StrangerID         string `json:"strangerId"`
	StrangerSecretFile string `json:"strangerSecretFile"`
}

// caseLimit bounds one case: a client that retries for minutes has found a fault.
const caseLimit = 60 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, the file that says where to sign in, found %d", len(args))
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var cfg config
	if err := json.Unmarshal(text, &cfg); err != nil {
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	cfg.Vault = cmp.Or(cfg.Vault, os.Getenv("AZURE_KEYVAULT_URL"))
	s, err := newSuite(cfg)
	if err != nil {
		return fmt.Errorf("sign in by %s: %w", cfg.SignIn, err)
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]string{"client": releases()}); err != nil {
		return err
	}
	for _, c := range cases {
		if c.only != "" && c.only != cfg.SignIn {
			continue
		}
		if err := out.Encode(s.judge(c)); err != nil {
			return err
		}
	}
	return out.Encode(map[string]any{"apiVersion": s.seen.apiVersion(), "answered": s.seen.answered.Load()})
}

// A verdict is the line of one case.
type verdict struct {
	Case     string   `json:"case"`
	OK       bool     `json:"ok"`
	MS       int64    `json:"ms"`
	Problems []string `json:"problems,omitempty"`
}

func (s *suite) judge(c testCase) verdict {
	ctx, cancel := context.WithTimeout(context.Background(), caseLimit)
	defer cancel()
	start := time.Now()
	var found findings
	if err := c.run(ctx, s, &found); err != nil {
		found = append(found, err.Error())
	}
	found = append(found, s.seen.takeFaults()...)
	return verdict{Case: c.name, OK: len(found) == 0, MS: time.Since(start).Milliseconds(), Problems: found}
}

// releases names the client libraries that this program is linked with.
func releases() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	var names []string
	for _, m := range info.Deps {
		for _, name := range []string{"azidentity", "azsecrets"} {
			if strings.HasSuffix(m.Path, "/"+name) {
				names = append(names, name+" "+strings.TrimPrefix(m.Version, "v"))
			}
		}
	}
	return strings.Join(names, ", ")
}
