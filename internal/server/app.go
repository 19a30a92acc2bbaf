package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"strongroom/internal/arm"
	"strongroom/internal/audit"
	"strongroom/internal/authz"
	"strongroom/internal/ballast"
	"strongroom/internal/config"
	"strongroom/internal/dataplane"
	"strongroom/internal/db"
	"strongroom/internal/envelope"
	"strongroom/internal/fair"
	"strongroom/internal/graph"
	"strongroom/internal/identity"
	"strongroom/internal/keyring"
	"strongroom/internal/localca"
	"strongroom/internal/login"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/schedule"
	"strongroom/internal/secrets"
	"strongroom/internal/vaults"
)

// An app is one process's worth of Strongroom.
type app struct {
	config     config.Config
	version    string
	log        *slog.Logger
	db         *db.DB
	deployment deployment
	families   resource.Families
	metrics    *metrics
	width      width // of the gate
	counter    *audit.Counter
	identity   *identity.Store
	roots      *rootKeys
	ring       *envelope.Ring
	pipeline   *operation.Pipeline
	scheduler  *schedule.Scheduler
	faces      map[resource.FaceName]*operation.Table
	managed    *operation.Table
	ballast    *ballast.Ballast // nil where there is none
	seen       map[string]int64 // revisions of vaults that an earlier run of this node had seen
	ca         *localca.CA      // or files
	files      *localca.Files   // or ca
	stopping   chan struct{}    // closed when the server is asked to stop
	runs       atomic.Int64     // that are open
}

// newApp opens the app of a server, if the database is as far as this node has seen it.
func newApp(ctx context.Context, o Options, log *slog.Logger) (*app, error) {
	a, err := openApp(ctx, o, log, (*app).checkStart)
	if err != nil {
		return nil, err
	}
	err = a.checkProgress(ctx)
	if err == nil {
		err = withRoom(func() error { return a.scheduler.HoldKeys(ctx) }) // before a change of the root key could overlook this node
	}
	if err != nil {
		return nil, errors.Join(err, a.db.Close())
	}
	return a, nil
}

// checkStart refuses what a server would be refused later, before anything is made for it.
func (a *app) checkStart(ctx context.Context) error {
	had, found, err := loadProgress(a.config)
	if err == nil && found {
		err = a.checkServed(had)
	}
	if err == nil {
		err = a.checkRestored(ctx)
	}
	if err == nil {
		err = checkFree(a.config)
	}
	return err
}

// openApp looks at the database and opens the keys before it makes or changes anything, and runs a check:
// a start in a folder without a database, with the wrong root key, or refused by the check, leaves no trace.
func openApp(ctx context.Context, o Options, log *slog.Logger, check func(*app, context.Context) error) (a *app, err error) {
	a = &app{config: o.Config, version: o.Version, log: log, families: o.Config.Families(), metrics: newMetrics(), counter: &audit.Counter{}, stopping: make(chan struct{})}
	had := a.hasBallast()
	if had { // on a full disk it has to make room for opening
		if err := a.openBallast(); err != nil {
			return nil, err
		}
	}
	// Migrations run at every start, so that a node of a new release brings its schema.
	more := db.Options{
		OnCommit: a.onCommit,
		MakeRoom: func() bool { return a.ballast.GiveUp() },
		IsShort:  func() bool { return a.ballast.IsShort() },
	}
	d, err := openWith(ctx, o.Config, more, func(ctx context.Context, options db.Options) (*db.DB, error) {
		return db.OpenExisting(ctx, options, func(d *db.DB) error {
			err := a.look(ctx, d)
			if err == nil {
				err = check(a, ctx)
			}
			if err == nil {
				err = d.SealAhead(ctx, a.ring)
			}
			if err == nil {
				err = makeDataDir(o.Config)
			}
			if err == nil && !had {
				err = a.openBallast()
			}
			return err
		})
	})
	if errors.Is(err, db.ErrNone) {
		return nil, cmp.Or(checkUnserved(o.Config), errNotInitialised)
	}
	if err != nil {
		return nil, err
	}
	a.db = d
	a.metrics.waiting = a.db.Waiting
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, a.db.Close())
	}
	return a, nil
}

// look reads whose database it is, opens its keys, and loads the TLS files.
func (a *app) look(ctx context.Context, d *db.DB) error {
	a.db = d
	err := d.View(ctx, func(tx *db.Tx) (err error) {
		a.deployment, err = readDeployment(tx)
		return err
	})
	if err != nil {
		return err
	}
	a.roots = &rootKeys{config: a.config, db: d, keys: envelope.NewRootKeys()}
	err = a.roots.read(a.deployment.passphrase)
	if err == nil {
		a.ring, err = keyring.Open(ctx, d, a.roots.keys, a.deployment.id)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, envelope.ErrWrongRootKey) {
		err = fmt.Errorf("%w; to mend it, %s", err, mendRootKey(a.config, a.deployment))
	}
	if err == nil && a.config.TLS.CertificateFile != "" {
		a.files, err = localca.LoadFiles(a.config.TLS.CertificateFile, a.config.TLS.KeyFile)
	}
	return err
}

// onCommit is the database's OnCommit.
func (a *app) onCommit(jobs, records int, took time.Duration, err error) {
	a.metrics.commit(jobs, records, took, err)
	if err == nil && records > 0 { // without one nothing was synced
		a.width.commit(took)
	}
}

// build makes stores, faces and pipeline.
func (a *app) build(ctx context.Context) error {
	ring := a.ring
	a.db.Bind(a.deployment.tenant, ring)
	if err := a.proveDeployment(ctx); err != nil {
		return err
	}
	if err := withRoom(func() error { return a.db.Update(ctx, nil, (*db.Tx).SealSchema) }); err != nil {
		return fmt.Errorf("vouch for the schema: %w", err)
	}
	if err := a.openCA(); err != nil {
		return err
	}
	a.warn(ctx, "clients may refuse the certificate", checkTLS(a.config, time.Now()))
	a.warn(ctx, "others may change what the server rests on", checkDataDir(a.config))
	tenant := a.deployment.tenant
	st := newStores(a.config, ring, tenant)
	st.secrets.Watch(a.db)
	a.identity = st.identity
	if err := withRoom(func() error { return st.issuer.EnsureSigningKey(ctx, a.db) }); err != nil {
		return fmt.Errorf("make sure of a token signing key: %w", err)
	}
	node := nodeName()
	archive := &audit.Archive{
		Folder: a.config.Audit.SegmentDir, Node: node, Deployment: a.deployment.id, Tenant: tenant,
		MaxAge: a.config.Audit.SegmentAge, MaxEntries: int64(a.config.Audit.SegmentEntries),
	}
	a.pipeline = &operation.Pipeline{
		DB: a.db, Authz: st.rights, Issuer: st.issuer, Families: a.families, Counter: a.counter,
		Log: a.log, Node: node, Observe: a.metrics.request,
		OnTampered: a.metrics.tampered.Inc, Admission: a.newAdmission(), IsShort: a.ballast.IsShort,
	}
	a.scheduler = &schedule.Scheduler{
		DB: a.db, Log: a.log, Node: node, Vaults: st.vaults, Secrets: st.secrets, Issuer: st.issuer, Pipeline: a.pipeline,
		Archive: archive, RootKeys: a.roots.look, Renewed: forgetPassphrases,
		Keyring:    func(tx *db.Tx) error { return keyring.Prove(tx, a.roots.keys, a.deployment.id) },
		ScrubEvery: a.config.ScrubInterval, Scrubbed: a.metrics.scrubs.Inc,
	}
	challengeTenant := tenant
	if a.config.Tokens.ChallengeTenant == "adfs" {
		challengeTenant = "adfs"
	}
	loginOptions := a.loginOptions(st)
	a.managed = login.NewManaged(loginOptions)
	a.faces = map[resource.FaceName]*operation.Table{
		resource.Vault: dataplane.New(dataplane.Options{
			Ring: ring, Vaults: st.vaults, Secrets: st.secrets, Region: a.config.Region, ChallengeTenant: challengeTenant,
		}),
		resource.Management: arm.New(arm.Options{
			Skip: ring, Vaults: st.vaults, Authz: st.rights, Identity: a.identity, Tenant: tenant,
			Subscription: a.deployment.subscription, SubscriptionName: "Strongroom", Region: a.config.Region,
			Number: a.scheduler.Number, Audit: archive, Dump: a.dump, About: a.about(ring),
			NextRootKey: a.nextRootKey,
		}),
		resource.Login: login.New(loginOptions),
		resource.Graph: graph.New(graph.Options{Store: a.identity, Tenant: tenant}),
	}
	a.scheduler.DataPlane, a.scheduler.Management = a.faces[resource.Vault], a.faces[resource.Management]
	return nil
}

// warn logs a finding of the doctor that does not keep the server from starting.
func (a *app) warn(ctx context.Context, what string, f Finding) {
	if !f.OK {
		a.log.LogAttrs(ctx, slog.LevelWarn, what, slog.String("found", f.Found), slog.String("to_mend", f.Mend))
	}
}

// stores are what holds the rules about each kind of row.
type stores struct {
	identity *identity.Store
	rights   *authz.Store
	secrets  *secrets.Store
	vaults   *vaults.Store
	issuer   *identity.Issuer
}

func newStores(cfg config.Config, ring *envelope.Ring, tenant string) stores {
	var s stores
	s.identity = &identity.Store{Ring: ring, Tenant: tenant}
	s.rights = &authz.Store{Tenant: tenant, Identity: s.identity}
	s.secrets = &secrets.Store{Ring: ring, Tenant: tenant}
	s.vaults = &vaults.Store{
		Ring: ring, Tenant: tenant, Authz: s.rights,
		Contents: []func(*db.Tx, string) error{s.secrets.PurgeAll},
	}
	s.issuer = identity.NewIssuer(s.identity, cfg.Tokens.Lifetime, cfg.Tokens.KeyRotation)
	return s
}

// prover proves all that is stored, as the scrub does, without a server around it.
func (s stores) prover() *schedule.Scheduler {
	return &schedule.Scheduler{Vaults: s.vaults, Secrets: s.secrets, Issuer: s.issuer, Pipeline: &operation.Pipeline{Authz: s.rights}}
}

// proveDeployment reads again, now with keys, what the keys were opened by.
func (a *app) proveDeployment(ctx context.Context) error {
	return a.db.View(ctx, func(tx *db.Tx) error {
		proven, err := readDeployment(tx)
		if err == nil && proven != a.deployment {
			err = errors.New("the database was initialised anew meanwhile: start again")
		}
		if err == nil && tx.HasTestClock() {
			_, err = tx.Meta(db.MetaTestClock) // proves that it was init that allowed it
		}
		return err
	})
}

// Widths of the gates, see internal/fair: one caller alone may have 128 requests at work, half of what
// a commit takes; where there are several, what a width says, and one more for each that has none. Writes
// are dearer: where there are several writers, 2 and one more. The rest wait, and beyond that are told to
// come again.
var (
	workLimits  = fair.Limits{Inside: 128, Shared: leastShared, Waiting: 4096, WaitingPerKey: 1024}
	writeLimits = fair.Limits{Inside: 128, Shared: 2, Waiting: 4096, WaitingPerKey: 1024}
)

// limiterKeys bounds what the limiters remember, at about 64 bytes a key.
const limiterKeys = 1 << 16

// newAdmission makes gates and limiters. Each limiter lets twice its rate come at once.
func (a *app) newAdmission() operation.Admission {
	l := a.config.Limits
	limiter := func(rate int) *fair.Limiter { return fair.NewLimiter(float64(rate), 2*rate, limiterKeys) }
	work := fair.NewGate(workLimits)
	a.width.gate.Store(work)
	return operation.Admission{
		Work: work, Writes: work.Beside(writeLimits),
		Anonymous: limiter(l.AnonymousRate), Identity: limiter(l.IdentityRate), Vault: limiter(l.VaultRate),
	}
}

func (a *app) loginOptions(st stores) login.Options {
	return login.Options{
		Store: a.identity, Issuer: st.issuer, Tenant: a.deployment.tenant,
		Subscription: a.deployment.subscription, UID: os.Geteuid(), RunFamily: a.families[len(a.families)-1],
		OpenRun: func(o login.RunOptions, say func(string)) (login.OpenRun, error) { return a.openRun(st.vaults, o, say) },
	}
}

// openCA opens the local authority, for the hosts of all families, where no TLS files were given.
func (a *app) openCA() (err error) {
	if a.files != nil {
		return nil
	}
	var domains, wildcards []string
	for _, f := range a.families {
		domains = append(domains, f.VaultSuffix, f.Login, f.Management, f.Graph)
		wildcards = append(wildcards, "*."+f.VaultSuffix, "*."+f.Login)
	}
	isNew := !exists(filepath.Join(a.config.DataDir, localca.File))
	if a.ca, err = localca.Open(a.config.DataDir, domains, time.Now); err != nil {
		return fmt.Errorf("local certificate authority: %w", err)
	}
	if isNew { // who has lost the old one sees why clients trust us no more
		a.log.Info("made a local certificate authority, which clients have to trust", slog.String("file", a.caFile()))
	}
	a.ca.Wildcards, a.ca.Default = wildcards, a.families[0].Management
	return nil
}

func (a *app) caFile() string {
	if a.ca == nil {
		return ""
	}
	return filepath.Join(a.config.DataDir, localca.File)
}

func (a *app) identityURL() string {
	if a.config.IdentityListen == config.Off {
		return ""
	}
	return "http://" + a.config.IdentityListen
}

func (a *app) ready() Ready {
	f := a.families[0]
	r := Ready{
		VaultURL: f.VaultURL("dev"), LoginURL: f.LoginURL(), ManagementURL: f.ManagementURL(), IdentityURL: a.identityURL(),
		Socket: a.config.Socket, CAFile: a.caFile(),
		Tenant: a.deployment.tenant, Subscription: a.deployment.subscription, Group: a.deployment.group,
	}
	if a.config.MetricsListen != config.Off {
		r.MetricsURL = "http://" + a.config.MetricsListen
	}
	return r
}

// about is what the command line learns over the local socket.
func (a *app) about(ring *envelope.Ring) arm.About {
	f := a.families[0]
	return arm.About{
		Tenant: a.deployment.tenant, Subscription: a.deployment.subscription, Group: a.deployment.group,
		ManagementHost: f.ManagementHost().Text, GraphHost: f.GraphHost().Text, LoginHost: f.LoginHost().Text,
		VaultSuffix: f.VaultHost("x").Suffix, RunVaultSuffix: a.families[len(a.families)-1].VaultHost("x").Suffix,
		Listen: a.config.Listen, CAFile: a.caFile(), Version: a.version, Region: a.config.Region,
		AuditKeys: string(envelope.EncodeVerifyKeys(ring.VerifyKeys())),
	}
}

func (a *app) close() {
	if err := a.db.Close(); err != nil {
		a.log.Error("the database did not close cleanly", slog.Any("error", err))
	}
}

// nodeName tells nodes apart in entries and leases; two processes on one host differ.
func nodeName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	return fmt.Sprintf("%.40s/%d", host, os.Getpid())
}
