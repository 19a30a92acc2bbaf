//go:build unix

package crash

import (
	"fmt"
	"slices"
	"testing"

	"strongroom/internal/audit"
)

// The judge is shown made-up histories, logs and sights: each fault must have its name, and what is
// lawful must have none.
func TestJudge(t *testing.T) {
	const ok, gone, silent = 200, 404, 0
	for _, tt := range []struct {
		name  string
		deeds []any // operation, mark, status, by turns
		log   []string
		seen  state
		want  []string
	}{
		{name: "all is there", deeds: []any{"SecretSet", "a", ok}, seen: state{life: active, "latest": "a", "value a": "new"}},
		{name: "nothing is there", deeds: []any{"SecretSet", "a", ok}, seen: state{}, want: []string{lost, lost, lost}},
		{name: "an older value is the latest", deeds: []any{"SecretSet", "a", ok, "SecretSet", "b", ok}, seen: state{life: active, "latest": "a", "value a": "new"}, want: []string{lost, lost}},
		{name: "an unanswered write is there, with its entry", deeds: []any{"SecretSet", "a", silent}, log: []string{"a"}, seen: state{life: active, "latest": "a", "value a": "new"}},
		{name: "an unanswered write is not there, nor is its entry", deeds: []any{"SecretSet", "a", silent}, seen: state{}},
		{name: "an unanswered write is there without its entry", deeds: []any{"SecretSet", "a", silent}, seen: state{life: active, "latest": "a", "value a": "new"}, want: []string{half, half, half}},
		{name: "an entry without its write", deeds: []any{"SecretSet", "a", silent}, log: []string{"a"}, seen: state{}, want: []string{half, half, half}},
		{name: "an answered deletion is undone", deeds: []any{"SecretSet", "a", ok, "SecretDelete", "", ok, "SecretPurge", "", ok}, seen: state{life: active, "latest": "a", "value a": "new"}, want: []string{lost, lost, lost}},
		{name: "a refusal that was none of its business", deeds: []any{"SecretSet", "a", ok, "SecretUpdate", "b", gone}, seen: state{life: active, "latest": "a", "value a": "new"}, want: []string{lost}},
		{name: "a lawful refusal", deeds: []any{"SecretUpdate", "b", gone}, seen: state{}},
		{name: "a refusal by the wrong status", deeds: []any{"SecretUpdate", "b", 409}, seen: state{}, want: []string{wrong}},
		{name: "a success on nothing", deeds: []any{"SecretDelete", "", ok}, seen: state{life: deleted}, want: []string{lost}},
		{name: "a restored backup", deeds: []any{"SecretSet", "a", ok, "SecretBackup", "b", ok, "SecretSet", "c", ok, "SecretDelete", "", ok, "SecretPurge", "", ok, "SecretRestore", "b", ok}, seen: state{life: active, "latest": "a", "value a": "new"}},
		{name: "what nobody asked for", deeds: []any{"SecretSet", "a", ok}, seen: state{life: active, "latest": "a", "value a": "new", "value z": "new"}, want: []string{lost}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, log := newThing(secretKind, &home{}, "s"), entries{}
			for i := 0; i < len(tt.deeds); i += 3 {
				op, mark := tt.deeds[i].(string), tt.deeds[i+1].(string)
				n := slices.IndexFunc(secretKind.steps, func(st *step) bool { return st.op == op })
				x.history = append(x.history, deed{secretKind.steps[n], mark, &told{op: op, correlation: mark, status: tt.deeds[i+2].(int)}})
			}
			for _, mark := range tt.log {
				log[mark] = []entry{{status: ok}}
			}
			if got := kindsOf(judge(x, log, tt.seen)); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("judge(%v, %v, %v) found %v, want %v", tt.deeds, tt.log, tt.seen, got, tt.want)
			}
		})
	}
}

// A 503 that says that nothing was changed is a promise.
func TestJudgeHoldsRefusalsToTheirWord(t *testing.T) {
	x := newThing(secretKind, &home{}, "s")
	x.history = []deed{{secretKind.steps[0], "a", &told{op: "SecretSet", correlation: "a", status: 503, unchanged: true}}}
	seen := state{life: active, "latest": "a", "value a": "new"}
	if got := kindsOf(judge(x, entries{"a": {{status: 200}}}, seen)); fmt.Sprint(got) != fmt.Sprint([]string{half}) {
		t.Errorf("a change behind \"nothing was changed\": found %v, want %v", got, []string{half})
	}
}

func TestJudgeEntries(t *testing.T) {
	mine := entry{status: 200, requestID: "r", operation: "SecretGet"}
	read := told{op: "SecretGet", correlation: "c", requestID: "r", status: 200, attempts: 1}
	change := func(f func(*told)) told { out := read; f(&out); return out }
	for _, tt := range []struct {
		name  string
		told  told
		found []entry
		want  []string
	}{
		{"one", read, []entry{mine}, nil},
		{"none", read, nil, []string{lost}},
		{"none of a sign-in that was refused", change(func(t *told) { t.op, t.status = "TokenIssue", 400 }), nil, nil},
		{"none of a document", change(func(t *told) { t.op = "SigningKeys" }), nil, nil},
		{"two", read, []entry{mine, mine}, []string{double}},
		{"two of a request that was sent twice", change(func(t *told) { t.attempts = 2 }), []entry{{status: 200, requestID: "q", operation: "SecretGet"}, mine}, nil},
		{"two of a write", change(func(t *told) { t.attempts, t.writes = 2, true }), []entry{mine, mine}, []string{double}},
		{"another outcome", read, []entry{{status: 404, requestID: "r", operation: "SecretGet"}}, []string{wrong}},
		{"another request", read, []entry{{status: 200, requestID: "q", operation: "SecretGet"}}, []string{wrong}},
		{"one of a request without an answer", change(func(t *told) { t.status = 0 }), []entry{mine}, nil},
		{"two of a request without an answer", change(func(t *told) { t.status = 0 }), []entry{mine, mine}, []string{double}},
	} {
		if got := kindsOf(judgeEntries([]*told{&tt.told}, entries{"c": tt.found})); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: found %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A gap in the log, and an entry that comes twice, are noticed.
func TestFollower(t *testing.T) {
	record := func(position int64, request string) (r audit.Record) {
		r.Properties.Position, r.Properties.RequestID = position, request
		return r
	}
	for _, tt := range []struct {
		name string
		log  []audit.Record
		want []string
	}{
		{"whole", []audit.Record{record(1, "a"), record(2, "b"), record(3, "")}, nil},
		{"a gap", []audit.Record{record(1, "a"), record(3, "b")}, []string{lost}},
		{"not from the beginning", []audit.Record{record(2, "a")}, []string{lost}},
		{"twice", []audit.Record{record(1, "a"), record(2, "a")}, []string{double}},
	} {
		f, log, got := newFollower(), entries{}, []string(nil)
		for _, r := range tt.log {
			got = append(got, kindsOf(f.take(log, r))...)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: found %v, want %v", tt.name, got, tt.want)
		}
	}
}

func kindsOf(faults []fault) (out []string) {
	for _, f := range faults {
		out = append(out, f.kind)
	}
	return out
}
