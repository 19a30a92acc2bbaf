//go:build unix

// Package matrix asks the built server every question about rights that the built-in roles and
// the operations of the data plane and the management face allow: each role, assigned at each
// place, does each operation. One cell that differs is a right that nobody gave, or one that
// somebody was promised and has not.
//
// What is expected comes from two tables in testdata, copied from what Azure publishes, and from
// a few lines here that read them; nothing comes from the code that decides in the server. An
// operation or a role of the server that the tables lack is a failure, and so is the reverse.
//
// Cells that are to be denied are asked for things that exist and for things that do not: who has
// no right must not learn which is which. All of them together must leave the state as it was. A
// cell that is to be allowed must succeed.
package matrix

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A place is a set of scopes at which a caller gets its role.
type place struct {
	name   string
	ask    asking
	scopes func(d *deployment, c *caller) []string
}

// asking says how much is asked at a place. At the places above the vault and beside it a role
// that lacks an action is no other than at the vault: there only those are asked that hold it.
type asking int

const (
	holders asking = iota // roles that hold the action
	all                   // every role
	twice                 // every role; cells that are denied also of what does not exist
)

// places follow each other so that rights which outlive their removal show: no new grant, which
// would make the server look again, stands between "vault" and "none". "Other object" and "elsewhere" have names that begin the own ones, or begin with them.
var places = []place{
	{"root", holders, func(*deployment, *caller) []string { return []string{"/"} }},
	{"subscription", holders, func(d *deployment, _ *caller) []string { return []string{d.subscription()} }},
	{"resource group", holders, func(d *deployment, _ *caller) []string { return []string{d.group()} }},
	{"elsewhere", holders, func(d *deployment, _ *caller) []string {
		return []string{d.group() + "-b", d.vault(shorterVault), d.vault(longerVault)}
	}},
	{"own object", all, func(d *deployment, c *caller) []string {
		return []string{d.secret(c.live), d.secret(c.old), d.secret(c.gone)}
	}},
	{"other object", all, func(d *deployment, c *caller) []string {
		return []string{
			d.secret("own"), d.secret(c.live + "x"), d.secret(c.old + "x"), d.vault(mainVault) + "/keys/" + c.live,
			d.vault(mainVault) + "/certificates/" + c.live, d.vault(longerVault) + "/secrets/" + c.live,
		}
	}},
	{"vault", twice, func(d *deployment, _ *caller) []string { return []string{d.vault(mainVault)} }},
	{"none", twice, func(*deployment, *caller) []string { return nil }},
}

// A cell is one question: a caller with its role at a place does an operation.
type cell struct {
	*question
	c     *caller
	place place
	want  verdict
}

func (c *cell) String() string {
	return fmt.Sprintf("%s at %s: %s", c.c.role.name, c.place.name, c.question)
}

// connections is how many requests are on their way at once.
const connections = 32

// TestMatrix asks all cells, place after place.
func TestMatrix(t *testing.T) {
	began := time.Now()
	roles, operations := readRoles(t), readOperations(t)
	compareOperations(t, operations)
	d := start(t)
	d.compareRoles(roles)
	d.makeCallers(roles)
	r := &run{deployment: d}
	questions := questionsOf(operations)
	for _, p := range places {
		r.ask(p, questions)
	}
	r.report(time.Since(began))
}

// A run asks cells and collects what differs.
type run struct {
	*deployment
	cells, allowed int
	requests       atomic.Int64
	mu             sync.Mutex
	differing      map[string]string // by cell; guarded by mu
}

// ask gives every caller its role at a place, asks the cells, and takes the role away.
func (r *run) ask(p place, questions []*question) {
	allowed, denied := r.cellsAt(p, questions)
	inParallel(r.callers, func(c *caller) { r.grant(c, p) })
	before := r.state()
	inParallel(denied, r.askDenied)
	for target, after := range r.state() {
		if before[target] != after {
			r.t.Errorf("role at %s: denied requests changed %s from\n%s\nto\n%s", p.name, target, before[target], after)
		}
	}
	inParallel(r.callers, func(c *caller) {
		for _, x := range allowed[c] {
			r.askAllowed(x)
		}
		r.reset(c)
	})
	inParallel(r.callers, func(c *caller) { r.revoke(c, p) })
}

// cellsAt lists the cells of a place. The allowed ones of a caller go in order, since they change
// its objects.
func (r *run) cellsAt(p place, questions []*question) (allowed map[*caller][]*cell, denied []*cell) {
	allowed = map[*caller][]*cell{}
	for _, c := range r.callers {
		scopes := p.scopes(r.deployment, c)
		for _, q := range questions {
			if p.ask == holders && !c.role.has(q.operation) {
				continue
			}
			x := &cell{question: q, c: c, place: p, want: r.expected(q, c, scopes)}
			r.cells++
			if x.want != allow {
				denied = append(denied, x)
				continue
			}
			r.allowed++
			allowed[c] = append(allowed[c], x)
		}
	}
	return allowed, denied
}

func (r *run) askDenied(x *cell) {
	present, missing := r.newRequest(x, standing), r.newRequest(x, absent)
	r.judge(x, present)
	if x.place.ask == twice && *missing != *present && x.want != denyRole { // a role is asked of an assignment that exists
		r.judge(x, missing)
	}
}

func (r *run) askAllowed(x *cell) {
	r.prepare(x)
	r.judge(x, r.newRequest(x, disposable))
}

func (r *run) judge(x *cell, q *request) {
	a, err := r.send(x.c, q)
	r.requests.Add(1)
	if err != nil {
		r.t.Errorf("%s: %v", x, err)
		return
	}
	if fault := x.fault(r.deployment, q, a); fault != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.differing == nil {
			r.differing = map[string]string{}
		}
		r.differing[x.String()] = fmt.Sprintf("%s %s%s: %s", q.method, q.host, q.target, fault)
	}
}

// maxPrinted is how many cells that differ are printed: one wrong line can make thousands.
const maxPrinted = 200

// report prints the numbers and the cells that differ.
func (r *run) report(took time.Duration) {
	for i, name := range slices.Sorted(maps.Keys(r.differing)) {
		if i == maxPrinted {
			r.t.Errorf("and %d more cells", len(r.differing)-i)
			break
		}
		r.t.Errorf("%s: %s", name, r.differing[name])
	}
	if log := r.Log(); strings.Contains(log, "panic") {
		r.t.Errorf("a panic in the log: %s", log[strings.Index(log, "panic"):])
	}
	r.t.Logf("%d roles, %d places: %d cells, %d allowed, %d denied, %d requests, %d cells differ, %v",
		len(r.callers), len(places), r.cells, r.allowed, r.cells-r.allowed, r.requests.Load(), len(r.differing), took.Round(time.Millisecond))
	if r.allowed == 0 || r.allowed == r.cells {
		r.t.Error("want cells of both kinds")
	}
}

// inParallel does something with each element, several at once, and waits for all.
func inParallel[E any](all []E, do func(E)) {
	next := make(chan E)
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			for e := range next {
				do(e)
			}
		})
	}
	for _, e := range all {
		next <- e
	}
	close(next)
	workers.Wait()
}
