//go:build unix

package crash

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// A scene is what disasters strike: a server, and maybe the database under it.
type scene struct {
	t    testing.TB
	s    *served.Server
	msi  string         // the server's managed identity endpoint
	pg   *dbtest.Server // nil on SQLite
	url  string         // of the database
	read int            // how much of the server's log was looked at

	launched time.Time // when the server was started last
}

// launch starts the server and waits for nothing.
func (sc *scene) launch() {
	sc.t.Helper()
	sc.launched = time.Now()
	sc.s.Launch()
}

// A disaster strikes while clients are at work; when it returns, the server is ready again.
type disaster struct {
	name   string
	strike func(sc *scene)
}

var serverDisasters = []disaster{
	{"server killed", func(sc *scene) {
		sc.s.Kill()
		sc.up()
	}},
	{"server killed twice under load", func(sc *scene) {
		sc.s.Kill()
		sc.up()
		pause(300)
		sc.s.Kill()
		sc.up()
	}},
	{"server killed while it starts", func(sc *scene) {
		for range 4 {
			sc.s.Kill()
			sc.launch()
			pause(150)
		}
		sc.s.Kill()
		sc.up()
	}},
	{"server stopped, continued, killed", func(sc *scene) {
		sc.freeze(sc.s.PID())
		pause(1000)
		sc.thaw(sc.s.PID())
		pause(200)
		sc.s.Kill()
		sc.up()
	}},
	{"server stopped and killed", func(sc *scene) {
		sc.freeze(sc.s.PID())
		pause(100)
		sc.s.Kill()
		sc.up()
	}},
}

var databaseDisasters = []disaster{
	{"database killed", func(sc *scene) {
		sc.pg.Kill()
		sc.databaseUp()
		sc.s.WaitReady() // by itself
		pause(200)
	}},
	{"server and database killed", func(sc *scene) {
		sc.s.Kill()
		sc.pg.Kill()
		sc.databaseUp()
		sc.up()
	}},
	{"database stopped, continued, killed; server killed", func(sc *scene) {
		sc.freezeDatabase(time.Second)
		sc.pg.Kill()
		sc.databaseUp()
		pause(100)
		sc.s.Kill()
		sc.up()
	}},
	{"database killed while it recovers", func(sc *scene) {
		sc.pg.Kill()
		recovered := make(chan error, 1)
		go func() { recovered <- sc.pg.Start() }() // it starts again when it ends too early
		pause(200)
		sc.killPostmaster()
		if err := <-recovered; err != nil {
			sc.t.Error(err)
		}
		if !sc.pg.IsReady() { // it had recovered before it was killed
			sc.pg.Kill()
			sc.databaseUp()
		}
		sc.s.WaitReady() // by itself
	}},
	{"server killed while the database is stopped", func(sc *scene) {
		processes := sc.databaseProcesses()
		sc.freeze(processes...)
		pause(50)
		sc.s.Kill()
		sc.launch()
		pause(300)
		sc.thaw(processes...)
		sc.up()
	}},
	{"database killed while the server starts", func(sc *scene) {
		sc.s.Kill()
		sc.launch()
		pause(100)
		sc.pg.Kill()
		sc.databaseUp()
		sc.up()
	}},
	{"database stopped for longer than a request may take", func(sc *scene) {
		stall := time.Second
		if served.IsLong() {
			stall = 22 * time.Second
		}
		sc.freezeDatabase(stall)
		sc.s.WaitReady()
		pause(300)
	}},
}

// up starts the server until it is ready, as a supervisor does: a start may fail while its database
// is not there.
func (sc *scene) up() {
	sc.t.Helper()
	for range 20 {
		served.Poll(30*time.Second, func() bool { return sc.s.IsReady() || !isRunning(sc.s.PID()) })
		if isRunning(sc.s.PID()) && sc.s.IsReady() {
			sc.awaitOldSessions()
			return
		}
		sc.s.Kill()
		sc.launch()
	}
	sc.t.Fatalf("the server does not start any more: %s", sc.s.Log())
}

// isRunning says whether a process of ours has not ended. Where there is no /proc it is taken to run.
func isRunning(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		_, err = os.Stat("/proc/self")
		return err != nil
	}
	return !strings.Contains(string(stat), ") Z ")
}

// awaitOldSessions waits until the database has ended what a killed server had asked for last: a
// commit may still be on its way. Server and database have the same clock.
func (sc *scene) awaitOldSessions() {
	sc.t.Helper()
	if sc.pg == nil {
		return
	}
	d, err := sql.Open("pgx", sc.url)
	if err != nil {
		sc.t.Fatal(err)
	}
	defer d.Close()
	const q = `
		SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND backend_start < $1`
	ended := served.Poll(30*time.Second, func() bool {
		var others int
		err := d.QueryRow(q, sc.launched).Scan(&others)
		return err == nil && others == 0
	})
	if !ended {
		sc.t.Fatal("sessions of a killed server are still there after 30 seconds")
	}
}

func (sc *scene) databaseUp() {
	sc.t.Helper()
	if err := sc.pg.Start(); err != nil {
		sc.t.Fatal(err)
	}
}

func (sc *scene) freezeDatabase(most time.Duration) {
	processes := sc.databaseProcesses()
	sc.freeze(processes...)
	if most < 10*time.Second {
		pause(int(most / time.Millisecond))
	} else {
		<-time.After(most)
	}
	sc.thaw(processes...)
	pause(200)
}

// databaseProcesses are the postmaster, which comes first so that it forks no more, and the others.
func (sc *scene) databaseProcesses() []int {
	out := []int{sc.pg.PID()}
	children, _ := exec.Command("pgrep", "-P", strconv.Itoa(sc.pg.PID())).Output() // fails when there are none
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// killPostmaster ends a database that is still starting. Its own file names it.
func (sc *scene) killPostmaster() {
	text, err := os.ReadFile(filepath.Join(sc.pg.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return // it has not come so far
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if pid, err := strconv.Atoi(first); err == nil && pid > 1 && isChild(pid) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// isChild says whether a process is one that this program has started.
func isChild(pid int) bool {
	out, err := exec.Command("ps", "-o", "ppid=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.TrimSpace(string(out)) == strconv.Itoa(os.Getpid())
}

func (sc *scene) freeze(pids ...int) { signal(syscall.SIGSTOP, pids) }
func (sc *scene) thaw(pids ...int)   { signal(syscall.SIGCONT, pids) }

func signal(s syscall.Signal, pids []int) {
	for _, pid := range pids {
		syscall.Kill(pid, s) // one that has ended meanwhile needs none
	}
}

// errorsLogged finds lines of the server's log that no crash excuses.
func (sc *scene) errorsLogged() (faults []fault) {
	all := sc.s.Log()
	for line := range strings.Lines(all[sc.read:]) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "panic") || strings.HasPrefix(line, "fatal error") {
			faults = append(faults, faultf(wrong, "the server logged: %s", strings.TrimSpace(line)))
		}
	}
	sc.read = len(all)
	return faults
}
