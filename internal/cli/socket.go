package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"strongroom/internal/peer"
)

// Where a server that nobody named is looked for: of "dev" in this folder, of "serve".
const (
	devDataDir   = ".strongroom"
	serveDataDir = "/var/lib/strongroom"
	socketName   = "strongroom.sock"
)

const startHint = `start one with "strongroom dev", or name one with --socket`

func socketFlags(f *pflag.FlagSet) {
	f.String("socket", "", "the local socket of the server (STRONGROOM_SOCKET)")
	f.String("data-dir", "", "the data folder of the server, which holds its socket (STRONGROOM_DATA_DIR;\notherwise .strongroom in this folder, then "+serveDataDir+")")
}

// A socket is a place where a server may listen.
type socket struct {
	path string
	// ownOnly demands a server of our own user. A socket that we only find in the current
	// folder may be a trap: someone else's server would be told our secrets.
	ownOnly bool
}

// sockets are the places to look, in order.
func (c *call) sockets() []socket {
	if path := c.either("socket", "STRONGROOM_SOCKET"); path != "" {
		return []socket{{path: path}}
	}
	if dir := c.either("data-dir", "STRONGROOM_DATA_DIR"); dir != "" {
		return []socket{{path: filepath.Join(dir, socketName)}}
	}
	return []socket{
		{path: filepath.Join(devDataDir, socketName), ownOnly: true},
		{path: filepath.Join(serveDataDir, socketName)},
	}
}

// overSocket connects to the first socket that answers.
func (c *call) overSocket() (*client, error) {
	var errs []error
	var looked []string
	for _, s := range c.sockets() {
		conn, err := s.dial(c.ctx)
		if err == nil {
			conn.Close()
			return c.useSocket(s)
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, failed("run it as the user who owns the server's data, or reach the server over the network with --server", "the server's socket is for another user: %w", err)
		}
		looked = append(looked, s.path)
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, failed(startHint, "no server answers: %w", errs[0])
	}
	return nil, failed(startHint, "no server runs here: there is no socket %s%w", strings.Join(looked, ", nor "), quiet{errNoServer})
}

var errNoServer = errors.New("no server runs here")

func (s socket) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.path)
	if err != nil {
		return nil, err
	}
	if s.ownOnly {
		if err := checkOwner(conn, s.path); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// checkOwner refuses a server of another user, where the system tells whose it is.
func checkOwner(conn net.Conn, path string) error {
	uid, known, err := peer.UnixUID(conn)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	if known && uid != os.Geteuid() {
		return fmt.Errorf("socket %s is of user %d, not yours; name it with --socket if you trust it", path, uid)
	}
	return nil
}

// useSocket makes the client and learns the server's hosts.
func (c *call) useSocket(s socket) (*client, error) {
	cl := &client{scheme: "http", http: newHTTPClient(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
	})}
	if err := cl.get(c.ctx, place{host: "local"}, "/about?api-version="+vaultVersion, &cl.about); err != nil {
		return nil, fmt.Errorf("socket %s: %w", s.path, err)
	}
	return cl, nil
}
