// Package dump is the format of a dump: everything that a deployment's database holds, in one stream,
// the same for both engines. It knows bytes and nothing of databases; docs/formats.md draws it.
//
//	dump    = "strongroom dump 1\n" frame…
//	frame   = kind, length (4 bytes), payload; numbers are big endian
//	  'H'     the header, JSON: first, once
//	  'T'     a table begins: name, number of columns (2 bytes), names of columns
//	  'R'     a row of it: its values, one a column
//	  'E'     the end: number of tables (2 bytes), each one's name and number of rows (8 bytes); then
//	          SHA-256 of every byte of the dump that stands before it. Nothing follows.
//	name    = length (2 bytes), lower-case letters, digits and '_'
//	value   = 0 | 1 int64 (8 bytes) | 2 length (4 bytes) text in UTF-8 | 3 length (4 bytes) bytes
//
// A value has one encoding: null, a number (true is 1, false is 0), text, bytes. Rows are written as
// they are stored: values of secrets are sealed, under data keys that the root key wraps. A dump is
// nevertheless encrypted as a whole before it reaches a disk (age, by the command line): names, tags
// and the audit log are in it.
//
// The threats are a dump that is cut short, changed, put together from two, or made by an enemy to
// whoever restores it. The first three are met here: what a Reader has read to its end is what a
// Writer wrote. The checksum is no proof of who that was; that is for the rows' own MACs, which
// need the root key. A Reader's memory is bounded by MaxRow, whatever the bytes say.
package dump

import (
	"errors"
	"fmt"
	"time"
)

// Magic begins a dump: the format's name and version. A version that changes anything has another.
const Magic = "strongroom dump 1\n"

// MaxRow bounds a frame, in bytes, and with it what a Reader holds at a time.
const MaxRow = 64 << 20

// Bounds of what is small in every dump that a Writer made.
const (
	maxHeader  = 64 << 10
	maxTables  = 1000
	maxColumns = 200
	maxName    = 63
)

// The kinds of frames.
const (
	headerFrame = 'H'
	tableFrame  = 'T'
	rowFrame    = 'R'
	endFrame    = 'E'
)

// The kinds of values.
const (
	nullValue  = 0
	intValue   = 1
	textValue  = 2
	bytesValue = 3
)

// A Header says whose dump it is and of when. It is checked against the rows after they were
// loaded, and decides nothing by itself.
type Header struct {
	Release       string    `json:"release"` // that made the dump
	Deployment    string    `json:"deployment"`
	Tenant        string    `json:"tenant"`
	Engine        string    `json:"engine"` // that the rows come from: sqlite or postgresql
	Schema        int64     `json:"schema"` // the number of the last migration
	Time          time.Time `json:"time"`   // of the snapshot, UTC
	Authorisation int64     `json:"authorisation"`
	Directory     int64     `json:"directory"` // revisions, as in progress.json
	Entries       int64     `json:"entries"`   // position of the last numbered audit entry
	RootKeys      []string  `json:"rootKeys"`  // ids of those that wrapped the keyring
}

// check refuses a header that does not say whose dump it is and of when.
func (h Header) check() error {
	switch {
	case h.Deployment == "", h.Tenant == "", h.Engine == "", h.Time.IsZero(), len(h.RootKeys) == 0:
		return changed("its header lacks deployment, tenant, engine, time or root keys")
	case h.Schema < 1, h.Authorisation < 0, h.Directory < 0, h.Entries < 0:
		return changed("its header has a number out of range")
	}
	return nil
}

// A Table is the beginning of a table.
type Table struct {
	Name    string
	Columns []string
}

// A Count is how many rows a table has.
type Count struct {
	Table string
	Rows  int64
}

// A Trailer ends a dump.
type Trailer struct {
	Counts []Count // in the order of the tables
	SHA256 [32]byte
}

// What may be wrong with bytes that should be a dump. An error has one of them in its chain, or comes
// from the stream that was read.
var (
	// ErrForeign: the bytes are something else, or a version of the format that is not known here.
	ErrForeign = errors.New("no strongroom dump of a known version")
	// ErrTruncated: the bytes end before the dump does.
	ErrTruncated = errors.New("the dump is cut short")
	// ErrChanged: the bytes are not those that were written.
	ErrChanged = errors.New("the dump was changed")
	// ErrTrailing: there is something behind the end.
	ErrTrailing = errors.New("there are bytes behind the end of the dump")
)

func changed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrChanged, fmt.Sprintf(format, args...))
}

// checkName holds the names of tables and columns to letters that need no quoting in SQL.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return changed("a name has %d characters, want 1 to %d", len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && c != '_' && (c < '0' || c > '9' || i == 0) {
			return changed("the name %q, want lower-case letters, digits and _", name)
		}
	}
	return nil
}
