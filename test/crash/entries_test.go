//go:build unix

package crash

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"strongroom/internal/audit"
	"strongroom/test/served"
)

// A follower reads the audit log on and on. It keeps what it needs of each entry, to notice one
// that comes twice.
type follower struct {
	next int64
	seen map[string]bool // "request/ordinal"
}

func newFollower() *follower { return &follower{next: 1, seen: map[string]bool{}} }

// follow reads to the end of the log, as it is when it is asked for the last time: that leaves an
// entry of its own. Positions must have no gap, and no entry may come twice.
func (f *follower) follow(s *served.Server) (log entries, faults []fault, err error) {
	log = entries{}
	for {
		body, err := s.Owner("GET", fmt.Sprintf("%s/audit/entries?from=%d", served.ManagementHost, f.next), "")
		if err != nil {
			return nil, nil, err
		}
		var page struct {
			Value []audit.Record
			Last  int64
		}
		if err := served.Decode(body, &page); err != nil {
			return nil, nil, err
		}
		for _, r := range page.Value {
			faults = append(faults, f.take(log, r)...)
		}
		if len(page.Value) == 0 && f.next <= page.Last {
			faults = append(faults, faultf(lost, "the log ends at %d, and nothing is at %d", page.Last, f.next))
		}
		if len(page.Value) == 0 || f.next > page.Last {
			return log, faults, nil
		}
	}
}

func (f *follower) take(log entries, r audit.Record) (faults []fault) {
	p := r.Properties
	if p.Position != f.next {
		faults = append(faults, faultf(lost, "entry %d follows entry %d", p.Position, f.next-1))
	}
	f.next = p.Position + 1
	key := fmt.Sprintf("%s/%d", p.RequestID, p.Ordinal)
	if p.RequestID != "" && f.seen[key] {
		faults = append(faults, faultf(double, "entry %d is of request %s, which has one already", p.Position, key))
	}
	f.seen[key] = true
	if p.Ordinal == 0 {
		log[r.CorrelationID] = append(log[r.CorrelationID], entry{p.Position, int(p.HTTPStatusCode), p.RequestID, p.Ordinal, r.OperationName})
	}
	return faults
}

// documented are the operations of the API reference.
func documented(t testing.TB) (out []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) < 60 {
		t.Fatalf("docs/api.md has %d operations: its form has changed", len(out))
	}
	return out
}

// An operation that is not in the mix has no crash behind it.
func TestEveryOperationIsInTheMix(t *testing.T) {
	h := &home{members: []string{"a", "b", "c"}}
	operations := documented(t)
	missing, unknown := undocumented(operations, h)
	if len(missing)+len(unknown) > 0 {
		t.Errorf("operations without a place in the mix: %s; in the mix and not in docs/api.md: %s", missing, unknown)
	}
	missing, _ = undocumented(append(operations, "CertificateMelt"), h)
	if !slices.Equal(missing, []string{"CertificateMelt"}) {
		t.Errorf("with an operation that nobody knows, %q are missing", strings.Join(missing, " "))
	}
}
