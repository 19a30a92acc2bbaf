//go:build unix

// Package linear judges what clients saw of several server processes: whether all their answers
// could be those of one machine that does one thing after the other. The threat is a cache that
// serves what was changed, a right that works after it was taken, a change that is answered and not
// there, or there twice.
//
// Clients of their own speed set, read, update, delete, recover and purge a few secrets, while
// rights are given and taken, principals disabled and credentials removed, and while processes stand
// still or die and connections break. Each history is small, and a checker (porcupine) searches an
// order of its operations that agrees with all answers and with the times at which they were asked
// and answered. What was not answered may have taken place at any later time or never. A write is
// permitted at one moment and takes place at a later one, and nothing else may lie between asking
// and doing: "a request that arrives after a revocation was acknowledged never succeeds by the
// revoked right; a write that began before may still land".
//
// That the checker would find a fault is shown by faults: see seeded_test.go.
package linear

import (
	"math/rand/v2"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"

	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// perCluster is after how many histories the processes are begun anew with an empty database.
const perCluster = 50

// disturbances are what happens in turn; most of the time something does.
var disturbances = []disturbance{none, pause, kill, sever, crowd, atOnce}

func TestLinearSQLite(t *testing.T)     { judge(t, 1, 6, 500) }
func TestLinearPostgreSQL(t *testing.T) { judge(t, 3, 6, 500) }

// judge plays histories on so many processes.
func judge(t *testing.T, processes, short, long int) {
	histories := short
	if served.IsLong() {
		histories = long
	}
	var c *cluster
	var all counted
	began := time.Now()
	for i := range histories {
		if i%perCluster == 0 {
			if all = end(t, c, all); i > 0 {
				t.Logf("%d histories without a fault so far", i)
			}
			c = newCluster(t, processes)
		}
		d := disturbances[i%len(disturbances)]
		seed := rand.Uint64()
		if wrong := c.play(seed, d, held(i)); wrong != "" {
			t.Fatalf("history %d (seed %d, in which %s): %s\n%s", i, seed, d, wrong, c.complaints())
		}
	}
	all = end(t, c, all)
	t.Logf("%d histories over %d processes, %d operations, %d of them without an answer, in %s",
		histories, processes, all.operations, all.unanswered, time.Since(began).Round(time.Second))
}

// held is how long a process stands still: in some histories for two seconds.
func held(i int) time.Duration {
	if i%20 == 1 && served.IsLong() {
		return 2 * time.Second
	}
	return 200 * time.Millisecond
}

// end stops a cluster and adds up what it was judged by.
func end(t *testing.T, c *cluster, all counted) counted {
	t.Helper()
	if c == nil {
		return all
	}
	if n := c.stop(); n > 0 {
		t.Errorf("PostgreSQL met %d deadlocks: want none", n)
	}
	return counted{all.operations + c.operations, all.unanswered + c.unanswered}
}
