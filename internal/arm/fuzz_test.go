package arm

import (
	"testing"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/resource"
)

// FuzzBodies reads the bodies of management. What passes the checks of an assignment has what an
// assignment needs, and no condition that would be dropped.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"location":"x","tags":{"a":"b"},"properties":{"sku":{"family":"A","name":"standard"},"tenantId":"t","networkAcls":{"ipRules":[{"value":"10.0.0.0/8"}]}}}`,
		`{"properties":{"softDeleteRetentionInDays":1e400}}`, `{"properties":{"createMode":"recover"}}`, `{"properties":{"accessPolicies":[{}]}}`,
		`{"properties":{"roleDefinitionId":"x","principalId":"y","condition":"z"}}`, `{"properties":null}`, `{"name":"x","type":"y"}`,
	} {
		f.Add([]byte(seed), "00000000-0000-4000-8000-000000000001")
	}
	f.Fuzz(func(t *testing.T, body []byte, id string) {
		var vault VaultChange
		if json.Unmarshal(body, &vault, json.MatchCaseInsensitiveNames(true)) == nil {
			vault.change()
			if vault.Properties != nil {
				if _, err := vault.Properties.recovers(); err != nil && !isRefusal(err) {
					t.Errorf("%q: %v, want a refusal", body, err)
				}
			}
		}
		var assignment AssignmentBody
		if json.Unmarshal(body, &assignment, json.MatchCaseInsensitiveNames(true)) == nil {
			err := assignment.Check(id)
			p := assignment.Properties
			if err == nil && (!resource.IsGUID(id) || p == nil || p.PrincipalID == "" || p.RoleDefinitionID == "" || p.Condition != "") {
				t.Errorf("%q passes as the assignment %q", body, id)
			}
			if err != nil && !isRefusal(err) {
				t.Errorf("%q: %v, want a refusal", body, err)
			}
		}
	})
}

func isRefusal(err error) bool {
	_, ok := apierr.As(err)
	return ok
}
