package peer

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestLoopbackUID(t *testing.T) {
	for _, tt := range []struct{ name, network, listen, dialNetwork, dialHost string }{
		{"IPv4", "tcp4", "127.0.0.1:0", "tcp4", "127.0.0.1"},
		{"another loopback address", "tcp4", "127.0.0.9:0", "tcp4", "127.0.0.9"},
		{"IPv6", "tcp6", "[::1]:0", "tcp6", "::1"},
		{"IPv4 client, IPv6 server", "tcp", "[::]:0", "tcp4", "127.0.0.1"},
	} {
		listener, err := net.Listen(tt.network, tt.listen)
		if err != nil {
			t.Logf("%s: left out: %v", tt.name, err)
			continue
		}
		defer listener.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		_, server := connect(t, listener, tt.dialNetwork, net.JoinHostPort(tt.dialHost, port))
		uid, ok, err := LoopbackUID(server)
		if uid != os.Geteuid() || !ok || err != nil {
			t.Errorf("%s: LoopbackUID = %d, %v, %v; want %d, true, no error", tt.name, uid, ok, err, os.Geteuid())
		}
	}
}

// An IPv6 socket that speaks IPv4 is listed in the IPv6 table, with mapped addresses.
func TestLoopbackUIDOfMappedClient(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer syscall.Close(fd)
	to := &syscall.SockaddrInet6{Port: listener.Addr().(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := syscall.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	uid, ok, err := LoopbackUID(server)
	if uid != os.Geteuid() || !ok || err != nil {
		t.Errorf("LoopbackUID = %d, %v, %v; want %d, true, no error", uid, ok, err, os.Geteuid())
	}
}

// The test binary runs itself as another user to be the client.
func TestLoopbackUIDOfAnotherUser(t *testing.T) {
	const address, other = "PEER_TEST_ADDRESS", 65533
	if target := os.Getenv(address); target != "" {
		conn, err := net.Dial("tcp4", target)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Read(make([]byte, 1)) // until the parent has looked
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can start a client as another user")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestLoopbackUIDOfAnotherUser$")
	cmd.Dir = "/"
	cmd.Env = []string{address + "=" + listener.Addr().String()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	if err := cmd.Start(); err != nil {
		t.Skipf("start a client as another user: %v", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); listener.Close(); close(exited) }() // a client that fails must not leave Accept waiting
	defer func() { cancel(); <-exited }()
	server, err := listener.Accept()
	if err != nil {
		t.Skip("the other user cannot run the test binary")
	}
	defer server.Close()
	uid, ok, err := LoopbackUID(server)
	if uid != other || !ok || err != nil {
		t.Errorf("LoopbackUID = %d, %v, %v; want %d, true, no error", uid, ok, err, other)
	}
}

func TestLoopbackUIDOfClosedClient(t *testing.T) {
	client, server := dial(t, "tcp4", "127.0.0.1:0")
	client.Close()
	if uid, ok, err := LoopbackUID(server); ok || err == nil {
		t.Errorf("LoopbackUID = %d, %v, %v; want an error", uid, ok, err)
	}
}

type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (c addressed) LocalAddr() net.Addr  { return c.local }
func (c addressed) RemoteAddr() net.Addr { return c.remote }

func TestLoopbackUIDOnlyOnLoopback(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, c := range []addressed{
		{local: tcp("192.0.2.1:443"), remote: tcp("192.0.2.1:5000")},
		{local: tcp("127.0.0.1:443"), remote: tcp("192.0.2.1:5000")},
		{local: &net.UnixAddr{Name: "s", Net: "unix"}, remote: &net.UnixAddr{Net: "unix"}},
	} {
		if uid, ok, err := LoopbackUID(c); ok || err != nil {
			t.Errorf("LoopbackUID(%v) = %d, %v, %v; want false and no error", c.remote, uid, ok, err)
		}
	}
}

const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func row(local, remote, state, uid, inode string) string {
	return fmt.Sprintf("   1: %s %s %s 00000000:00000000 00:00000000 00000000 %5s        0 %s 1 0000000059d70622 20 4 30 10 -1\n",
		local, remote, state, uid, inode)
}

func TestScan(t *testing.T) {
	const local, remote = "0100007F:1F90", "0100007F:01BB"
	for _, tt := range []struct {
		name, text string
		want       owner
		found      bool
	}{
		{"established", row(local, remote, "01", "1000", "77"), owner{1000, "77"}, true},
		{"last of many", strings.Repeat(row(remote, local, "01", "5", "9"), 5000) + row(local, remote, "01", "1000", "77"), owner{1000, "77"}, true},
		{"without end of line", strings.TrimSuffix(row(local, remote, "01", "0", "77"), "\n"), owner{0, "77"}, true},
		{"highest user", row(local, remote, "01", "4294967294", "77"), owner{4294967294, "77"}, true},
		{"time wait before the live one", row(local, remote, "06", "0", "0") + row(local, remote, "01", "1000", "77"), owner{1000, "77"}, true},
		{"server's end", row(remote, local, "01", "1000", "77"), owner{}, false},
		{"other port", row("0100007F:1F91", remote, "01", "1000", "77"), owner{}, false},
		{"listening", row(local, "00000000:0000", "0A", "1000", "77"), owner{}, false},
		{"fin wait", row(local, remote, "05", "0", "0"), owner{}, false},
		{"orphan", row(local, remote, "01", "0", "0"), owner{}, false},
		{"user that is no number", row(local, remote, "01", "x", "77"), owner{}, false},
		{"user below zero", row(local, remote, "01", "-1", "77"), owner{}, false},
		{"cut row", "   1: " + local + " " + remote + " 01 0:0 0:0 0 0", owner{}, false},
		{"empty", "", owner{}, false},
	} {
		got, found, err := scan(strings.NewReader(header+tt.text), local, remote)
		if got != tt.want || found != tt.found || err != nil {
			t.Errorf("%s: scan = %v, %v, %v; want %v, %v", tt.name, got, found, err, tt.want, tt.found)
		}
	}
}

func TestScanRefusesEndlessLine(t *testing.T) {
	if _, found, err := scan(bytes.NewReader(make([]byte, 1<<20)), "a", "b"); found || err == nil {
		t.Errorf("scan = %v, %v; want an error", found, err)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add(row("0100007F:1F90", "0100007F:01BB", "01", "1000", "77"))
	f.Fuzz(func(t *testing.T, line string) {
		o, ok := match([]byte(line), "0100007F:1F90", "0100007F:01BB")
		if ok && (o.uid < 0 || o.inode == "" || o.inode == "0") {
			t.Errorf("match(%q) = %v, want a socket with an owner", line, o)
		}
	})
}
