package dump

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// A Reader reads a dump: NextTable, then Row to the end of the table, until NextTable says io.EOF.
// Only then the dump is known to be whole; what was read before must be taken back if it is not.
// It is used by one goroutine, and not after an error.
type Reader struct {
	in      *bufio.Reader
	sum     hash.Hash
	header  Header
	table   Table
	counts  []Count
	trailer Trailer

	kind    byte // of the frame that comes next
	length  int  // of its payload
	frame   bytes.Buffer
	columns []any
}

// NewReader reads the header.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), sum: sha256.New()}
	magic := make([]byte, len(Magic))
	n, err := io.ReadFull(r.in, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read the dump: %w", err)
	}
	if string(magic[:n]) != Magic {
		if err != nil && n > 0 && Magic[:n] == string(magic[:n]) {
			return nil, ErrTruncated
		}
		return nil, ErrForeign
	}
	r.sum.Write(magic)
	if err := r.next(); err != nil {
		return nil, err
	}
	if r.kind != headerFrame || r.length > maxHeader {
		return nil, changed("it does not begin with a header")
	}
	b, err := r.payload()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &r.header, json.RejectUnknownMembers(true)); err != nil {
		return nil, changed("its header is not one")
	}
	if err := r.header.check(); err != nil {
		return nil, err
	}
	return r, r.next()
}

// Header is the dump's header, which is not proven before the end is reached.
func (r *Reader) Header() Header { return r.header }

// Trailer is the dump's end, when NextTable has said io.EOF.
func (r *Reader) Trailer() Trailer { return r.trailer }

// read fills b with the bytes that come next.
func (r *Reader) read(b []byte) error {
	_, err := io.ReadFull(r.in, b)
	return r.ended(err)
}

// ended says what an error of the stream means. One of the stream itself, an encryption that does
// not hold or a connection that broke, stays as it is.
func (r *Reader) ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), err == io.ErrUnexpectedEOF:
		return ErrTruncated
	}
	return fmt.Errorf("read the dump: %w", err)
}

// next reads the head of a frame.
func (r *Reader) next() error {
	var head [5]byte
	if err := r.read(head[:]); err != nil {
		return err
	}
	r.sum.Write(head[:])
	length := binary.BigEndian.Uint32(head[1:])
	if length > MaxRow {
		return changed("a part says that it has %d bytes, want at most %d", length, MaxRow)
	}
	r.kind, r.length = head[0], int(length)
	return nil
}

// payload reads the payload of the frame. The bytes are good until the next one is read. Memory
// grows with what is there, not with what the length says.
func (r *Reader) payload() ([]byte, error) {
	r.frame.Reset()
	_, err := io.CopyN(&r.frame, r.in, int64(r.length))
	if err := r.ended(err); err != nil {
		return nil, err
	}
	r.sum.Write(r.frame.Bytes())
	return r.frame.Bytes(), nil
}

// NextTable begins the next table; io.EOF when there is none and the whole dump is as it was
// written. Rows of the table before that were not read are an error.
func (r *Reader) NextTable() (Table, error) {
	switch r.kind {
	case tableFrame:
		err := r.beginTable()
		return r.table, err
	case endFrame:
		if err := r.end(); err != nil {
			return Table{}, err
		}
		return Table{}, io.EOF
	case rowFrame:
		return Table{}, changed("a row stands where a table should begin")
	}
	return Table{}, changed("a part of kind %q is none of this version", r.kind)
}

func (r *Reader) beginTable() error {
	b, err := r.payload()
	if err != nil {
		return err
	}
	f := fields{b: b}
	t := Table{Name: f.name()}
	n := int(f.uint16())
	if len(r.counts) == maxTables || n > maxColumns {
		return changed("more than %d tables, or than %d columns", maxTables, maxColumns)
	}
	for range n {
		t.Columns = append(t.Columns, f.name())
	}
	if err := f.done(); err != nil {
		return fmt.Errorf("the beginning of a table: %w", err)
	}
	if slices.ContainsFunc(r.counts, func(c Count) bool { return c.Table == t.Name }) {
		return changed("table %q comes twice", t.Name)
	}
	r.table, r.counts = t, append(r.counts, Count{Table: t.Name})
	return r.next()
}

// Row returns the next row of the table, io.EOF after the last. Values are nil, int64, string or
// []byte. The slice is good until the next call, what is in it for ever.
func (r *Reader) Row() ([]any, error) {
	if r.kind != rowFrame {
		return nil, io.EOF
	}
	if len(r.counts) == 0 {
		return nil, changed("a row stands before the first table")
	}
	b, err := r.payload()
	if err != nil {
		return nil, err
	}
	f := fields{b: b}
	r.columns = r.columns[:0]
	for range r.table.Columns {
		r.columns = append(r.columns, f.value())
	}
	last := &r.counts[len(r.counts)-1]
	if err := f.done(); err != nil {
		return nil, fmt.Errorf("row %d of table %q: %w", last.Rows+1, last.Table, err)
	}
	last.Rows++
	return r.columns, r.next()
}

// end reads the end, and compares it with what was read.
func (r *Reader) end() error {
	if r.length < sha256.Size {
		return changed("its end is too short")
	}
	r.length -= sha256.Size
	b, err := r.payload()
	if err != nil {
		return err
	}
	sum := r.sum.Sum(nil)
	if err := r.read(r.trailer.SHA256[:]); err != nil {
		return err
	}
	if !bytes.Equal(sum, r.trailer.SHA256[:]) {
		return changed("its checksum is another")
	}
	f := fields{b: b}
	for range f.uint16() {
		r.trailer.Counts = append(r.trailer.Counts, Count{f.name(), f.count()})
		if f.err != nil {
			break
		}
	}
	if err := f.done(); err != nil {
		return fmt.Errorf("its end: %w", err)
	}
	if !slices.Equal(r.trailer.Counts, r.counts) {
		return changed("it has other numbers of rows than its end says")
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return ErrTrailing
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read the end of the dump: %w", err)
	}
	return nil
}

// fields takes a payload apart. After an error everything is empty.
type fields struct {
	b   []byte
	err error
}

func (f *fields) take(n uint32) []byte {
	if f.err == nil && uint64(n) > uint64(len(f.b)) {
		f.err = changed("a length leads beyond its part")
	}
	if f.err != nil {
		return nil
	}
	taken := f.b[:n]
	f.b = f.b[n:]
	return taken
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) int64() int64 {
	if b := f.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (f *fields) count() int64 {
	n := f.int64()
	if f.err == nil && n < 0 {
		f.err = changed("a number of rows is out of range")
	}
	return n
}

func (f *fields) name() string {
	name := string(f.take(uint32(f.uint16())))
	if f.err == nil {
		f.err = checkName(name)
	}
	return name
}

func (f *fields) value() any {
	kind := f.take(1)
	if f.err != nil {
		return nil
	}
	switch kind[0] {
	case nullValue:
		return nil
	case intValue:
		return f.int64()
	case textValue:
		text := string(f.take(f.uint32()))
		if !utf8.ValidString(text) {
			f.err = changed("a text is not in UTF-8")
		}
		return text
	case bytesValue:
		return append([]byte{}, f.take(f.uint32())...)
	}
	f.err = changed("a value of kind %d is none of this version", kind[0])
	return nil
}

// done says whether the payload was taken apart to its last byte.
func (f *fields) done() error {
	if f.err == nil && len(f.b) > 0 {
		f.err = changed("%d bytes are left over", len(f.b))
	}
	return f.err
}
