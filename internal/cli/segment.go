package cli

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"slices"

	"github.com/go-json-experiment/json"

	"strongroom/internal/audit"
	"strongroom/internal/envelope"
	"strongroom/internal/segment"
)

func (c *call) printAuditKey() error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	if cl.AuditKeys == "" {
		return failed("run it on the server's machine, without --server", "the server tells its audit key over the local socket alone")
	}
	_, err = fmt.Fprint(c.out, cl.AuditKeys)
	return err
}

// auditKeys are the keys of the file that --key names, or of the server.
func (c *call) auditKeys() ([]ed25519.PublicKey, error) {
	name := c.text("key")
	if name == "" {
		cl, err := c.client()
		if err != nil {
			return nil, failed("without a server, give its public key with --key FILE", "%w", err)
		}
		return envelope.ParseVerifyKeys([]byte(cl.AuditKeys))
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, failed("", "--key: %w", err)
	}
	keys, err := envelope.ParseVerifyKeys(text)
	if err != nil {
		return nil, failed("\"strongroom audit key\" prints it", "--key %s: %w", name, err)
	}
	return keys, nil
}

// verifySegments proves each file, and that each goes on where the one before ends.
func (c *call) verifySegments() error {
	if len(c.args) == 0 {
		return usage("", "want the files of the segments to verify")
	}
	keys, err := c.auditKeys()
	if err != nil {
		return err
	}
	var before *segment.Segment
	for _, name := range slices.Sorted(slices.Values(c.args)) {
		s, err := c.verifySegment(name, keys)
		if err != nil {
			return failed("", "%s: %w", name, err)
		}
		if before != nil && (s.Index.First != before.Index.Last+1 || s.Index.Previous != hex.EncodeToString(before.Digest)) {
			return failed("give all segments of the range, and of two that begin at one position the one that the next follows", "%s begins at position %d and does not follow the one that ends at %d",
				name, s.Index.First, before.Index.Last)
		}
		before = s
	}
	return nil
}

func (c *call) verifySegment(name string, keys []ed25519.PublicKey) (*segment.Segment, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := segment.Open(f, info.Size(), keys)
	if err != nil {
		return nil, err
	}
	printed, _ := c.flags.GetBool("print")
	err = s.Records(s.Index.First, func(position int64, record []byte) (bool, error) {
		e, err := audit.Decode(record)
		if err != nil || !printed {
			return true, err
		}
		line, err := json.Marshal(e.Record(position))
		if err == nil {
			err = c.writeLine(line)
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if !printed {
		_, err = fmt.Fprintf(c.out, "%s: entries %d to %d of tenant %s are as they were closed\n", name, s.Index.First, s.Index.Last, s.Index.Tenant)
	}
	return s, err
}
