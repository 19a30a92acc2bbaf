package server

import (
	"net/http"
	"testing"

	"strongroom/internal/fair"
	"strongroom/internal/operation"
)

// A caller whose place is taken waits, and is told to come again where too many wait. That costs no
// entry, but is counted. Others have places of their own, and whoever sends slowly takes none.
func TestCallersWaitTheirTurn(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"x"}`)
		gate := fair.NewGate(fair.Limits{Inside: 2, Shared: 1})
		tr.app.pipeline.Admission = operation.Admission{Work: gate}
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

// What comes over a rate is told to come again: strangers by their address, callers by who they are,
// and all by the vault that they ask. It leaves no entry of its own.
func TestRates(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		tr.must("officer", "PUT", "vault:/secrets/a", `{"value":"x"}`)
		few := func() *fair.Limiter { return fair.NewLimiter(0.001, 2, 100) }
		for _, tt := range []struct {
			name, caller, other string
			limits              operation.Admission
			passes              int
		}{
			{"strangers", "none", "officer", operation.Admission{Anonymous: few()}, http.StatusUnauthorized},
			{"a caller", "officer", "reader", operation.Admission{Identity: few()}, http.StatusOK},
			{"a vault", "officer", "owner", operation.Admission{Vault: few()}, http.StatusOK},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tr.t = t
				tr.app.pipeline.Admission = tt.limits
				before := tr.lastPosition()
				for i, want := range []int{tt.passes, tt.passes, http.StatusTooManyRequests, http.StatusTooManyRequests} {
					resp := tr.send(tt.caller, "GET", "vault:/secrets/a", "")
					if resp.Status != want || (want == http.StatusTooManyRequests) != (resp.Header.Get("Retry-After") != "") {
						t.Errorf("request %d: got %d, Retry-After %q; want %d", i, resp.Status, resp.Header.Get("Retry-After"), want)
					}
				}
				if got := tr.lastPosition() - before; got > 2 {
					t.Errorf("%d entries, want at most the two that were let in", got)
				}
				tr.must(tt.other, "GET", "vault:/secrets/a", "")
			})
		}
	})
}
