package server

import (
	"net/http"
	"testing"

	"strongroom/internal/fair"
)

// A caller whose place is taken waits, and is told to come again where too many wait. That costs no
// entry, but is counted. Others have places of their own, and whoever sends slowly takes none.
func TestCallersWaitTheirTurn(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"x"}`)
		gate := fair.NewGate(fair.Limits{Inside: 2, Shared: 1})
		tr.app.pipeline.Gate = gate
		tr.paused = func() { // while a body is under way, its sender's next request is served
			tr.must("officer", "GET", "vault:/secrets/a", "")
		}
		tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"y"}`)

		officer := tr.vars["officer"]
		slot, err := gate.Enter(t.Context(), officer)
		if err != nil {
			t.Fatal(err)
		}
		second, err := gate.Enter(t.Context(), officer)
		if err != nil {
			t.Fatal(err)
		}
		before := tr.lastPosition()
		resp := tr.send("officer", "GET", "vault:/secrets/a", "")
		if resp.Status != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d %s, Retry-After %q; want 429 with one", resp.Status, resp.Body, resp.Header.Get("Retry-After"))
		}
		if got := tr.lastPosition(); got != before {
			t.Errorf("%d entries for what was not executed, want none", got-before)
		}
		second.Leave()
		tr.must("reader", "GET", "vault:/secrets/a", "")
		slot.Leave()
		tr.must("officer", "GET", "vault:/secrets/a", "")
		if inside, waiting := gate.Load(); inside != 0 || waiting != 0 {
			t.Errorf("%d are inside and %d wait, want nobody", inside, waiting)
		}
		tr.app.counter.Flush(t.Context(), tr.app.db, tr.app.log)
		tr.from = before + 1
		found := false
		for _, e := range tr.entries() {
			found = found || e.Operation == "Throttled" && e.Count == 1
		}
		if !found {
			t.Error("the refusal was not counted")
		}
	})
}
