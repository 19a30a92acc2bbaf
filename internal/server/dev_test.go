package server

import "testing"

// TestDevBringsItsVaultBack deletes the vault dev and does what the next start of dev does: it has
// the vault, with what was in it, and its identity may use it. Without a server nobody could
// recover or purge it.
func TestDevBringsItsVaultBack(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		first, err := tr.app.makeDev(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tr.must("owner", "PUT", "vault.dev:/secrets/a", `{"value":"kept"}`)
		tr.must("owner", "DELETE", "management:$vaults/dev", "")
		for range 2 { // a further start changes nothing
			again, err := tr.app.makeDev(t.Context())
			if err != nil || again != first {
				t.Fatalf("dev starts with %q, %v, want the identity %q", again, err, first)
			}
		}
		tr.run(`
@owner GET vault.dev:/secrets/a
200 {"value":"kept"}
@owner GET management:$vaults/dev/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()
200 {"value":[{"name":"` + devAssignment + `"},"..."]}
`)
	})
}
