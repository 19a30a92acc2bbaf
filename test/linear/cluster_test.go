//go:build unix

package linear

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to cut connections

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// A node is one server process.
type node struct {
	*served.Server
	tls *http.Client
}

// A cluster is the processes of one deployment: several over one PostgreSQL, or one on SQLite.
type cluster struct {
	t        *testing.T
	nodes    []*node
	about    served.About
	database *sql.DB // the PostgreSQL under them; nil on SQLite
	made     int     // histories
	counted          // of all of them
}

// counted says how much was judged.
type counted struct{ operations, unanswered int }

// newCluster starts the processes and waits until they are ready. One is alone on SQLite.
func newCluster(t *testing.T, processes int) *cluster {
	t.Helper()
	c := &cluster{t: t}
	url := ""
	if processes > 1 {
		url = dbtest.NewDatabase(t)
		database, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { database.Close() })
		database.SetMaxOpenConns(1)
		c.database = database
	}
	for i := range processes {
		c.start(url, i)
	}
	c.about = c.nodes[0].About()
	return c
}

func (c *cluster) start(url string, i int) {
	c.t.Helper()
	var settings []string
	if i > 0 {
		settings = append(settings, "root_key.file="+filepath.Join(c.nodes[0].Data(), "root.key"))
	}
	s := served.New(c.t, url, settings...)
	if i > 0 {
		s.ListenBeside(c.nodes[0].Server)
	}
	s.Start()
	c.nodes = append(c.nodes, &node{s, &http.Client{Timeout: 40 * time.Second, Transport: s.Transport()}})
}

// stop ends the processes. It says how many deadlocks PostgreSQL has met.
func (c *cluster) stop() (deadlocks int) {
	c.t.Helper()
	for _, n := range c.nodes {
		n.Stop()
	}
	if c.database == nil {
		return 0
	}
	// A connection's count arrives when it ends.
	const others = `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	served.Poll(time.Minute, func() bool {
		var n int
		return c.database.QueryRow(others).Scan(&n) == nil && n == 0
	})
	return c.deadlocks()
}

// deadlocks is how many PostgreSQL has counted so far: there must be none, since rows are locked in
// one order.
func (c *cluster) deadlocks() (n int) {
	c.t.Helper()
	if c.database == nil {
		return 0
	}
	if err := c.database.QueryRow(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// A disturbance is what happens to the processes within a history.
type disturbance string

// The disturbances. In those that stop a process some clients do not wait for their answers.
const (
	none   disturbance = "nothing happens"
	crowd  disturbance = "all clients ask one process"
	pause  disturbance = "a process stands still for a while"
	kill   disturbance = "a process is killed and started again"
	sever  disturbance = "all connections to the database are cut"
	atOnce disturbance = "a process stands still while another is killed"
)

// disturb lets it happen. It runs on the goroutine of the test, which alone may start processes.
func (c *cluster) disturb(d disturbance, length time.Duration, rnd *rand.Rand) {
	c.t.Helper()
	at := rnd.IntN(len(c.nodes))
	n, other := c.nodes[at], c.nodes[(at+1)%len(c.nodes)]
	switch d {
	case pause, atOnce:
		syscall.Kill(n.PID(), syscall.SIGSTOP)
		if d == atOnce && other != n {
			other.Kill()
		}
		<-time.After(length)
		syscall.Kill(n.PID(), syscall.SIGCONT)
		if d == atOnce && other != n {
			other.Start()
		}
	case kill:
		n.Kill()
		n.Start()
	case sever:
		if c.database == nil {
			return
		}
		const q = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
		for range 3 {
			if _, err := c.database.Exec(q); err != nil {
				c.t.Errorf("cut the connections: %v", err)
			}
			<-time.After(length / 8)
		}
	}
}

// names is the number of secrets in a history, apps that of applications.
const names, apps = 2, 2

// play makes one history and says what is wrong with it, or "".
func (c *cluster) play(seed uint64, d disturbance, length time.Duration) (wrong string) {
	c.t.Helper()
	c.made++
	h := newHistory(fmt.Sprintf("h%d", c.made), names)
	var actors []*app
	var err error
	served.Poll(10*time.Second, func() bool { // connections that the history before has cut fail once each
		actors, err = c.newApps(h.prefix)
		return err == nil
	})
	if err != nil {
		return "prepare a history: " + err.Error()
	}
	nodes := c.nodes
	if d == crowd {
		nodes = nodes[:1]
	}
	newClient := func(id, caller int) *client {
		cl := &client{history: h, cluster: c, nodes: nodes, rand: rand.New(rand.NewPCG(seed, uint64(id))), id: id, caller: caller, apps: actors, versions: make([][]string, names)}
		if caller != owner {
			cl.token = actors[caller].token
		}
		if d == pause || d == atOnce {
			cl.hurry = length / 2
		}
		return cl
	}
	var wg sync.WaitGroup
	for id, caller := range []int{owner, owner, owner, 0, 0, 1} {
		wg.Go(func() { newClient(id, caller).work(16) })
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	after := 10 + rnd.IntN(40)
	served.Poll(time.Minute, func() bool { return h.count() >= after })
	c.disturb(d, length, rnd)
	wg.Wait()
	c.sweep(newClient(6, owner))
	for _, r := range h.records {
		c.operations++
		if r.answer.status == 0 {
			c.unanswered++
		}
	}
	return h.judge()
}

// sweep looks at each secret once more, when nothing is under way but what was given up.
func (c *cluster) sweep(cl *client) {
	for name := range names {
		for _, k := range []kind{get, getDeleted, list} {
			r := cl.draft(k)
			r.name = name
			cl.perform(r)
		}
	}
}

// complaints are the last lines of what each process has written to its log.
func (c *cluster) complaints() string {
	var b strings.Builder
	for i, n := range c.nodes {
		lines := strings.Split(strings.TrimSpace(n.Log()), "\n")
		fmt.Fprintf(&b, "process %d:\n%s\n", i, strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
	return b.String()
}

// newApps registers the applications of a history. They may sign in and have no right yet.
func (c *cluster) newApps(prefix string) (out []*app, err error) {
	first := c.nodes[0]
	for i := range apps {
		a := &app{}
		if a.Application, err = first.NewApplication(prefix + "a" + strconv.Itoa(i)); err != nil {
			return nil, err
		}
		a.secrets[0] = a.Secret
		if a.secrets[1], err = first.NewSecret(a.ObjectID, ""); err != nil {
			return nil, err
		}
		if _, a.token, err = first.SignIn(c.about.Tenant, a.AppID, a.Secret.SecretText, served.VaultResource); err != nil {
			return nil, err
		}
		_, vault, _ := strings.Cut(c.about.Vault("dev"), "/")
		a.assignment = fmt.Sprintf("/%s/providers/Microsoft.Authorization/roleAssignments/%08d-%04d-4000-8000-000000000000?api-version=2022-04-01", vault, c.made, i)
		out = append(out, a)
	}
	return out, nil
}
