// Package peer tells which user is at the other end of a local connection.
//
// The local socket and the managed identity endpoints hand out power without a token, to
// processes of the right user. The threat is another user of the same machine, who reaches a
// loopback port as easily as its owner. So the answer must come from the kernel, and where it
// is not certain there is none: callers refuse unless ok is true and the user is the one they
// expect.
//
// Connections over a Unix socket carry the user themselves. For TCP on loopback, Linux lists
// each socket with its owner in /proc/net/tcp and /proc/net/tcp6, and the row of the client's
// end is found by its two addresses.
package peer

import (
	"fmt"
	"net"
	"net/netip"
)

// UnixUID is the effective user id of the process that opened a Unix socket connection, as
// of its connect call. ok is false where the system does not tell (all but Linux and macOS).
// A connection of another kind is an error. User ids without a mapping into our user
// namespace read as the overflow id, usually 65534.
func UnixUID(c net.Conn) (uid int, ok bool, err error) {
	unixConn, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return 0, false, fmt.Errorf("user of a %T: want a Unix socket connection", c)
	}
	return unixUID(unixConn)
}

// LoopbackUID is the user id that owns the client's end of a TCP connection we accepted on
// loopback. ok is false, without error, where the system does not tell: not Linux, no /proc,
// or an address that is not loopback. A client whose end is no longer established is an
// error, since nobody can say any more whose it was.
//
// Ask early, best when the connection is accepted. What is proven is that this user holds
// the client's port now; a port that changed hands since then cannot read our answer, which
// goes to the connection it belongs to.
func LoopbackUID(conn net.Conn) (uid int, ok bool, err error) {
	server, serverOK := loopback(conn.LocalAddr())
	client, clientOK := loopback(conn.RemoteAddr())
	if !serverOK || !clientOK {
		return 0, false, nil
	}
	return loopbackUID(client, server)
}

// loopback is the TCP address in plain form (IPv4 in IPv6 unwrapped), if it is a loopback one.
func loopback(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	addr := ap.Addr().Unmap()
	return netip.AddrPortFrom(addr, ap.Port()), addr.IsLoopback()
}
