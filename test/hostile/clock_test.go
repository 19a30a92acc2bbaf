//go:build unix

package hostile

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers by which setClock sets a database's clock
	_ "modernc.org/sqlite"

	"strongroom/internal/db/dbtest"
	"strongroom/test/served"
)

// TestExpiredToken lets a token that the server itself issued grow old, by the database's test
// clock.
func TestExpiredToken(t *testing.T) {
	d := start(t, "--test-clock", "tokens.lifetime=5m")
	old := request("GET /secrets/kept?api-version=7.6", "Authorization: Bearer "+d.token)
	if a := d.ask(old); a.status != 200 {
		t.Fatalf("the young token got %d %s, want 200", a.status, a.body)
	}
	d.Stop()
	d.setClock("", 6*time.Minute)
	d.Start()
	a := d.ask(old)
	d.isUnauthorized(t, a)
	if !strings.Contains(a.body, "[TokenExpired]") {
		t.Errorf("the old token got %s; want [TokenExpired]", a.body)
	}
	d.token = d.newToken(served.VaultResource)
	if a := d.ask(d.authorized()); a.status != 200 {
		t.Errorf("a new token got %d %s, want 200", a.status, a.body)
	}
	d.unchanged("an expired token")
}

// setClock sets the test clock off, of a server that is stopped or, on PostgreSQL, runs.
func (d *deployment) setClock(postgresURL string, by time.Duration) {
	d.t.Helper()
	driver, source := "sqlite", filepath.Join(d.Data(), "strongroom.db")
	if postgresURL != "" {
		driver, source = "pgx", postgresURL
	}
	database, err := sql.Open(driver, source)
	if err != nil {
		d.t.Fatal(err)
	}
	defer database.Close()
	_, err = database.Exec(`INSERT INTO meta (key, value) VALUES ('clock_offset_us', $1) ON CONFLICT (key) DO UPDATE SET value = $1`,
		fmt.Sprint(by.Microseconds()))
	if err != nil {
		d.t.Fatal(err)
	}
}

// steps are the clock's, in order: a day ahead, then two back, so that what was stored on the way
// lies in the future, and home.
var steps = []time.Duration{24 * time.Hour, -24 * time.Hour, 0}

// TestClockSteps sets the clock a day ahead and a day back, as an operator or a time server that is
// wrong does. Tokens are judged by the new time, in words; nothing is lost, the last version written
// is the latest whatever the clock said, and everything goes on by itself.
func TestClockSteps(t *testing.T) {
	t.Run("SQLite, between two runs", func(t *testing.T) {
		d := start(t, "--test-clock")
		d.steps(func(by time.Duration) {
			d.Stop()
			d.setClock("", by)
			d.Start()
		})
	})
	t.Run("PostgreSQL, in the midst of a run", func(t *testing.T) {
		url := dbtest.NewDatabase(t)
		d := startOn(t, url, "--test-clock")
		d.steps(func(by time.Duration) { d.setClock(url, by) })
	})
}

// steps takes the clock through its steps, and looks after each at what may not have moved.
func (d *deployment) steps(set func(by time.Duration)) {
	d.oldSecret()
	written := []string{"as it was"}
	for i, by := range steps {
		old := d.token
		set(by)
		if a := d.ask(d.authorized()); i < 2 {
			d.isUnauthorized(d.t, a) // expired, and then not valid yet
		}
		d.token = d.newToken(served.VaultResource)
		if a := d.ask(d.authorized()); a.status != 200 || !strings.Contains(a.body, written[len(written)-1]) {
			d.t.Errorf("at %v: a new token got %d %s, want 200 and %q", by, a.status, a.body, written[len(written)-1])
		}
		if a := d.ask(request("GET /secrets/kept?api-version=7.6", "Authorization: Bearer "+old+"x")); a.status != 401 {
			d.t.Errorf("at %v: an altered token got %d", by, a.status)
		}
		value := fmt.Sprintf("written at %v", by)
		d.Must("PUT", served.VaultHost+"/secrets/kept?api-version=7.6", fmt.Sprintf(`{"value":%q}`, value))
		written = append(written, value)
		d.sameVersions(written)
		d.changesRights(i)
	}
	d.isDense()
}

// oldSecret gives the caller a client secret that is older than any step: a newer one would not be
// valid yet where the clock is back.
func (d *deployment) oldSecret() {
	d.t.Helper()
	start := time.Now().Add(-72 * time.Hour).UTC().Format(time.RFC3339)
	answer := d.Must("POST", "graph.localhost/v1.0/applications/"+d.caller.ObjectID+"/addPassword",
		fmt.Sprintf(`{"passwordCredential":{"startDateTime":%q}}`, start))
	d.MustDecode(answer, &d.caller.Secret)
}

// sameVersions wants the values of all versions to be those written, and the last to be the latest.
func (d *deployment) sameVersions(written []string) {
	d.t.Helper()
	var page struct{ Value []struct{ ID string } }
	d.MustDecode(d.Must("GET", served.VaultHost+"/secrets/kept/versions?api-version=7.6", ""), &page)
	have := map[string]bool{}
	for _, v := range page.Value {
		have[d.value(v.ID[strings.LastIndex(v.ID, "/"):])] = true
	}
	if len(have) != len(written) {
		d.t.Errorf("there are %d versions with %d values, want %q", len(page.Value), len(have), written)
	}
	for _, value := range written {
		if !have[value] {
			d.t.Errorf("%q is gone", value)
		}
	}
	if got := d.value(""); got != written[len(written)-1] {
		d.t.Errorf("the latest version has %q, want what was written last, %q", got, written[len(written)-1])
	}
}

// value reads a version, or with "" the latest one.
func (d *deployment) value(version string) string {
	d.t.Helper()
	var got struct{ Value string }
	d.MustDecode(d.Must("GET", served.VaultHost+"/secrets/kept"+version+"?api-version=7.6", ""), &got)
	return got.Value
}

// changesRights takes the caller's right and gives it again: it counts at once, whatever the clock.
func (d *deployment) changesRights(i int) {
	d.t.Helper()
	assignment := d.vault() + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01"
	d.Must("DELETE", assignment, "")
	if a := d.ask(d.authorized()); a.status != 403 {
		d.t.Errorf("step %d: without the right a read got %d, want 403", i, a.status)
	}
	d.Must("PUT", assignment, served.RoleAssignment(administrator, d.caller.PrincipalID))
	if a := d.ask(d.authorized()); a.status != 200 {
		d.t.Errorf("step %d: with the right again a read got %d %s, want 200", i, a.status, a.body)
	}
}

// isDense wants the positions of the audit log to have no gap, and nothing in the log to speak of
// data that somebody changed.
func (d *deployment) isDense() {
	d.t.Helper()
	for i, e := range d.entries(1) {
		if e.Properties.Position != int64(i+1) {
			d.t.Fatalf("entry %d has the position %d", i+1, e.Properties.Position)
		}
		if e.OperationName == "TamperedData" {
			d.t.Errorf("the log speaks of tampering: %+v", e)
		}
	}
	if log := d.Log(); strings.Contains(log, "tamper") || strings.Contains(log, "panic") {
		d.t.Errorf("the log speaks of tampering or a panic: %s", log)
	}
}
