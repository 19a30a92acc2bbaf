package server

import (
	"strings"
	"testing"

	"strongroom/internal/resource"
)

// longest are the longest names that there can be of a group, a vault and a secret.
var longest = struct{ group, vault, secret string }{
	strings.Repeat("g", 89) + "9", "v" + strings.Repeat("0", 22) + "9", strings.Repeat("s", 126) + "9",
}

// TestEntriesSayWhatWasMeant makes denials, grants and their removal under the longest names: the
// entry of a denial names its whole scope, that of a grant its whole path, the role and to whom.
func TestEntriesSayWhatWasMeant(t *testing.T) {
	const user, assignment = "4633458b-17de-408a-b874-0445c86b69e6", "/providers/Microsoft.Authorization/roleAssignments/de500000-0000-4000-8000-000000000009"
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		vault := resource.VaultScope(tr.vars["subscription"], longest.group, longest.vault)
		secret := vault.Object("secrets", longest.secret)
		tr.must("owner", "PUT", "management:$sub/resourceGroups/"+longest.group, `{"location":"local"}`)
		tr.must("owner", "PUT", "management:"+vault.Text, payroll)
		tr.from = tr.lastPosition() + 1
		tr.send("nobody", "GET", "vault."+longest.vault+":/secrets/"+longest.secret, "")
		tr.must("owner", "PUT", "management:"+secret.Text+assignment,
			`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/`+user+`","principalId":"$nobody"}}`)
		tr.must("owner", "DELETE", "management:"+secret.Text+assignment, "")

		entries := tr.entries()
		if len(entries) != 3 {
			t.Fatalf("%d entries, want three", len(entries))
		}
		denial := entries[0].Record(1).Properties
		if denial.MissingScope != secret.Text || !strings.HasSuffix(denial.MissingAction, "/getSecret/action") {
			t.Errorf("denial: %s at %s, want getSecret at %s", denial.MissingAction, denial.MissingScope, secret.Text)
		}
		for _, e := range entries[1:] {
			p := e.Record(1).Properties
			if p.GrantedRole != user || p.GrantedTo != tr.vars["nobody"] || !strings.Contains(p.RequestURI, secret.Text+assignment+"?") {
				t.Errorf("%s: role %q to %q by %q, want %q to %q by the whole path", e.Operation, p.GrantedRole, p.GrantedTo, p.RequestURI, user, tr.vars["nobody"])
			}
		}
	})
}

// A caller may assign some roles but not the one that it asks for: the entry of the refusal does
// not name the assignment that the other roles would have gone by.
func TestRefusedGrantHasNoAssignment(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		for _, role := range []string{roles["reader"], "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"} { // the latter is Owner
			tr.send("access", "PUT", "management:$vault/providers/Microsoft.Authorization/roleAssignments/de500000-0000-4000-8000-000000000009",
				`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/`+role+`","principalId":"$nobody"}}`)
		}
		entries := tr.entries()
		if len(entries) != 2 || entries[0].Status != 201 || entries[1].Status != 403 {
			t.Fatalf("entries %+v, want 201 and 403", entries)
		}
		given, refused := entries[0].Record(1).Properties, entries[1].Record(1).Properties
		if given.AppliedAssignmentID == "" || !given.IsRbacAuthorized {
			t.Errorf("grant: applied assignment %q, authorised %v, want one", given.AppliedAssignmentID, given.IsRbacAuthorized)
		}
		if refused.AppliedAssignmentID != "" || refused.IsRbacAuthorized || refused.GrantedRole != "" || refused.MissingAction == "" {
			t.Errorf("refusal: applied assignment %q, authorised %v, role %q, missing %q, want a missing action alone",
				refused.AppliedAssignmentID, refused.IsRbacAuthorized, refused.GrantedRole, refused.MissingAction)
		}
	})
}
