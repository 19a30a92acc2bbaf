//go:build linux

// Package conformance lets Microsoft's own clients judge the built server: the programs of go and
// js, each with the newest releases and with those of about two years earlier, run under
// "strongroom run" through every way of signing in, on port 443 and on another port. A fault that
// our own tests share with our own code shows here. scripts/conformance builds what it needs.
package conformance

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// A combination is one run of a client program.
type combination struct {
	client string // the folder of the program or of its packages: go, go-old, js, js-old
	signIn string // secret, certificate, managed
	port   string // "443", which the proxy of "strongroom run" leads here, or "other"
	adfs   bool   // the tenant is "adfs", so that the SDK asks no other authority about ours
}

func (c combination) String() string {
	name := c.client + " " + c.signIn + " " + c.port
	if c.adfs {
		name += " adfs"
	}
	return name
}

var clients = []string{"go", "go-old", "js", "js-old"}

// matrix is every client with every sign-in on both ports.
func matrix() (all []combination) {
	for _, client := range clients {
		for _, signIn := range []string{"secret", "certificate", "managed"} {
			for _, port := range []string{"443", "other"} {
				all = append(all, combination{client: client, signIn: signIn, port: port})
			}
		}
	}
	return all
}

// table is what TestMain prints: all results of the tests that are done.
var table []result

// wanted says that scripts/conformance has built the client programs.
var wanted bool

func TestMain(m *testing.M) {
	const variable = "STRONGROOM_CONFORMANCE"
	wanted = os.Getenv(variable) == "1"
	// The server takes every variable that begins so for a setting, and refuses unknown ones.
	os.Unsetenv(variable)
	code := m.Run()
	if len(table) > 0 {
		printTable()
	}
	os.Exit(code)
}

func TestOfficialClients(t *testing.T) {
	judge(t, newDeployment(t), matrix())
}

// TestADFS signs in as tools do whose authority cannot be told to skip instance discovery: the
// tenant is called "adfs", and discovery stays on.
func TestADFS(t *testing.T) {
	var all []combination
	for _, client := range clients {
		for _, signIn := range []string{"secret", "certificate"} {
			all = append(all, combination{client: client, signIn: signIn, port: "443", adfs: true})
		}
	}
	judge(t, newDeployment(t, "tokens.challenge_tenant=adfs"), all)
}

// judge runs the combinations, as many at once as go test -parallel allows, and then holds what
// the clients counted against the audit log.
func judge(t *testing.T, d *deployment, all []combination) {
	results := make([]result, len(all)) // each run writes its own
	for i := range all {
		d.makeVault(t, vaultName(i))
	}
	t.Run("clients", func(t *testing.T) {
		for i, c := range all {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				results[i] = d.run(t, c, vaultName(i))
			})
		}
	})
	// go test -run may have left some out.
	results = slices.DeleteFunc(results, func(r result) bool { return r.vault == "" })
	d.checkAudit(t, results)
	table = append(table, results...)
}

func vaultName(i int) string { return fmt.Sprintf("conformance-%d", i+1) }

// printTable prints what ran, and the count that a reader of many logs looks for.
func printTable() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "client\tsign-in\tport\tapi-version\treleases\tpassed\tfailed\ttook")
	var passed, failed int
	for _, r := range table {
		good, bad := r.count()
		passed, failed = passed+good, failed+bad
		signIn := r.signIn
		if r.adfs {
			signIn += ", tenant adfs"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%.1f s\n",
			r.client, signIn, r.port, r.apiVersion, r.releases, good, bad, r.took.Round(100*time.Millisecond).Seconds())
	}
	w.Flush()
	fmt.Printf("%d passed, %d failed\n", passed, failed)
}
