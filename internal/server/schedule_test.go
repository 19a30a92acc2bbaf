package server

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/identity"
)

// The steps of TestPurgeBySchedule.
const (
	// Five vaults that keep what is deleted for seven days; one secret and one vault are deleted.
	beforeTheClock = `
@owner PUT management:$vaults/plain {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7}}
201
@owner PUT management:$vaults/protected {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7,"enablePurgeProtection":true}}
201
@owner PUT management:$vaults/policies {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7}}
201
@owner PUT management:$vaults/early {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7}}
201
@owner PUT management:$vaults/late {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"},"softDeleteRetentionInDays":7,"enablePurgeProtection":true}}
201
@owner PUT vault.plain:/secrets/first {"value":"x"}
200
@owner PUT vault.plain:/secrets/last {"value":"x"}
200
@owner PUT vault.plain:/secrets/stays {"value":"x"}
200
@owner PUT vault.protected:/secrets/last {"value":"x"}
200
@owner PUT vault.policies:/secrets/last {"value":"x"}
200
@owner PUT vault.late:/secrets/inside {"value":"x"}
200
@owner DELETE vault.plain:/secrets/first
200
@owner DELETE management:$vaults/early
200
-- audit --
VaultPut 201
VaultPut 201
VaultPut 201
VaultPut 201
VaultPut 201
SecretSet 200
SecretSet 200
SecretSet 200
SecretSet 200
SecretSet 200
SecretSet 200
SecretDelete 200
VaultDelete 200
`
	// More is deleted, each in a second of its own, which orders the purges.
	anHourLater = `
@owner DELETE vault.plain:/secrets/last
200
-- audit --
SecretDelete 200
`
	aSecondLater = `
@owner DELETE vault.protected:/secrets/last
200
-- audit --
SecretDelete 200
`
	// Two of the vaults are locked too.
	twoSecondsLater = `
@owner DELETE vault.policies:/secrets/last
200
@owner DELETE management:$vaults/late
200
@owner PATCH management:$vaults/plain {"properties":{"networkAcls":{"defaultAction":"Deny"}}}
200
@owner PATCH management:$vaults/policies {"properties":{"enableRbacAuthorization":false}}
200
-- audit --
SecretDelete 200
VaultDelete 200
VaultPatch 200
VaultPatch 200
`
	// The first deletions have come to their date; the others have half an hour left.
	halfAnHourBefore = `
@owner GET vault.plain:/deletedsecrets/first
404 SecretNotFound
@owner GET vault.plain:/deletedsecrets/last
200
@owner GET vault.protected:/deletedsecrets/last
200
@owner DELETE vault.protected:/deletedsecrets/last
403 ForbiddenByPolicy
@owner GET management:$sub/providers/Microsoft.KeyVault/deletedVaults
200 {"value":[{"name":"late"}]}
@owner POST management:$sub/providers/Microsoft.KeyVault/locations/local/deletedVaults/late/purge
409
-- audit --
SecretPurge 204 | kind=System vault=plain object=first
VaultPurge 200 | kind=System vault=early
SecretGetDeleted 404 SecretNotFound
SecretGetDeleted 200
SecretGetDeleted 200
SecretPurge 403 ForbiddenByPolicy | kind=LocalOwner
VaultListDeleted 200
VaultPurge 409 MethodNotAllowed | kind=LocalOwner
`
	// All have come to their date. Names are free, and new vaults find nothing old.
	afterTheDate = `
@owner GET vault.plain:/secrets/stays
200 {"value":"x"}
@owner GET vault.plain:/deletedsecrets
200 {"value":[]}
@owner PUT vault.protected:/secrets/last {"value":"new"}
200
@owner PUT management:$vaults/late {"location":"local","properties":{"tenantId":"$tenant","sku":{"family":"A","name":"standard"}}}
201
@owner GET vault.late:/secrets
200 {"value":[]}
-- audit --
SecretPurge 204 | kind=System by=$system vault=plain object=last
SecretPurge 204 | kind=System vault=protected object=last
SecretPurge 204 | kind=System vault=policies object=last
VaultPurge 200 | kind=System vault=late
SecretGet 200
SecretListDeleted 200
SecretSet 200
VaultPut 201
SecretList 200
`
)

// TestPurgeBySchedule moves the database's clock to the purge dates of secrets and vaults. Nothing
// goes before its date; at it everything goes, also under purge protection, behind a firewall and
// in a vault that has been switched to access policies, by the system principal and with an
// audit entry each.
func TestPurgeBySchedule(t *testing.T) {
	const week = 7 * 24 * time.Hour
	eachApp(t, func(t *testing.T, start func(t *testing.T) *app) {
		tr := newTranscript(t, withTestClock(t, start(t)))
		tr.vars["system"] = identity.SystemID
		tr.playOn(beforeTheClock)
		tr.setClock(time.Hour)
		tr.playOn(anHourLater)
		tr.setClock(time.Hour + time.Second)
		tr.playOn(aSecondLater)
		tr.setClock(time.Hour + 2*time.Second)
		tr.playOn(twoSecondsLater)
		tr.setClock(week + 30*time.Minute)
		tr.schedule(4)
		tr.playOn(halfAnHourBefore)
		tr.setClock(week + 2*time.Hour)
		tr.schedule(0)
		tr.playOn(afterTheDate)
	})
}

// withTestClock opens the app's database again, with a clock that setClock moves.
func withTestClock(t *testing.T, a *app) *app {
	t.Helper()
	setMeta(t, a, "test_clock", "1")
	a.close()
	again, err := newApp(context.Background(), Options{Config: a.config, Stderr: io.Discard, Version: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.close)
	return again
}

// setClock puts the database's clock ahead of the host's.
func (tr *transcript) setClock(ahead time.Duration) {
	tr.t.Helper()
	setMeta(tr.t, tr.app, "clock_offset_us", strconv.FormatInt(ahead.Microseconds(), 10))
}

func setMeta(t *testing.T, a *app, key, value string) {
	t.Helper()
	err := a.db.Update(t.Context(), nil, func(tx *db.Tx) error { return tx.SetMeta(key, value) })
	if err != nil {
		t.Fatal(err)
	}
}

// playOn plays one step of several: its audit lines are those since the step before, with what
// the scheduler did in between.
func (tr *transcript) playOn(text string) {
	tr.t.Helper()
	tr.play(text)
	tr.from = tr.lastPosition() + 1
}

// schedule runs the scheduler until so many deleted secrets and vaults wait for their dates.
func (tr *transcript) schedule(waiting int) {
	tr.t.Helper()
	ctx, stop := context.WithCancel(tr.t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.app.scheduler.Run(ctx) }()
	deadline := time.Now().Add(30 * time.Second)
	for tr.deleted() != waiting {
		if time.Now().After(deadline) {
			tr.t.Errorf("%d deleted secrets and vaults after half a minute, want %d", tr.deleted(), waiting)
			break
		}
		time.Sleep(10 * time.Millisecond) // a poll to a deadline
	}
	stop()
	if err := <-done; err != nil {
		tr.t.Error(err)
	}
}

// deleted counts what waits for its date. What lies in a deleted vault goes with it.
func (tr *transcript) deleted() (n int) {
	tr.t.Helper()
	const q = `
		SELECT (SELECT COUNT(*) FROM secrets WHERE purge_us IS NOT NULL) + (SELECT COUNT(*) FROM vaults WHERE purge_us IS NOT NULL)`
	err := tr.app.db.View(tr.t.Context(), func(tx *db.Tx) error { return tx.QueryRow(q).Scan(&n) })
	if err != nil {
		tr.t.Fatal(err)
	}
	return n
}
