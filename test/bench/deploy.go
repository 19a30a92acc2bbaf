package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// A place is a kind of deployment: rows that name the same one share it.
type place struct {
	name       string
	secrets    int
	entries    int // of the audit log, at least, all in the database
	postgresql bool
}

// A deployment is a folder with a filled server's data. state survives it when -dir keeps it.
type deployment struct {
	b     *bench
	dir   string
	state state
	url   string // of PostgreSQL, if it is there
}

// A state is what has to be known to start a deployment again. The client secrets open nothing but
// this deployment of made-up values.
type state struct {
	Listen      string
	Load, Rival identity // who brings the load, and who disturbs it
	Secrets     int
	Entries     int
}

type identity struct{ Tenant, ClientID, ClientSecret string }

const vaultName = "dev"

// deployment makes and fills a place, once.
func (b *bench) deployment(ctx context.Context, p place) (*deployment, error) {
	if d, ok := b.deployments[p.name]; ok {
		return d, nil
	}
	d := &deployment{b: b, dir: filepath.Join(b.dir, p.name)}
	if p.postgresql {
		if err := d.usePostgreSQL(ctx); err != nil {
			return nil, err
		}
	}
	if !d.load(p) {
		if err := d.make(ctx, p); err != nil {
			return nil, fmt.Errorf("make a deployment of %s secrets: %w", count(float64(p.secrets)), err)
		}
	}
	b.deployments[p.name] = d
	return d, nil
}

// load finds what an earlier run left.
func (d *deployment) load(p place) bool {
	text, err := os.ReadFile(d.stateFile())
	return err == nil && d.url == "" && json.Unmarshal(text, &d.state) == nil && d.state.Secrets == p.secrets && d.state.Entries == p.entries
}

func (d *deployment) stateFile() string { return filepath.Join(d.dir, "bench.json") }

// make leaves a complete deployment or none that load would find.
func (d *deployment) make(ctx context.Context, p place) (err error) {
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if d.state.Listen, err = freeAddress(); err != nil {
		return err
	}
	d.state.Secrets, d.state.Entries = p.secrets, p.entries
	server, err := d.start()
	if err != nil {
		return err
	}
	defer server.stop()
	if err := d.waitReady(ctx, server); err != nil {
		return err
	}
	if d.state.Load, err = d.makeIdentity(ctx, "load"); err != nil {
		return err
	}
	if d.state.Rival, err = d.makeIdentity(ctx, "rival"); err != nil {
		return err
	}
	if err := d.fill(ctx, server); err != nil {
		return err
	}
	text, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	return os.WriteFile(d.stateFile(), text, 0o600)
}

// socket is short: systems allow about a hundred bytes.
func (d *deployment) socket() string { return filepath.Join(d.b.scratch, filepath.Base(d.dir)+".s") }

// start starts the server; it may not listen yet. Settings come last and win.
func (d *deployment) start(settings ...string) (*process, error) {
	args := []string{"dev", "--data-dir", filepath.Join(d.dir, "data"), "--listen", d.state.Listen}
	all := []string{"metrics_listen=off", "identity_listen=off", "log.level=warn", "socket=" + d.socket()}
	if d.url != "" {
		all = append(all, "database.engine=postgresql", "database.url="+d.url)
	}
	if d.state.Entries > 0 { // none leaves the database
		all = append(all, "audit.segment_entries=10000000", "audit.segment_age=8760h")
	}
	all = append(append(all, d.b.settings...), settings...)
	for _, s := range all {
		args = append(args, "--set", s)
	}
	return d.b.start(d.b.binary, args...)
}

// run starts the server, waits until it reads the first secret, and returns it with its load still
// to be set.
func (d *deployment) run(ctx context.Context, settings ...string) (*process, *target, error) {
	p, err := d.start(settings...)
	if err != nil {
		return nil, nil, err
	}
	t, err := d.target(ctx, p)
	if err == nil {
		t.load = load{reads: []*request{get(0)}}
		err = t.waitFirst(ctx, p)
	}
	if err != nil {
		p.stop()
		return nil, nil, fmt.Errorf("start the server: %w", err)
	}
	return p, t, nil
}

// target waits for the server and signs in.
func (d *deployment) target(ctx context.Context, p *process) (*target, error) {
	if err := d.waitReady(ctx, p); err != nil {
		return nil, err
	}
	token, err := d.signIn(ctx, d.state.Load)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(d.state.Listen)
	host := vaultName + ".vault.localhost"
	ca, err := os.ReadFile(filepath.Join(d.dir, "data", "ca.pem"))
	if err != nil {
		return nil, err
	}
	config, err := trust(ca, host)
	return &target{
		endpoint: endpoint{address: d.state.Listen, host: net.JoinHostPort(host, port), token: token, tls: config},
		pid:      p.pid(),
	}, err
}

// waitReady waits until the vault's listener and the local socket answer.
func (d *deployment) waitReady(ctx context.Context, p *process) error {
	deadline := time.Now().Add(patience)
	for {
		err := d.command(ctx, nil, "vault", "list")
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended: %s", p.log.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server was not ready within %s: %w: %s", patience, err, p.log.String())
		}
	}
}

// command runs the command line against the server. out may be nil, *string or a type for JSON.
func (d *deployment) command(ctx context.Context, out any, args ...string) error {
	args = append(args, "--socket", d.socket())
	if _, plain := out.(*string); !plain {
		args = append(args, "--output", "json")
	}
	cmd := exec.CommandContext(ctx, d.b.binary, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("strongroom %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *string:
		*out = strings.TrimSpace(string(text))
		return nil
	default:
		return json.Unmarshal(text, out)
	}
}

// makeIdentity makes an application that signs in with a secret: a role at the vault, as programs
// have it.
func (d *deployment) makeIdentity(ctx context.Context, name string) (who identity, err error) {
	var made struct {
		AppID  string `json:"appId"`
		Tenant string `json:"appOwnerOrganizationId"`
	}
	if err := d.command(ctx, &made, "identity", "create", name); err != nil {
		return who, err
	}
	who.ClientID, who.Tenant = made.AppID, made.Tenant
	if err := d.command(ctx, &who.ClientSecret, "identity", "add-secret", name); err != nil {
		return who, err
	}
	return who, d.command(ctx, nil, "role", "assign", "--role", "Key Vault Secrets Officer", "--to", name, "--vault", vaultName)
}

// signIn fetches a token with the client secret, as an SDK does.
func (d *deployment) signIn(ctx context.Context, who identity) (string, error) {
	const host = "login.localhost"
	ca, err := os.ReadFile(filepath.Join(d.dir, "data", "ca.pem"))
	if err != nil {
		return "", err
	}
	config, err := trust(ca, host)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", d.state.Listen)
	}}
	defer transport.CloseIdleConnections()
	_, port, _ := net.SplitHostPort(d.state.Listen)
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).PostForm(
		"https://"+net.JoinHostPort(host, port)+"/"+who.Tenant+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {who.ClientID}, "client_secret": {who.ClientSecret},
			"scope": {"https://vault.localhost:" + port + "/.default"},
		})
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.UnmarshalRead(resp.Body, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("sign in: status %d: %w", resp.StatusCode, errors.Join(err, errors.New(answer.Error)))
	}
	return answer.Token, nil
}

// fillers is how many connections fill a vault: enough for commits to be shared.
const fillers = 128

// fill writes the secrets, and then reads them until the audit log has its entries.
func (d *deployment) fill(ctx context.Context, server *process) error {
	t, err := d.target(ctx, server)
	if err != nil {
		return err
	}
	if err := d.askAll(ctx, t, "secrets", d.state.Secrets, put); err != nil {
		return err
	}
	return d.askAll(ctx, t, "entries", d.state.Entries, func(i int) *request { return get(i % d.state.Secrets) })
}

// askAll makes n requests, over many connections.
func (d *deployment) askAll(ctx context.Context, t *target, what string, n int, ask func(i int) *request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	var failures [fillers]error
	var workers sync.WaitGroup
	for w := range fillers {
		workers.Go(func() {
			if failures[w] = askSome(ctx, t, &next, n, ask); failures[w] != nil {
				cancel()
			}
		})
	}
	filled := make(chan struct{})
	go func() { workers.Wait(); close(filled) }()
	for {
		select {
		case <-filled:
			return errors.Join(failures[:]...)
		case <-time.After(200 * time.Millisecond):
			d.b.progress("fill: %s of %s %s", count(float64(min(int(next.Load()), n))), count(float64(n)), what)
		}
	}
}

// askSome is one connection's part of it.
func askSome(ctx context.Context, t *target, next *atomic.Int64, n int, ask func(i int) *request) error {
	c, err := t.dial(time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	defer c.close()
	for ctx.Err() == nil {
		i := int(next.Add(1)) - 1
		if i >= n {
			return nil
		}
		if _, err := c.must(ask(i)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func secretName(i int) string { return fmt.Sprintf("s%06d", i) }

// secretValue is as long as passwords and keys of services are, and different for each name, so
// that one secret's value under another's name is noticed.
func secretValue(i int) string {
	return "value-of-" + secretName(i) + "-0123456789abcdef0123456789abcdef"
}

const apiVersion = "?api-version=7.6"

func get(i int) *request {
	return &request{method: "GET", target: "/secrets/" + secretName(i) + apiVersion, want: []byte(`"value":"` + secretValue(i) + `"`)}
}

func put(i int) *request {
	q := get(i)
	q.method, q.body = "PUT", `{"value":"`+secretValue(i)+`"}`
	return q
}
