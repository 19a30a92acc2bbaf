package identity

import (
	"bytes"
	"strings"
	"testing"

	"strongroom/internal/db"
)

// TestTokenHasOneSpelling changes the bits of a signature's last character that belong to none of
// its bytes: a token that can be spelt in several ways passes whoever compares texts.
func TestTokenHasOneSpelling(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	each(t, func(t *testing.T, d *db.DB) {
		i := newIssuer(t, newStore(t), d)
		token, _ := issue(t, i, d, testGrant())
		if _, err := verify(t, i, d, token); err != nil {
			t.Fatal(err)
		}
		tried := 0
		for _, c := range letters {
			other := token[:len(token)-1] + string(c)
			if other == token || !bytes.Equal(signatureOf(t, other), signatureOf(t, token)) {
				continue
			}
			tried++
			_, err := verify(t, i, d, other)
			wantReason(t, "last character "+string(c), err, Malformed)
		}
		if tried != 15 { // 256 bytes leave four bits of the last six
			t.Errorf("tried %d other spellings, want 15", tried)
		}
	})
}

func signatureOf(t testing.TB, token string) []byte {
	t.Helper()
	signature, err := b64.DecodeString(token[strings.LastIndex(token, ".")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}
