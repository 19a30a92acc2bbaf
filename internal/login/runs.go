package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
)

func (f *face) declareRuns(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "RunStart", Method: "POST", Path: "/runs", Access: operation.Local,
		Summary: "Open a run: a proxy, an authority and an identity for one program, for as long as the answer is taken.",
	}, f.startRun)
}

// A RunRequest is the body of POST /runs.
type RunRequest struct {
	// Identity is a client id, object id, resource id or display name; "" is the default identity.
	Identity string `json:"identity"`
	// OwnSignIn says that the program signs in by itself, and has no managed identity.
	OwnSignIn bool `json:"ownSignIn"`
	// Tenant is the one that the program names when it signs in by itself; "" is the home tenant.
	Tenant string `json:"tenant"`
	// Vault is where all names of vaults lead that are not in Vaults; "" leads each to its own name.
	Vault  string            `json:"vault"`
	Vaults map[string]string `json:"vaults"` // from the name that the program has to ours
	// Offline lets the program reach nothing but us and its own machine.
	Offline bool `json:"offline"`
	// AllowAzure lets it reach what Azure has beside us.
	AllowAzure bool `json:"allowAzure"`
}

// RunOptions are what a run's proxy works by.
type RunOptions struct {
	RunRequest
	Run *operation.Run // with identity and secret
}

// An OpenRun is a proxy that has begun to listen.
type OpenRun struct {
	ProxyURL string          // without a slash at the end
	CA       []byte          // PEM of the authority that the program has to trust
	Stopping <-chan struct{} // closed when the server is about to stop
	Close    func()          // returns when nothing is left of it
}

// A RunLine is a line of the answer, in JSON. The first has Started or Error, all others Say.
type RunLine struct {
	Started *RunStarted `json:"started,omitzero"`
	Error   string      `json:"error,omitzero"` // why the run could not be opened
	Say     string      `json:"say,omitzero"`   // for whoever has started the run
}

// RunStarted is all that the command needs to lead a program here.
type RunStarted struct {
	Proxy            string `json:"proxy"`
	IdentityEndpoint string `json:"identityEndpoint"`
	Secret           string `json:"secret"` // for the header X-IDENTITY-HEADER
	ClientID         string `json:"clientId"`
	CA               string `json:"caPem"`
	VaultSuffix      string `json:"vaultSuffix"`
	ManagementHost   string `json:"managementHost"`
	LoginHost        string `json:"loginHost"`
	Tenant           string `json:"tenant"`
	Subscription     string `json:"subscription"`
}

func (f *face) startRun(ctx context.Context, c *operation.Call, in RunRequest) (operation.Stream, error) {
	c.SignedIn(*operation.LocalOwner()) // local operations are reached over the owner's socket only
	if err := in.check(); err != nil {
		return operation.Stream{}, err
	}
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		if !in.OwnSignIn {
			p, err = f.identityForRun(tx, in.Identity)
		}
		return err
	})
	if err != nil {
		return operation.Stream{}, err
	}
	return operation.Stream{ContentType: "application/x-ndjson", Write: func(ctx context.Context, w io.Writer) error {
		return f.serveRun(ctx, w, in, p)
	}}, nil
}

// maxRunVaults bounds the names that a run leads elsewhere.
const maxRunVaults = 1000

func (r RunRequest) check() error {
	if r.Tenant != "" && !isTenant(r.Tenant) {
		return apierr.BadRequest("InvalidRun", "tenant %.40q: want a GUID or a domain", r.Tenant)
	}
	if len(r.Vaults) > maxRunVaults {
		return apierr.BadRequest("InvalidRun", "vaults: want %d names at most, found %d", maxRunVaults, len(r.Vaults))
	}
	for from, to := range r.Vaults {
		for _, name := range []string{from, to} {
			if !resource.IsVaultName(name) {
				return apierr.BadRequest("InvalidRun", "vaults: %.40q is no name of a vault", name)
			}
		}
	}
	if r.Vault != "" && !resource.IsVaultName(r.Vault) {
		return apierr.BadRequest("InvalidRun", "vault: %.40q is no name of a vault", r.Vault)
	}
	return nil
}

// serveRun has a run open until whoever takes the answer is gone.
func (f *face) serveRun(ctx context.Context, w io.Writer, in RunRequest, p identity.Principal) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	out := &runLines{failed: end, said: map[string]bool{}}
	secret := newRunSecret()
	open, err := f.OpenRun(RunOptions{in, &operation.Run{ObjectID: p.ObjectID, Secret: sha256.Sum256([]byte(secret))}},
		out.say)
	if err != nil {
		out.start(w, RunLine{Error: err.Error()})
		return nil
	}
	defer open.Close()
	defer out.end("")
	out.start(w, RunLine{Started: &RunStarted{
		Proxy: open.ProxyURL, IdentityEndpoint: open.ProxyURL + appServicePath, Secret: secret, ClientID: p.AppID, CA: string(open.CA),
		VaultSuffix: f.RunFamily.VaultHost("").Suffix, ManagementHost: f.RunFamily.ManagementHost().Text,
		LoginHost: f.RunFamily.LoginHost().Text, Tenant: f.Tenant, Subscription: f.Subscription,
	}})
	select {
	case <-ctx.Done():
	case <-open.Stopping:
		out.end("the server stops, and the run with it: the program cannot reach it any more")
	}
	return nil
}

// newRunSecret is 43 characters that nobody guesses.
func newRunSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// runLines writes lines, each at once, from any number of goroutines.
type runLines struct {
	failed func() // called when the other end is gone

	mu    sync.Mutex
	w     io.Writer       // guarded by mu; nil before the first line and behind the last
	early []RunLine       // guarded by mu; what was said before the first line
	ended bool            // guarded by mu
	said  map[string]bool // guarded by mu; lines that were said, maxSaid at most
}

// maxSaid bounds the lines that a run says: each is said once, since clients try again and again.
const maxSaid = 1000

// start writes the first line, and what was said before it.
func (l *runLines) start(w io.Writer, first RunLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = w
	for _, line := range append([]RunLine{first}, l.early...) {
		l.write(line)
	}
}

// say writes a line that was not said before.
func (l *runLines) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := RunLine{Say: strings.Join(strings.Fields(text), " ")}
	if l.ended || l.said[line.Say] || len(l.said) == maxSaid {
		return
	}
	l.said[line.Say] = true
	if l.w == nil {
		l.early = append(l.early, line)
		return
	}
	l.write(line)
}

// end writes a last line, if there is one; nothing is written behind it.
func (l *runLines) end(last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last != "" && l.w != nil {
		l.write(RunLine{Say: last})
	}
	l.w, l.ended = nil, true
}

// write sends a line at once. The caller holds mu.
func (l *runLines) write(line RunLine) {
	err := json.MarshalWrite(l.w, line)
	if err == nil {
		_, err = fmt.Fprintln(l.w)
	}
	if err != nil {
		l.failed()
	} else if f, ok := l.w.(http.Flusher); ok {
		f.Flush()
	}
}
