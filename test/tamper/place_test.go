//go:build unix

package tamper

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"strongroom/test/served"
)

// A place is a server with a copy of the base, and the attacker's hands on its database.
type place struct {
	*served.Server
	t        *testing.T
	b        *base
	url      string // of PostgreSQL
	hands    *sql.DB
	identity string // the listener of managed identities
	client   *http.Client
	tokens   map[string]string
}

func newPlace(t *testing.T, b *base) *place {
	t.Helper()
	p := &place{t: t, b: b, tokens: map[string]string{}}
	if b.database != "" {
		p.url = copyDatabase(t, b.database)
	}
	p.identity = freeAddress(t)
	for p.Server == nil || !isNew(p.Listen) || !isNew(p.Metrics) {
		p.Server = served.New(t, p.url, "scrub_interval=1s", "log.format=json", "identity_listen="+p.identity)
	}
	copyFolder(t, b.dir, p.Data())
	p.hands = openHands(t, p.Server, p.url)
	t.Cleanup(func() { p.hands.Close() })
	return p
}

// addresses are those that servers of this program have had: one that is free because its server has
// not begun to listen yet must not be given to another.
var addresses sync.Map

func isNew(address string) bool {
	_, had := addresses.LoadOrStore(address, true)
	return !had
}

func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		if a := served.FreeAddress(t); isNew(a) {
			return a
		}
	}
}

// start starts the server and signs the callers in, as far as they can.
func (p *place) start() {
	p.t.Helper()
	p.Start()
	p.client = &http.Client{Timeout: patience, Transport: p.Transport()}
	for _, who := range []string{"reader", "outsider", "narrow"} {
		_, p.tokens[who] = p.signIn(who)
	}
}

// signIn asks for a token with the credential of a name.
func (p *place) signIn(credential string) (status int, token string) {
	p.t.Helper()
	names := p.b.names
	status, token, err := p.SignIn(p.b.about.Tenant, names[names[credential+".of"]+".app"], names[credential+".secret"], served.VaultResource)
	if err != nil && status < 400 { // a refusal is for the caller to judge
		p.t.Fatal(err)
	}
	return status, token
}

// exec runs statements in one transaction, again where the server's own came between.
func (p *place) exec(statements string) {
	p.t.Helper()
	var err error
	for range 5 {
		if err = p.tryExec(statements); err == nil || !strings.Contains(err.Error(), "deadlock") {
			break
		}
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) tryExec(statements string) error {
	tx, err := p.hands.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, q := range strings.Split(p.fill(statements), ";\n") {
		if strings.TrimSpace(q) == "" {
			continue
		}
		if _, err := tx.Exec(q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return tx.Commit()
}

// fill puts names of the base into statements, as literals.
func (p *place) fill(statements string) string {
	for name, value := range p.b.names {
		statements = strings.ReplaceAll(statements, "{"+name+"}", "'"+value+"'")
	}
	return strings.ReplaceAll(statements, "{tenant}", "'"+p.b.about.Tenant+"'")
}

// number reads one number from the database.
func (p *place) number(q string) (n int64) {
	p.t.Helper()
	if err := p.hands.QueryRow(p.fill(q)).Scan(&n); err != nil {
		p.t.Fatalf("%s: %v", q, err)
	}
	return n
}
