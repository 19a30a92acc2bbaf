package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

func wantSignIn(t testing.TB, err error, code int) {
	t.Helper()
	e, ok := errors.AsType[*SignInError](err)
	if !ok || e.Code != code {
		t.Errorf("got error %v, want AADSTS%d", err, code)
		return
	}
	refusal, ok := apierr.As(err)
	if !ok {
		t.Errorf("no *apierr.Error in the chain of %v", err)
		return
	}
	if back, ok := SignInErrorOf(refusal); !ok || *back != *e {
		t.Errorf("SignInErrorOf(%v) = %v, %v, want %v", refusal, back, ok, e)
	}
}

func TestNewClientSecret(t *testing.T) {
	secret, hint := NewClientSecret()
	again, _ := NewClientSecret()
	text := string(secret.Reveal())
	if len(text) != 40 || hint != text[:3] || text == string(again.Reveal()) {
		t.Errorf("NewClientSecret: %d characters, hint %q, twice the same: %v; want 40, its beginning, false", len(text), hint, text == string(again.Reveal()))
	}
}

func TestSecrets(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, sp := newApp(t, s, d, "payroll")
		otherApp, _ := newApp(t, s, d, "other")
		secret, hint := NewClientSecret()
		late, _ := NewClientSecret()
		unknown, _ := NewClientSecret()
		var c, lateC Credential
		var now time.Time
		update(t, d, func(tx *db.Tx) (err error) {
			now = tx.Now
			if c, err = s.AddSecret(tx, app.AppID, "first", secret, time.Time{}, time.Time{}); err != nil {
				return err
			}
			lateC, err = s.AddSecret(tx, app.AppID, "", late, now.Add(time.Hour), now.Add(2*time.Hour))
			return err
		})
		if c.Hint != hint || !c.Expires.Equal(now.Add(180*24*time.Hour)) || !c.NotBefore.Equal(now) {
			t.Errorf("credential %+v: want hint %q and 180 days from %v", c, hint, now)
		}
		if shown := fmt.Sprintf("%+v", c); strings.Contains(shown, string(secret.Reveal())) {
			t.Errorf("a credential shows its secret: %s", shown)
		}
		changed := envelope.NewValue([]byte(string(secret.Reveal()[:39]) + "="))
		check := func(appID string, v envelope.Value, want int, id string) {
			t.Helper()
			view(t, d, func(tx *db.Tx) error {
				p, got, err := s.CheckSecret(tx, appID, v)
				if want != 0 {
					wantSignIn(t, err, want)
				} else if err != nil || got != id || p.ObjectID != sp.ObjectID {
					t.Errorf("CheckSecret = %v, %q, %v, want %s by %s", p, got, err, sp.ObjectID, id)
				}
				return nil
			})
		}
		check(app.AppID, secret, 0, c.ID)
		check(strings.ToUpper(app.AppID), secret, 0, c.ID)
		check(app.ID, secret, CodeUnknownApplication, "")
		check(db.NewGUID(), secret, CodeUnknownApplication, "")
		check(otherApp.AppID, secret, CodeWrongSecret, "")
		check(app.AppID, unknown, CodeWrongSecret, "")
		check(app.AppID, changed, CodeWrongSecret, "")
		check(app.AppID, envelope.Value{}, CodeWrongSecret, "")
		check(app.AppID, late, CodeWrongSecret, "")
		setClock(t, d, 90*time.Minute)
		check(app.AppID, late, 0, lateC.ID)
		setClock(t, d, 3*time.Hour)
		check(app.AppID, late, CodeExpiredSecret, "")
		update(t, d, func(tx *db.Tx) error { return s.SetEnabled(tx, sp.ObjectID, false) })
		check(app.AppID, unknown, CodeWrongSecret, "")
		check(app.AppID, secret, CodeApplicationDisabled, "")
		update(t, d, func(tx *db.Tx) error { return s.DeletePrincipal(tx, sp.ObjectID) })
		check(app.AppID, secret, CodeNoServicePrincipal, "")
		update(t, d, func(tx *db.Tx) error { return s.RemoveCredential(tx, app.AppID, c.ID) })
		check(app.AppID, secret, CodeWrongSecret, "")
		wantRefusal(t, tryUpdate(t, d, func(tx *db.Tx) error { return s.RemoveCredential(tx, app.AppID, c.ID) }),
			apierr.BadRequestKind, codeBadRequest)
	})
}

func TestSecretLimits(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, _ := newApp(t, s, d, "payroll")
		add := func(notBefore, expires time.Duration) error {
			secret, _ := NewClientSecret()
			return tryUpdate(t, d, func(tx *db.Tx) error {
				_, err := s.AddSecret(tx, app.AppID, "", secret, tx.Now.Add(notBefore), tx.Now.Add(expires))
				return err
			})
		}
		day := 24 * time.Hour
		for _, tt := range []struct {
			notBefore, expires time.Duration
			ok                 bool
		}{
			{0, day, true},
			{0, 729 * day, true},
			{0, 732 * day, false},
			{2 * day, day, false},
			{-2 * day, -day, false},
		} {
			if err := add(tt.notBefore, tt.expires); (err == nil) != tt.ok {
				t.Errorf("secret from %v to %v: %v, want ok %v", tt.notBefore, tt.expires, err, tt.ok)
			}
		}
		chosen := envelope.NewValue([]byte("password"))
		err := tryUpdate(t, d, func(tx *db.Tx) error {
			_, err := s.AddSecret(tx, app.AppID, "", chosen, time.Time{}, time.Time{})
			return err
		})
		if err == nil {
			t.Error("AddSecret took a secret that was not generated")
		}
		for err = nil; err == nil; err = add(0, day) {
		}
		wantRefusal(t, err, apierr.BadRequestKind, codeBadRequest)
		view(t, d, func(tx *db.Tx) error {
			if got, err := s.ListCredentials(tx, app.AppID); len(got) != maxCredentials {
				t.Errorf("%d credentials, %v, want %d", len(got), err, maxCredentials)
			}
			return nil
		})
	})
}

// testKey is a client's RSA key, drawn once.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func selfSigned(t testing.TB, public, private any, from, to time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "client"}, NotBefore: from, NotAfter: to,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificates(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	good := selfSigned(t, testKey().Public(), testKey(), now.Add(-time.Hour), now.Add(time.Hour))
	each(t, func(t *testing.T, d *db.DB) {
		s := newStore(t)
		app, _ := newApp(t, s, d, "payroll")
		for _, tt := range []struct {
			name string
			der  []byte
			ok   bool
			kind apierr.Kind
		}{
			{"good", good, true, 0},
			{"twice", good, false, apierr.ConflictKind},
			{"expired", selfSigned(t, testKey().Public(), testKey(), now.Add(-2*time.Hour), now.Add(-time.Hour)), false, apierr.BadRequestKind},
			{"elliptic", selfSigned(t, ec.Public(), ec, now, now.Add(time.Hour)), false, apierr.BadRequestKind},
			{"small", selfSigned(t, small.Public(), small, now, now.Add(time.Hour)), false, apierr.BadRequestKind},
			{"empty", nil, false, apierr.BadRequestKind},
			{"rubbish", []byte("rubbish"), false, apierr.BadRequestKind},
			{"with a tail", append(append([]byte{}, good...), 0), false, apierr.BadRequestKind},
			{"too long", make([]byte, maxCertificate+1), false, apierr.BadRequestKind},
		} {
			var c Credential
			err := tryUpdate(t, d, func(tx *db.Tx) (err error) {
				c, err = s.AddCertificate(tx, app.AppID, "", tt.der)
				return err
			})
			if refusal, ok := apierr.As(err); tt.ok && err != nil || !tt.ok && (!ok || refusal.Kind != tt.kind) {
				t.Errorf("%s: %v, want ok %v, kind %d", tt.name, err, tt.ok, tt.kind)
			}
			if tt.ok && (c.Name != "client" || len(c.ThumbprintSHA1) != 40 || len(c.ThumbprintSHA256) != 64) {
				t.Errorf("%s: credential %+v, want the subject's name and two thumbprints", tt.name, c)
			}
		}
	})
}

func TestSignInTable(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range signInErrors {
		if seen[e.Code] || e.Status == 0 || e.OAuth == "" || e.Message == "" {
			t.Errorf("row %+v: twice or incomplete", e)
		}
		seen[e.Code] = true
		args := make([]string, strings.Count(e.Message, "%s"))
		for i := range args {
			args[i] = "a\nb" + strings.Repeat("x", 500)
		}
		if got := NewSignInError(e.Code, args...); strings.ContainsAny(got.Message, "\n%") || len(got.Message) > 700 {
			t.Errorf("NewSignInError(%d) has the text %q", e.Code, got.Message)
		}
	}
	for _, code := range []string{"Forbidden", "AADSTSx", "AADSTS1"} {
		if e, ok := SignInErrorOf(apierr.BadRequest(code, "x")); ok {
			t.Errorf("SignInErrorOf(%s) = %v, want none", code, e)
		}
	}
}
