//go:build unix

package crash

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Kinds of faults.
const (
	lost   = "lost"   // what was answered is not there
	half   = "half"   // a change is there in part, or without its entry, or an entry without its change
	double = "double" // one request counts twice
	wrong  = "wrong"  // what was answered or is there makes no sense
)

// A fault is what a server must not do.
type fault struct{ kind, text string }

func faultf(kind, format string, args ...any) fault { return fault{kind, fmt.Sprintf(format, args...)} }

// judge compares a thing's history and what the log says of it with what is there. Where a client
// was told nothing, the log decides: entry and change exist together or not at all.
func judge(x *thing, log entries, seen state) []fault {
	expected, cause, faults := fold(x, log)
	asleep := expected[life] == deleted && seen[life] == deleted // the rest shows when it is recovered
	for _, part := range parts(expected, seen) {
		want, got := expected[part], seen[part]
		if hidden(part) || asleep || want == got {
			continue
		}
		by := cause[part]
		found := half
		if by != nil && by.told.answered() || by == nil && !x.doubtful() {
			found = lost
		}
		faults = append(faults, faultf(found, "%s %s: part %q is %q, want %q%s", x.kind.name, x.name, part, got, want, x.tail()))
	}
	return faults
}

// doubtful says whether a request got no answer: what nobody explains may come from there.
func (x *thing) doubtful() bool {
	return slices.ContainsFunc(x.history, func(d deed) bool { return !d.told.answered() })
}

// fold replays the history. cause names the deed that made each part what it is, or took it away.
func fold(x *thing, log entries) (expected state, cause map[string]*deed, faults []fault) {
	expected, cause = state{}, map[string]*deed{}
	for i := range x.history {
		d := &x.history[i]
		can := d.step.can(expected)
		switch took := d.tookPlace(log); {
		case d.told.unchanged && took:
			faults = append(faults, faultf(half, "%s %s: %s was answered with nothing changed, and took place", x.kind.name, x.name, d.step.op))
		case took && !can:
			faults = append(faults, faultf(lost, "%s %s: %s %q succeeded, but could not after what was answered before%s", x.kind.name, x.name, d.step.op, d.mark, x.tail()))
		case d.told.answered() && !took && !can && d.step.refused != 0 && d.told.status != d.step.refused:
			faults = append(faults, faultf(wrong, "%s %s: %s %q got %d, want %d%s", x.kind.name, x.name, d.step.op, d.mark, d.told.status, d.step.refused, x.tail()))
		case d.told.answered() && !took && can:
			faults = append(faults, faultf(lost, "%s %s: %s %q got %d, though what was answered before allows it%s", x.kind.name, x.name, d.step.op, d.mark, d.told.status, x.tail()))
		}
		if !d.tookPlace(log) || d.step.does == nil {
			continue
		}
		before := maps.Clone(expected)
		d.step.does(expected, d.mark)
		for _, part := range parts(before, expected) {
			if before[part] != expected[part] {
				cause[part] = d
			}
		}
	}
	return expected, cause, faults
}

// tookPlace says whether a deed had its effect: by its answer, or else by its entry.
func (d *deed) tookPlace(log entries) bool {
	if d.told.answered() {
		return d.told.succeeded()
	}
	for _, e := range log[d.told.correlation] {
		if e.status >= 200 && e.status < 300 {
			return true
		}
	}
	return false
}

// parts are the names of all parts of two states, in order.
func parts(a, b state) []string {
	names := maps.Clone(a)
	maps.Copy(names, b)
	return slices.Sorted(maps.Keys(names))
}

// tail prints the end of a history.
func (x *thing) tail() string {
	out := "; history:"
	for _, d := range x.history[max(0, len(x.history)-12):] {
		out += fmt.Sprintf(" %s(%s)=%d", d.step.op, d.mark, d.told.status)
	}
	return out
}

// An entry is what the audit log says of a request.
type entry struct {
	position  int64
	status    int
	requestID string
	ordinal   int64
	operation string
}

// entries are those of clients' requests, by the correlation id that the client chose.
type entries map[string][]entry

// judgeEntries wants one entry for each answered request, at most one for each other, and in it
// what the client was told.
func judgeEntries(asked []*told, log entries) (faults []fault) {
	for _, t := range asked {
		found := log[t.correlation]
		slices.SortFunc(found, func(a, b entry) int { return cmp.Compare(a.position, b.position) })
		most := 1
		if t.attempts > 1 && !t.writes {
			most = t.attempts
		}
		switch {
		case len(found) > most:
			faults = append(faults, faultf(double, "%s has %d entries, at %d and %d", t.op, len(found), found[0].position, found[1].position))
		case len(found) == 0 && t.answered() && recorded(t):
			faults = append(faults, faultf(lost, "%s was answered with %d and has no entry", t.op, t.status))
		case len(found) > 0 && t.answered() && !slices.ContainsFunc(found, t.isTold):
			faults = append(faults, faultf(wrong, "%s was answered with %d as request %s; its entry: %+v", t.op, t.status, t.requestID, found[0]))
		}
	}
	return faults
}

// isTold says whether an entry says what the client was told.
func (t *told) isTold(e entry) bool {
	isOperation := e.operation == t.op || e.operation == "VaultRecover" && t.op == "VaultPut" // by its createMode
	return e.status == t.status && e.requestID == t.requestID && isOperation
}

// counted are the operations that are counted, not recorded: whoever asks, they tell the same.
var counted = []string{
	"InstanceDiscovery", "OpenIDConfiguration", "OpenIDConfigurationV1", "SigningKeys", "SigningKeysV1",
	"MetadataEndpoints", "About",
}

// recorded says whether an answered request has an entry. A refused sign-in is nobody's.
func recorded(t *told) bool {
	isSignIn := slices.Contains([]string{"TokenIssue", "TokenIssueV1", "TokenIssueADFS", "ManagedIdentityToken", "ManagedIdentityTokenAppService"}, t.op)
	return !slices.Contains(counted, t.op) && (t.succeeded() || !isSignIn)
}
