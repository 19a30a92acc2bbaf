package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"regexp"
	"sync"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/identity"
	"strongroom/internal/operation"
)

const (
	// runLife is how long a run holds after it was last put: the command renews it every ten
	// seconds, so that a killed command's secret is of no use a minute later.
	runLife = 60 * time.Second
	// maxRuns bounds memory and the time of a look-up.
	maxRuns = 1000
)

// Runs are the programs under "strongroom run" whose secrets the managed identity endpoint takes.
// They are kept in memory only, each as a hash of its secret: after a restart of the server the
// command puts its run again. Runs may be shared.
type Runs struct {
	mu   sync.Mutex
	byID map[string]run // guarded by mu
}

type run struct {
	secret   [sha256.Size]byte // hash; secrets are random and long, so that a plain hash will do
	objectID string
	expires  time.Time
}

// NewRuns returns no runs.
func NewRuns() *Runs { return &Runs{byID: map[string]run{}} }

// put starts or renews a run; false means that there are too many.
func (r *Runs) put(id string, secret []byte, objectID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for other, run := range r.byID {
		if !now.Before(run.expires) {
			delete(r.byID, other)
		}
	}
	if _, renewed := r.byID[id]; !renewed && len(r.byID) >= maxRuns {
		return false
	}
	r.byID[id] = run{sha256.Sum256(secret), objectID, now.Add(runLife)}
	return true
}

func (r *Runs) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, id)
}

// identity returns the object id of the live run with the secret. It compares with every run, in
// constant time each.
func (r *Runs) identity(secret string) (objectID string, ok bool) {
	hash := sha256.Sum256([]byte(secret))
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, run := range r.byID {
		if subtle.ConstantTimeCompare(run.secret[:], hash[:]) == 1 && now.Before(run.expires) {
			objectID, ok = run.objectID, true
		}
	}
	return objectID, ok
}

func (f *face) declareRuns(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: "RunPut", Method: "PUT", Path: "/runs/{run-id}", Access: operation.Local,
		Summary: "Start or renew a run: for a minute, its secret gets tokens of one identity.",
	}, f.putRun)
	operation.Handle(t, operation.Op{
		Name: "RunDelete", Method: "DELETE", Path: "/runs/{run-id}", Access: operation.Local, Status: 204,
		Summary: "End a run: its secret gets no more tokens.",
	}, f.deleteRun)
}

// A RunRequest is the body of PUT /runs/{run-id}.
type RunRequest struct {
	// Identity is a client id, object id, resource id or display name; "" is the default identity.
	Identity string         `json:"identity"`
	Secret   envelope.Value `json:"secret"` // 32 to 256 bytes of the command's own randomness
}

// A RunAnswer is all that the command needs to lead a program here.
type RunAnswer struct {
	IdentityEndpoint string `json:"identityEndpoint"` // takes the run's secret
	IMDSEndpoint     string `json:"imdsEndpoint"`     // host and port only, without a path
	ClientID         string `json:"clientId"`
	Listen           string `json:"listen"`
	CA               string `json:"caPem"` // "" with given TLS files
	VaultSuffix      string `json:"vaultSuffix"`
	ManagementHost   string `json:"managementHost"`
	LoginHost        string `json:"loginHost"`
	Tenant           string `json:"tenant"`
	Subscription     string `json:"subscription"`
}

var runID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

func (f *face) putRun(ctx context.Context, c *operation.Call, in RunRequest) (RunAnswer, error) {
	c.SignedIn(*operation.LocalOwner()) // local operations are reached over the owner's socket only
	id := c.Param("run-id")
	if !runID.MatchString(id) {
		return RunAnswer{}, apierr.BadRequest("InvalidRun", "run id: want 1 to 64 characters of [0-9A-Za-z_-]")
	}
	if n := in.Secret.Len(); n < 32 || n > 256 {
		return RunAnswer{}, apierr.BadRequest("InvalidRun", "secret: want 32 to 256 bytes")
	}
	if f.ManagedURL == "" {
		return RunAnswer{}, apierr.BadRequest("IdentityEndpointOff", "the managed identity endpoint is off (identity_listen)")
	}
	var p identity.Principal
	err := c.View(ctx, func(tx *db.Tx) (err error) {
		p, err = f.runIdentity(tx, in.Identity)
		return err
	})
	if err != nil {
		return RunAnswer{}, err
	}
	if !f.Runs.put(id, in.Secret.Reveal(), p.ObjectID) {
		return RunAnswer{}, apierr.BadRequest("TooManyRuns", "there are %d runs already; end one first", maxRuns)
	}
	return f.newRunAnswer(p), nil
}

func (f *face) newRunAnswer(p identity.Principal) RunAnswer {
	a := RunAnswer{
		IdentityEndpoint: f.ManagedURL + appServicePath, IMDSEndpoint: f.ManagedURL, ClientID: p.AppID, Listen: f.Listen,
		VaultSuffix: f.RunFamily.VaultHost("").Suffix, ManagementHost: f.RunFamily.ManagementHost().Text,
		LoginHost: f.RunFamily.LoginHost().Text, Tenant: f.Tenant, Subscription: f.Subscription,
	}
	if f.CA != nil {
		a.CA = string(f.CA())
	}
	return a
}

func (f *face) deleteRun(_ context.Context, c *operation.Call, _ operation.None) (operation.None, error) {
	c.SignedIn(*operation.LocalOwner())
	f.Runs.remove(c.Param("run-id"))
	return operation.None{}, nil
}
