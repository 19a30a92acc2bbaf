package login

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/identity"
)

func TestRunsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRuns()
		live := func(secret string) bool { _, ok := r.identity(secret); return ok }
		r.put("a", []byte("first"), "one")
		time.Sleep(50 * time.Second) // of the bubble's clock
		r.put("b", []byte("second"), "two")
		if id, ok := r.identity("first"); id != "one" || !ok {
			t.Errorf("identity of a run after 50 s = %q, %v, want one, true", id, ok)
		}
		time.Sleep(5 * time.Second) // of the bubble's clock
		r.put("a", []byte("first"), "one")
		time.Sleep(55 * time.Second) // of the bubble's clock
		if !live("first") || live("second") {
			t.Errorf("55 s after one was renewed and 60 s after the other was put: live %v, %v, want true, false", live("first"), live("second"))
		}
		time.Sleep(5 * time.Second) // of the bubble's clock
		if live("first") {
			t.Error("a run lives on 60 s after it was last put")
		}
		r.put("c", []byte("third"), "three")
		if len(r.byID) != 1 {
			t.Errorf("%d runs are kept, want the live one", len(r.byID))
		}
		r.remove("c")
		if live("third") || live("") {
			t.Error("a removed run's secret, or none at all, is taken")
		}
	})
}

func TestRunsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRuns()
		for i := range maxRuns {
			if !r.put(fmt.Sprint(i), []byte(fmt.Sprint(i)), "x") {
				t.Fatalf("run %d refused, want room for %d", i, maxRuns)
			}
		}
		if r.put("more", []byte("more"), "x") {
			t.Errorf("run %d taken, want a refusal", maxRuns+1)
		}
		if !r.put("0", []byte("0"), "x") {
			t.Error("renewal refused among the most runs")
		}
		time.Sleep(runLife) // of the bubble's clock
		if !r.put("more", []byte("more"), "x") {
			t.Error("run refused after the others ended")
		}
	})
}

const runSecret = "0123456789012345678901234567890123456789012"

func (b *bench) putRun(id, body string) answer {
	b.t.Helper()
	return b.do(b.login, ask{method: "PUT", host: loginHost, path: "/runs/" + id, body: body, local: true})
}

func runBody(who, secret string) string {
	return fmt.Sprintf(`{"identity":%q,"secret":%q}`, who, secret)
}

func TestPutRun(t *testing.T) {
	b := newBench(t)
	dev := b.addManaged("dev")
	for _, who := range []string{"", "dev", dev.AppID, strings.ToUpper(dev.ObjectID), strings.ToUpper(dev.ResourceID)} {
		got := b.putRun("a", runBody(who, runSecret))
		for name, want := range map[string]string{
			"identityEndpoint": "http://127.0.0.1:8440/msi/token", "imdsEndpoint": "http://127.0.0.1:8440", "clientId": dev.AppID,
			"listen": "127.0.0.1:8443", "caPem": "PEM", "vaultSuffix": "vault.strongroom.internal",
			"managementHost": "management.strongroom.internal", "loginHost": "login.strongroom.internal",
			"tenant": testTenant, "subscription": testSubscription,
		} {
			if got.status != http.StatusOK || got.text(name) != want {
				t.Errorf("PUT run as %q = %d, %s = %q, want 200, %q", who, got.status, name, got.text(name), want)
			}
		}
	}
	if e := b.lastEntry(); e.Operation != "RunPut" || e.ObjectID != identity.LocalOwnerID {
		t.Errorf("audit entry of %s by %s, want RunPut by the local owner", e.Operation, e.ObjectID)
	}
	if got := b.putRun("b", runBody(b.app.AppID, runSecret)); got.status != http.StatusOK {
		t.Errorf("PUT run as a service principal = %d %s, want 200", got.status, got.raw)
	}
	got := b.do(b.login, ask{method: "DELETE", host: loginHost, path: "/runs/b", local: true})
	if got.status != http.StatusNoContent || len(got.raw) != 0 {
		t.Errorf("DELETE run = %d %s, want 204", got.status, got.raw)
	}
}

func TestPutRunRefusals(t *testing.T) {
	b := newBench(t)
	if got := b.putRun("a", runBody("", runSecret)); got.status != http.StatusBadRequest {
		t.Errorf("PUT run without any identity = %d %s, want 400", got.status, got.raw)
	}
	b.addManaged("dev")
	off := b.addManaged("off")
	b.update(func(tx *db.Tx) error {
		if _, err := b.store.CreateGroup(tx, "group"); err != nil {
			return err
		}
		for range 2 {
			a, err := b.store.CreateApplication(tx, "twin")
			if err != nil {
				return err
			}
			if _, err = b.store.CreateServicePrincipal(tx, a.AppID); err != nil {
				return err
			}
		}
		return b.store.SetEnabled(tx, off.ObjectID, false)
	})
	for _, tt := range []struct {
		id, body, code string
		status         int
	}{
		{"a", runBody("", runSecret), "invalid_request", 400}, // two identities and no default
		{"a", runBody("nobody", runSecret), "IdentityNotFound", 404},
		{"a", runBody("group", runSecret), "IdentityNotFound", 404},
		{"a", runBody("twin", runSecret), "IdentityAmbiguous", 400},
		{"a", runBody("off", runSecret), "IdentityDisabled", 400},
		{"a", runBody("dev", "short"), "InvalidRun", 400},
		{"a", `{"identity":"dev"}`, "InvalidRun", 400},
		{"a%20b", runBody("dev", runSecret), "InvalidRun", 400},
		{"a", `{`, "BadParameter", 400},
	} {
		got := b.putRun(tt.id, tt.body)
		e, _ := got.body["error"].(map[string]any)
		if got.status != tt.status || e["code"] != tt.code {
			t.Errorf("PUT run %s %s = %d %s, want %d %s", tt.id, tt.body, got.status, got.raw, tt.status, tt.code)
		}
	}
}
