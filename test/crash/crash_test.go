//go:build unix

// Package crash proves that what was answered survives: under a load of every operation there is,
// it kills and stops the server, or PostgreSQL under it, or both, at random moments, starts again,
// and compares what clients were told with what is there.
//
// Each thing (a secret, a vault, an application …) is changed by one client, so that its history is
// a sequence that a small model replays (model, kinds). A change whose answer never came may be there
// or not; its audit entry, found by an id that the client chose, tells which, and the thing must
// agree with it: a change without its entry is half a change, and so is an entry without its change
// (judge). Readers meanwhile ask for what nobody changes, and must never see anything else (load).
//
// That the judge is no fool is shown too: seeded faults, and a power cut without syncs, must be found
// (power, seeded).
package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// rounds is how many rounds there are, in the short and in the long form. A number in
// TEST_TORTURE_ROUNDS replaces the long one.
func rounds(short, long int) int {
	if !served.IsLong() {
		return short
	}
	if n, err := strconv.Atoi(os.Getenv("TEST_TORTURE_ROUNDS")); err == nil {
		return n
	}
	return long
}

func TestCrashSQLite(t *testing.T) {
	torture(t, newScene(t, nil, ""), serverDisasters, rounds(5, 300))
}

func TestCrashPostgreSQL(t *testing.T) {
	pg, err := dbtest.StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	if err := pg.CreateDatabase("crash"); err != nil {
		t.Fatal(err)
	}
	torture(t, newScene(t, pg, pg.URL("crash")), append(slices.Clone(databaseDisasters), serverDisasters...), rounds(4, 100))
}

// newScene prepares a server, on SQLite or on a database of pg.
func newScene(t testing.TB, pg *dbtest.Server, url string) *scene {
	t.Helper()
	msi := served.FreeAddress(t)
	return &scene{t: t, pg: pg, url: url, msi: msi, s: served.New(t, url, "log.format=json", "identity_listen="+msi)}
}

// torture runs the rounds. The first goes on until each operation has succeeded, and each round goes
// on with the server that the former has left.
func torture(t *testing.T, sc *scene, disasters []disaster, rounds int) {
	began := time.Now()
	sc.s.Start()
	ground := newGround(t, sc)
	for round := range rounds {
		l := ground.newLoad(round)
		d := disasters[(round+ground.shift)%len(disasters)]
		l.start()
		sc.awaitWork(l)
		d.strike(sc)
		l.end()
		faults, err := l.check(ground.log)
		if err != nil {
			t.Fatalf("round %d, %s: %v; the server's log: %s", round, d.name, err, sc.s.Log())
		}
		faults = append(faults, sc.errorsLogged()...)
		if sc.pg == nil {
			faults = append(faults, integrity(sc.s)...)
		}
		ground.settle(l, faults)
		if len(faults) > 0 {
			t.Errorf("round %d, %s: %d faults:%s", round, d.name, len(faults), describe(faults))
		}
		progress("round %d of %d after %s, %s: %s", round+1, rounds, time.Since(began).Round(time.Second), d.name, &ground.account)
	}
	if faults := ground.lookAgain(); len(faults) > 0 {
		t.Errorf("at the end: %d faults:%s", len(faults), describe(faults))
	}
	t.Logf("%s", &ground.account)
}

// awaitWork waits for the first changes, in the first round for a success of each operation, and
// then for a random moment.
func (sc *scene) awaitWork(l *load) {
	sc.t.Helper()
	var missing []string
	all := []string{"SecretSet", "SecretGet"}
	if l.round == 0 {
		all = documented(sc.t)
	}
	worked := served.Poll(4*time.Minute, func() bool {
		missing = l.missing(all)
		return len(missing) == 0 && l.acked.Load() > writers || l.hasFaults()
	})
	if !worked {
		sc.t.Fatalf("round %d: within four minutes no client had a success of %s; faults:%s", l.round, missing, describe(l.faults))
	}
	pause(300)
}

// pause waits for a random time, so that what comes next strikes anywhere.
func pause(most int) { <-time.After(time.Duration(rand.IntN(most)) * time.Millisecond) }

// integrity lets SQLite's own shell look at the file, without changing it.
func integrity(s *served.Server) []fault {
	out, err := exec.Command("sqlite3", "-readonly", filepath.Join(s.Data(), "strongroom.db"), "PRAGMA integrity_check").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		return []fault{faultf(wrong, "PRAGMA integrity_check: %v: %s", err, out)}
	}
	return nil
}

// A ground is a deployment through all its rounds.
type ground struct {
	t       testing.TB
	client  *client
	home    home // of the standing things; each round has a vault of its own
	log     *follower
	account account
	shift   int       // which disaster comes first
	settled []settled // of all rounds
}

func newGround(t testing.TB, sc *scene) *ground {
	t.Helper()
	s := sc.s
	g := &ground{t: t, client: newClient(s), log: newFollower(), account: account{faults: map[string]int{}}, shift: rand.IntN(64)}
	g.home.about, g.home.msi = s.About(), sc.msi
	for i := range 3 {
		app, err := s.NewApplication(fmt.Sprintf("standing-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		g.home.reader = app
		g.home.members = append(g.home.members, app.PrincipalID)
	}
	var identity struct{ Properties struct{ ClientID string } }
	s.MustDecode(s.Must("PUT", served.ManagementHost+g.home.identities()+"/standing"+msiVersion, g.home.location("standing")), &identity)
	g.home.client = identity.Properties.ClientID
	return g
}

// newLoad prepares a round, which has a vault of its own: its lists stay short.
func (g *ground) newLoad(round int) *load {
	g.t.Helper()
	h := g.home
	h.vault = fmt.Sprintf("home-%d", round)
	g.client.s.Must("PUT", served.ManagementHost+h.vaults()+"/"+h.vault+vaultVersion, h.vaultBody("home", "default"))
	return &load{client: g.client, home: &h, round: round, settled: g.recent()}
}

// recent are settled things for readers.
func (g *ground) recent() []settled {
	return slices.Clone(g.settled[max(0, len(g.settled)-100):])
}

// settle closes a round.
func (g *ground) settle(l *load, faults []fault) {
	g.settled = append(g.settled, l.settled[min(len(l.settled), len(g.recent())):]...)
	g.account.rounds++
	g.account.acked += int(l.acked.Load())
	g.account.requests = g.client.count()
	g.account.entries = int(g.log.next - 1)
	g.account.add(faults)
}

// lookAgain reads everything that all rounds have left.
func (g *ground) lookAgain() (faults []fault) {
	g.t.Helper()
	l := &load{client: g.client, home: &g.home}
	want := map[*thing]state{}
	for _, s := range g.settled {
		want[s.thing] = s.state
	}
	seen, faults, err := l.seeAll(slices.Collect(maps.Keys(want)))
	if err != nil {
		g.t.Fatal(err)
	}
	for x, s := range seen {
		if s.encode() != want[x].encode() {
			faults = append(faults, faultf(lost, "%s %s: got %s, want %s", x.kind.name, x.name, s.encode(), want[x].encode()))
		}
	}
	g.account.add(faults)
	return faults
}

// progress prints a line on a terminal, where somebody may wait for an hour.
func progress(format string, args ...any) {
	if served.IsLong() {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}
