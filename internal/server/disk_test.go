package server

import (
	"net/http"
	"testing"
)

// Where only the reserve of the disk is left, changes are refused and counted, and reads go on. Who may
// not change anything is told that first.
func TestChangesAreRefusedWithoutRoom(t *testing.T) {
	tr := newTranscript(t, startApp(t, testConfig(t)))
	tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"x"}`)
	short := true
	tr.app.pipeline.IsShort = func() bool { return short }
	before := tr.lastPosition()
	for range 2 {
		resp := tr.send("officer", "PUT", "vault:/secrets/a", `{"value":"y"}`)
		if resp.Status != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "15" {
			t.Errorf("a change got %d %s, Retry-After %q; want 503 and 15", resp.Status, resp.Body, resp.Header.Get("Retry-After"))
		}
	}
	if got := tr.lastPosition() - before; got != 0 {
		t.Errorf("%d entries for what was not executed, want none", got)
	}
	if resp := tr.send("reader", "PUT", "vault:/secrets/a", `{"value":"y"}`); resp.Status != http.StatusForbidden {
		t.Errorf("a change without the right got %d, want 403", resp.Status)
	}
	tr.must("officer", "GET", "vault:/secrets/a", "")

	tr.app.counter.Flush(t.Context(), tr.app.db, tr.app.log)
	tr.from = before + 1
	counted := int64(0)
	for _, e := range tr.entries() {
		if e.Operation == "NoSpace" && e.Status == http.StatusServiceUnavailable {
			counted += e.Count
		}
	}
	if counted != 2 {
		t.Errorf("%d refusals were counted, want 2", counted)
	}
	short = false
	tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"z"}`)
}
