//go:build linux

package conformance

import (
	"bufio"
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// operations are all those of secrets: each run must have left entries of each.
var operations = []string{
	"SecretSet", "SecretGet", "SecretUpdate", "SecretDelete", "SecretList", "SecretListVersions",
	"SecretListDeleted", "SecretGetDeleted", "SecretPurge", "SecretRecover", "SecretBackup", "SecretRestore",
}

// An entry is what is looked at of an audit record.
type entry struct {
	ResourceID       string `json:"resourceId"`
	OperationName    string `json:"operationName"`
	OperationVersion string `json:"operationVersion"`
}

// checkAudit holds the exported audit log against what the clients counted: one entry for each
// request that was answered to a caller, no more and no fewer.
func (d *deployment) checkAudit(t *testing.T, results []result) {
	entries := map[string]map[string]int{} // vault, operation: how many
	versions := map[string]string{}        // vault: the api-version of its entries
	lines := bufio.NewScanner(bytes.NewReader(d.command(t, "audit", "export")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("audit line %q: %v", lines.Text(), err)
		}
		if !strings.HasPrefix(e.OperationName, "Secret") {
			continue
		}
		vault := strings.ToLower(path.Base(e.ResourceID))
		if entries[vault] == nil {
			entries[vault] = map[string]int{}
		}
		entries[vault][e.OperationName]++
		versions[vault] = e.OperationVersion
	}
	for _, r := range results {
		r.checkEntries(t, entries[r.vault], versions[r.vault])
	}
}

func (r result) checkEntries(t *testing.T, entries map[string]int, version string) {
	if r.unfinished {
		return // the run has told already
	}
	total := 0
	for _, n := range entries {
		total += n
	}
	if total != r.answered {
		t.Errorf("%s: the audit log has %d entries of the vault, the client counted %d answers", r.combination, total, r.answered)
	}
	for _, operation := range operations {
		if entries[operation] == 0 {
			t.Errorf("%s: the audit log has no entry of %s", r.combination, operation)
		}
	}
	if version != r.apiVersion {
		t.Errorf("%s: the audit log has api-version %q, the client sent %q", r.combination, version, r.apiVersion)
	}
}
