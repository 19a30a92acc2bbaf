package peer

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// dial returns both ends of a connection to a listener on network and address.
func dial(t *testing.T, network, address string) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { listener.Close() })
	return connect(t, listener, network, listener.Addr().String())
}

// connect returns both ends of a connection to listener, which the client calls address.
func connect(t *testing.T, listener net.Listener, network, address string) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestUnixUID(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the system does not tell")
	}
	_, server := dial(t, "unix", filepath.Join(t.TempDir(), "s"))
	uid, ok, err := UnixUID(server)
	if uid != os.Geteuid() || !ok || err != nil {
		t.Errorf("UnixUID = %d, %v, %v; want %d, true, no error", uid, ok, err, os.Geteuid())
	}
	server.Close()
	if _, ok, err := UnixUID(server); ok || err == nil {
		t.Errorf("UnixUID of a closed connection = %v, %v; want an error", ok, err)
	}
}

func TestUnixUIDRefusesOtherConnections(t *testing.T) {
	_, server := dial(t, "tcp4", "127.0.0.1:0")
	if uid, ok, err := UnixUID(server); ok || err == nil {
		t.Errorf("UnixUID of TCP = %d, %v, %v; want an error", uid, ok, err)
	}
}
