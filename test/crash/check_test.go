//go:build unix

package crash

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// check looks at everything that the round's clients have changed, when all is quiet again, and
// judges it. An error says that the server could not be asked.
func (l *load) check(log *follower) (faults []fault, err error) {
	faults = l.faults
	asked := l.take()
	entries, found, err := log.follow(l.s)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	faults = append(append(faults, found...), judgeEntries(asked, entries)...)
	seen, found, err := l.seeAll(l.things)
	if err != nil {
		return nil, err
	}
	faults = append(faults, found...)
	lifeOf := map[*thing]string{}
	for x, s := range seen {
		lifeOf[x] = s[life]
		faults = append(faults, judge(x, entries, s)...)
	}
	for _, list := range lists {
		found, err := judgeList(l.client, l.home, list, lifeOf)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
	}
	found, err = l.wake(seen, entries)
	return append(faults, found...), err
}

// wake recovers what is deleted, and looks whether it is whole. What stays is settled.
func (l *load) wake(seen map[*thing]state, entries entries) (faults []fault, err error) {
	var woken []*thing
	for x, s := range seen {
		if s[life] != deleted {
			continue
		}
		i := slices.IndexFunc(x.kind.steps, func(st *step) bool {
			return st.can(state{life: deleted}) && !st.can(state{life: active}) && st.op != "SecretPurge" && st.op != "VaultPurge"
		})
		t, err := x.try(l.client, x.kind.steps[i], "woken")
		if err != nil || !t.succeeded() {
			return nil, fmt.Errorf("recover %s %s: %d, %w", x.kind.name, x.name, t.status, err)
		}
		woken = append(woken, x)
	}
	again, faults, err := l.seeAll(woken)
	if err != nil {
		return nil, err
	}
	for x, s := range again {
		faults = append(faults, judge(x, entries, s)...)
	}
	maps.Copy(seen, again)
	for x, s := range seen {
		l.settled = append(l.settled, settled{x, s})
	}
	return faults, nil
}

// seeAll looks at many things at once. Faults that show while looking are returned as such, and
// their things are not among the seen.
func (l *load) seeAll(things []*thing) (seen map[*thing]state, faults []fault, err error) {
	seen = map[*thing]state{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	queue := make(chan *thing, len(things))
	for _, x := range things {
		queue <- x
	}
	close(queue)
	for range writers {
		wg.Go(func() {
			for x := range queue {
				s, failed := l.seeQuietly(x)
				mu.Lock()
				found, isFault := errors.AsType[seenFault](failed)
				switch {
				case isFault:
					faults = append(faults, found.fault)
				case failed != nil:
					err = failed
				default:
					seen[x] = s
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return seen, faults, err
}

// seeQuietly looks at a thing of a server that nobody disturbs: it answers, if not at once.
func (l *load) seeQuietly(x *thing) (s state, err error) {
	for range 50 {
		if s, err = x.kind.see(l.client, x); !errors.Is(err, errUnanswered) {
			return s, err
		}
		<-time.After(200 * time.Millisecond) // the server is still finding its database again
	}
	return nil, fmt.Errorf("%s %s: %w in ten seconds", x.kind.name, x.name, err)
}

// An account counts faults of all rounds.
type account struct {
	rounds, acked, requests, entries int
	faults                           map[string]int
}

func (a *account) add(faults []fault) {
	for _, f := range faults {
		a.faults[f.kind]++
	}
}

func (a *account) String() string {
	return fmt.Sprintf("%d rounds, %d requests, %d acknowledged changes, %d audit entries: %d lost, %d half, %d double, %d wrong",
		a.rounds, a.requests, a.acked, a.entries, a.faults[lost], a.faults[half], a.faults[double], a.faults[wrong])
}

// describe prints the first faults.
func describe(faults []fault) string {
	var out strings.Builder
	for _, f := range faults[:min(len(faults), 8)] {
		fmt.Fprintf(&out, "\n%s: %s", f.kind, f.text)
	}
	if len(faults) > 8 {
		fmt.Fprintf(&out, "\nand %d more", len(faults)-8)
	}
	return out.String()
}
