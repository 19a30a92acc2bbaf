package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"strongroom/internal/apierr"
	"strongroom/internal/childproxy"
	"strongroom/internal/db"
	"strongroom/internal/localca"
	"strongroom/internal/login"
	"strongroom/internal/operation"
	"strongroom/internal/resource"
	"strongroom/internal/vaults"
)

// A programRun is the way of one program to us: a proxy of its own, with an authority of its own, under names
// of its own. Nothing of it touches the disk.
type programRun struct {
	app     *app
	vaults  *vaults.Store
	options login.RunOptions
	led     map[string]string // names of vaults that lead elsewhere, in lower case
	say     func(string)
}

const (
	// maxRuns leaves room at the local socket, where each run has a connection, for other commands.
	maxRuns = socketConnections / 2
	// runConnections bounds the connections of one run's program to our own names.
	runConnections = 1000
	// endRunWithin is how long requests under way have to end when their run does.
	endRunWithin = 2 * time.Second
)

// openRun opens the proxy of a run, if there are not too many.
func (a *app) openRun(store *vaults.Store, o login.RunOptions, say func(string)) (login.OpenRun, error) {
	if a.runs.Add(1) > maxRuns {
		a.runs.Add(-1)
		return login.OpenRun{}, fmt.Errorf("there are %d runs already; end one first", maxRuns)
	}
	opened, err := a.newRun(store, o, say)
	if err != nil {
		a.runs.Add(-1)
	}
	return opened, err
}

func (a *app) newRun(store *vaults.Store, o login.RunOptions, say func(string)) (login.OpenRun, error) {
	o.Run.Families = a.runFamilies(o.Tenant)
	r := &programRun{app: a, vaults: store, options: o, led: map[string]string{}, say: say}
	for from, to := range o.Vaults {
		r.led[strings.ToLower(from)] = to
	}
	ca, err := r.newCA()
	if err != nil {
		return login.OpenRun{}, err
	}
	proxy, err := childproxy.Listen(childproxy.Options{Route: r.route, Identity: a.withDeadlines(http.HandlerFunc(r.serveIdentity)), Log: say})
	if err != nil {
		return login.OpenRun{}, err
	}
	server := a.httpServer(http.HandlerFunc(r.serve))
	server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return r.certificate(ca, hello) },
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(tls.NewListener(limited(proxy.Own(), runConnections), server.TLSConfig)) }) // ends with the proxy
	end := func() {
		err := proxy.Close()
		serving.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), endRunWithin)
		defer cancel()
		if server.Shutdown(ctx) != nil { // requests under way are answered, if they end in time
			err = errors.Join(err, server.Close())
		}
		if err != nil {
			a.log.Warn("the proxy of a run did not close cleanly", slog.Any("error", err))
		}
		a.runs.Add(-1)
	}
	trusted := ca.CertificatePEM()
	if a.ca != nil { // for connections to our own names that go by no proxy
		trusted = append(trusted, a.ca.CertificatePEM()...)
	}
	return login.OpenRun{ProxyURL: proxy.URL(), CA: trusted, Stopping: a.stopping, Close: end}, nil
}

// runFamilies are the names of Azure's clouds, and our own.
func (a *app) runFamilies(tenant string) resource.Families {
	families := append(resource.Clouds(), a.families...)
	for i := range families {
		families[i].InRun, families[i].Tenant = true, tenant
	}
	return families
}

// newCA makes the authority of all names of the run.
func (r *programRun) newCA() (*localca.CA, error) {
	var domains, wildcards []string
	for _, f := range r.options.Run.Families {
		hosts := append([]string{f.VaultSuffix, f.Login, f.Management, f.Graph}, f.LoginAliases[:]...)
		domains = append(domains, slices.DeleteFunc(hosts, func(host string) bool { return host == "" })...)
		wildcards = append(wildcards, "*."+f.VaultSuffix, "*."+f.Login)
	}
	ca, err := localca.InMemory(domains, time.Now)
	if err != nil {
		return nil, err
	}
	ca.Wildcards = wildcards
	return ca, nil
}

// certificate is for the name that the connection was opened to, and no other.
func (r *programRun) certificate(ca *localca.CA, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	conn, ok := bare(hello.Conn).(*childproxy.OwnConn)
	if !ok {
		return nil, errors.New("a connection that did not come by the proxy")
	}
	if name := strings.ToLower(strings.TrimSuffix(hello.ServerName, ".")); name != conn.Host {
		r.say(fmt.Sprintf("a connection to %s asked for the certificate of another name", conn.Host))
		return nil, errors.New("the server name is not the host that the connection was opened to")
	}
	return ca.GetCertificate(hello)
}

// route says what becomes of a name that the program connects to.
func (r *programRun) route(ctx context.Context, host string) childproxy.Route {
	if own, ok := r.options.Run.Families.Resolve(host); ok {
		if own.Face == resource.Vault {
			return r.routeVault(ctx, own)
		}
		return childproxy.Route{Own: true}
	}
	switch {
	case isLoopback(host):
		return childproxy.Route{}
	case r.options.Offline:
		return childproxy.Route{Refusal: host + " was not reached: this run is offline (--offline)"}
	case resource.IsAzure(host) && !r.options.AllowAzure:
		return childproxy.Route{Refusal: host + " was not reached: it is Azure's, and nothing here stands for it; to let the program write to the real one, strongroom run --allow-azure"}
	}
	return childproxy.Route{}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// routeVault refuses a vault that is not there, as a name without a host.
func (r *programRun) routeVault(ctx context.Context, host resource.Host) childproxy.Route {
	name := r.lead(host.Vault)
	err := r.app.db.View(ctx, func(tx *db.Tx) error {
		_, err := r.vaults.Named(tx, name)
		return err
	})
	if refusal, ok := apierr.As(err); ok && refusal.Kind == apierr.NotFoundKind {
		line := fmt.Sprintf("%s was not reached: there is no vault %q; to make it: strongroom vault create %s", host.Text, name, name)
		if name == host.Vault {
			line += ", or lead it to another: strongroom run --vault NAME"
		}
		return childproxy.Route{Refusal: line}
	}
	return childproxy.Route{Own: true} // what else is wrong, the request will tell
}

// lead is the vault of ours that a vault's name in the program stands for.
func (r *programRun) lead(name string) string {
	if to, ok := r.led[strings.ToLower(name)]; ok {
		return to
	}
	if r.options.Vault != "" {
		return r.options.Vault
	}
	return strings.ToLower(name)
}

// serve serves our own names.
func (r *programRun) serve(w http.ResponseWriter, req *http.Request) {
	host, ok := r.options.Run.Families.Resolve(req.Host)
	name, _, _ := resource.SplitHost(req.Host)
	if !ok || strings.ToLower(strings.TrimSuffix(name, ".")) != openedTo(req) { // what is refused by name is not reached by another
		http.Error(w, "this run does not answer for the host of the request", http.StatusMisdirectedRequest)
		return
	}
	if host.Face == resource.Vault {
		host.Vault = r.lead(host.Vault)
	}
	r.do(w, req, r.app.faces[host.Face], host)
}

// openedTo is the host that the request's connection was opened to.
func openedTo(req *http.Request) string {
	c, _ := req.Context().Value(connKey{}).(net.Conn)
	if t, ok := c.(*tls.Conn); ok {
		c = bare(t.NetConn())
	}
	own, ok := c.(*childproxy.OwnConn)
	if !ok {
		return ""
	}
	return own.Host
}

// serveIdentity serves the managed identity endpoint, whatever its host is called.
func (r *programRun) serveIdentity(w http.ResponseWriter, req *http.Request) {
	host := r.options.Run.Families[0].LoginHost()
	host.Text = req.Host // the face refuses names that a web page could have led here
	r.do(w, req, r.app.managed, host)
}

func (r *programRun) do(w http.ResponseWriter, req *http.Request, t *operation.Table, host resource.Host) {
	out := newRequest(req, host)
	out.Peer.Run = r.options.Run
	r.app.do(w, req, t, out)
}
