//go:build linux || darwin

package peer

import (
	"fmt"
	"net"
)

// unixUID asks the kernel through credentials, which the systems name differently.
func unixUID(c *net.UnixConn) (int, bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false, fmt.Errorf("user of a Unix socket connection: %w", err)
	}
	var uid uint32
	var optErr error
	err = raw.Control(func(fd uintptr) { uid, optErr = credentials(int(fd)) })
	if err == nil {
		err = optErr
	}
	if err != nil {
		return 0, false, fmt.Errorf("user of a Unix socket connection: %w", err)
	}
	return int(uid), true, nil
}
