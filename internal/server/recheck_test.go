package server

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// A pausedBody is the body of a slow sender: before its first byte something else happens.
type pausedBody struct {
	paused func() // may be nil
	io.Reader
}

func (b *pausedBody) Read(p []byte) (int, error) {
	if b.paused != nil {
		b.paused()
		b.paused = nil
	}
	return b.Reader.Read(p)
}

// What happens in TestWritesAreJudgedAgain while a body arrives.
const (
	payroll = `{"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"}}}`
	grant   = `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/b86a8fe4-44ce-4948-aee5-eccb2c155cd7","principalId":"$nobody"}}`

	grantPath = "$rg/providers/Microsoft.Authorization/roleAssignments/de500000-0000-4000-8000-000000000009"

	deleteVault = `
@owner DELETE management:$vaults/$payroll
200
`
	purgeVault = deleteVault + `
@owner POST management:$sub/providers/Microsoft.KeyVault/locations/local/deletedVaults/$payroll/purge
200
`
	remakeVault = purgeVault + `
@owner PUT management:$vaults/$payroll ` + payroll + `
201
`
	remakeElsewhere = purgeVault + `
@owner PUT management:$sub/resourceGroups/theirs/providers/Microsoft.KeyVault/vaults/$payroll ` + payroll + `
201
`
	takeGrant = `
@owner DELETE management:` + grantPath + `
200
`
	closeFirewall = `
@owner PATCH management:$vaults/$payroll {"properties":{"networkAcls":{"defaultAction":"Deny"}}}
200
`
	leaveRBAC = `
@owner PATCH management:$vaults/$payroll {"properties":{"enableRbacAuthorization":false}}
200
`
	deleteIdentity = `
@owner DELETE management:$rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nobody
200
`
)

// TestWritesAreJudgedAgain changes what a write was allowed by, while its body arrives. It is
// refused by what holds then, leaves that in its entry, and stores nothing, not even into the
// vault that is gone.
func TestWritesAreJudgedAgain(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		tr.must("owner", "PUT", "management:$sub/resourceGroups/theirs", `{"location":"local"}`)
		for i, tt := range []struct{ name, caller, meanwhile, answer, entry string }{
			{"vault remade in another group", "nobody", remakeElsewhere, "403 ForbiddenByRbac", "SecretSet 403 ForbiddenByRbac secrets/setSecret/action | assignment="},
			{"vault remade in another group of the caller's", "owner", remakeElsewhere, "409 Conflict", "SecretSet 409 Conflict"},
			{"vault remade", "nobody", remakeVault, "409 Conflict", "SecretSet 409 Conflict"},
			{"vault deleted", "nobody", deleteVault, "404 VaultNotFound", "SecretSet 404 VaultNotFound"},
			{"vault purged", "nobody", purgeVault, "404 VaultNotFound", "SecretSet 404 VaultNotFound"},
			{"grant removed", "nobody", takeGrant, "403 ForbiddenByRbac", "SecretSet 403 ForbiddenByRbac secrets/setSecret/action | assignment="},
			{"firewall closed", "nobody", closeFirewall, "403 ForbiddenByFirewall", "SecretSet 403 ForbiddenByFirewall"},
			{"vault switched to access policies", "nobody", leaveRBAC, "403 AccessDenied", "SecretSet 403 AccessDenied"},
			{"caller deleted", "nobody", deleteIdentity, "401", "SecretSet 401 Unauthorized"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tr.t = t
				tr.vars["payroll"] = fmt.Sprintf("payroll%d", i)
				tr.must("owner", "PUT", "management:$vaults/$payroll", payroll)
				tr.must("owner", "PUT", "management:"+grantPath, grant)
				tr.paused = func() {
					tr.run(tt.meanwhile)
					tr.from = tr.lastPosition() + 1
				}
				tr.play("@" + tt.caller + ` PUT vault.$payroll:/secrets/a {"value":"x"}` + "\n" + tt.answer + "\n-- audit --\n" + tt.entry)
				if n := countRows(t, tr.app, `SELECT COUNT(*) FROM secrets`) + countRows(t, tr.app, `SELECT COUNT(*) FROM secret_versions`); n != 0 {
					t.Errorf("%d rows of secrets are stored, want none", n)
				}
			})
		}
	})
}

func countRows(t *testing.T, a *app, q string) (n int) {
	t.Helper()
	if err := a.db.View(t.Context(), func(tx *db.Tx) error { return tx.QueryRow(q).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A write that locks nothing of a vault does not mind that one has come to be where it goes.
func TestGrantAtAVaultThatIsMadeMeanwhile(t *testing.T) {
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, start(t))
		tr.vars["payroll"] = "payroll"
		tr.paused = func() { tr.must("owner", "PUT", "management:$vaults/$payroll", payroll) }
		tr.run("@owner PUT management:$vaults/$payroll/providers/Microsoft.Authorization/roleAssignments/de500000-0000-4000-8000-000000000009 " + grant + "\n201\n")
	})
}

// Vaults are made at once while the database refuses every fourth one as a deadlock would be. Each is
// tried again, and knows nothing of what its lost try had made.
func TestTriedAgainAsIfNew(t *testing.T) {
	cfg := testConfig(t)
	cfg.Database = config.Database{Engine: "postgresql", URL: dbtest.NewDatabase(t), Connections: 8}
	a := startApp(t, cfg)
	tr := newTranscript(t, a)
	lost := loseInsertions(t, cfg.Database.URL, "vaults")
	var wg sync.WaitGroup
	for i := range 120 {
		wg.Go(func() {
			own := *tr
			own.headers = http.Header{}
			if got := own.send("owner", "PUT", fmt.Sprintf("management:$vaults/payroll%d", i), payroll); got.Status != http.StatusCreated {
				t.Errorf("vault %d: got %d %s, want 201", i, got.Status, got.Body)
			}
		})
	}
	wg.Wait()
	if lost() < 20 {
		t.Errorf("%d insertions were lost: the test proves nothing", lost())
	}
}

// loseInsertions makes PostgreSQL refuse every fourth row of a table with a serialization failure,
// which ends the transaction. lost counts them: what a sequence has given it never takes back.
func loseInsertions(t *testing.T, url, table string) (lost func() int) {
	t.Helper()
	d, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	_, err = d.Exec(`
		CREATE SEQUENCE insertions;
		CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('insertions') % 4 = 0 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER lose BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION lose()`)
	if err != nil {
		t.Fatal(err)
	}
	return func() (n int) {
		if err := d.QueryRow(`SELECT last_value / 4 FROM insertions`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}
