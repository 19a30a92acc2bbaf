package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
)

const (
	// established is the state of a live connection (include/net/tcp_states.h). All others
	// are refused: TIME_WAIT and orphaned sockets are listed under user 0.
	established = "01"

	// tries is how often a row is looked for: the kernel lists sockets bucket by bucket and
	// may skip one when a neighbour goes away between two reads.
	tries = 3
)

// A table is one of the kernel's lists of sockets.
type table struct {
	path string
	wide bool // IPv6: IPv4 addresses appear mapped
}

var (
	table4 = table{path: "/proc/net/tcp"}
	table6 = table{path: "/proc/net/tcp6", wide: true}
)

// An owner is what identifies the socket of a row.
type owner struct {
	uid   int
	inode string
}

// loopbackUID finds the row twice. The kernel notes a row's state before its user, so a
// client that closes in that moment is listed as established and owned by user 0. If the
// same row is still established at the second look, its socket was not closed at the first,
// and the user seen then is genuine.
func loopbackUID(client, server netip.AddrPort) (int, bool, error) {
	tables := []table{table6}
	if client.Addr().Is4() {
		tables = []table{table4, table6} // an IPv6 socket may speak IPv4
	}
	first, err := find(tables, client, server)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil // no /proc: the system does not tell
	}
	if err != nil {
		return 0, false, err
	}
	second, err := find(tables, client, server)
	if err != nil {
		return 0, false, err
	}
	if first != second {
		return 0, false, fmt.Errorf("user of the connection from %s: its socket changed while being looked at", client)
	}
	return first.uid, true, nil
}

// find looks for the client's row in all tables. It fails with fs.ErrNotExist only if the
// first table is missing: a kernel without IPv6 has no second one.
func find(tables []table, client, server netip.AddrPort) (owner, error) {
	for range tries {
		for i, t := range tables {
			o, found, err := t.find(client, server)
			if found {
				return o, nil
			}
			if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
				return owner{}, fmt.Errorf("user of the connection from %s: %w", client, err)
			}
		}
	}
	return owner{}, fmt.Errorf("user of the connection from %s: its end is not established any more", client)
}

func (t table) find(client, server netip.AddrPort) (owner, bool, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return owner{}, false, err
	}
	defer f.Close()
	return scan(f, t.address(client), t.address(server))
}

// address writes an address as the kernel lists it: each 32-bit word of the network form as
// one number of the host's byte order, then the port.
func (t table) address(ap netip.AddrPort) string {
	b := ap.Addr().AsSlice()
	if t.wide {
		wide := ap.Addr().As16()
		b = wide[:]
	}
	var s []byte
	for ; len(b) > 0; b = b[4:] {
		s = fmt.Appendf(s, "%08X", binary.NativeEndian.Uint32(b))
	}
	return string(fmt.Appendf(s, ":%04X", ap.Port()))
}

// scan reads a list row by row in constant memory, until a row has the two addresses, is
// established and has an owner. Columns (Documentation/networking/proc_net_tcp.rst):
//
//	sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
func scan(r io.Reader, local, remote string) (owner, bool, error) {
	lines := bufio.NewScanner(r) // rows have some 150 bytes; one over 64 KiB is an error
	for lines.Scan() {
		if o, ok := match(lines.Bytes(), local, remote); ok {
			return o, true, nil
		}
	}
	return owner{}, false, lines.Err()
}

func match(line []byte, local, remote string) (owner, bool) {
	var o owner
	column := 0
	for field := range bytes.FieldsSeq(line) {
		ok := true
		switch column {
		case 1:
			ok = string(field) == local
		case 2:
			ok = string(field) == remote
		case 3:
			ok = string(field) == established
		case 7:
			uid, err := strconv.ParseUint(string(field), 10, 32)
			o.uid, ok = int(uid), err == nil
		case 9: // a socket that no process holds has inode 0
			o.inode = string(field)
			return o, o.inode != "0"
		}
		if !ok {
			return owner{}, false
		}
		column++
	}
	return owner{}, false
}
