package dump

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// A Writer writes a dump: Table and its Rows for each table, then Close. It is used by one goroutine,
// and not after an error.
type Writer struct {
	out     io.Writer
	hashed  *bufio.Writer // to out and sum
	sum     hash.Hash
	counts  []Count
	columns int
	frame   []byte // reused
}

// NewWriter begins a dump.
func NewWriter(out io.Writer, h Header) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("write the dump: %w", err)
	}
	w := &Writer{out: out, sum: sha256.New()}
	w.hashed = bufio.NewWriterSize(io.MultiWriter(out, w.sum), 64<<10)
	if _, err := w.hashed.WriteString(Magic); err != nil {
		return nil, err
	}
	b, err := json.Marshal(h, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("write the header of the dump: %w", err)
	}
	if len(b) > maxHeader {
		return nil, fmt.Errorf("the header of the dump has %d bytes, want at most %d", len(b), maxHeader)
	}
	return w, w.write(headerFrame, b)
}

func (w *Writer) write(kind byte, payload []byte) error {
	if len(payload) > MaxRow {
		return fmt.Errorf("a row of table %q has %d bytes, want at most %d", w.table(), len(payload), MaxRow)
	}
	if _, err := w.hashed.Write(frameHead(kind, len(payload))); err != nil {
		return err
	}
	_, err := w.hashed.Write(payload)
	return err
}

func frameHead(kind byte, length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(length))
}

// table is the name of the table that was begun last.
func (w *Writer) table() string {
	if len(w.counts) == 0 {
		return ""
	}
	return w.counts[len(w.counts)-1].Table
}

// Table begins a table.
func (w *Writer) Table(t Table) error {
	if len(w.counts) == maxTables || len(t.Columns) > maxColumns {
		return fmt.Errorf("table %q: want at most %d tables of at most %d columns", t.Name, maxTables, maxColumns)
	}
	w.counts, w.columns = append(w.counts, Count{Table: t.Name}), len(t.Columns)
	b, err := appendName(nil, t.Name)
	if err != nil {
		return err
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.Columns)))
	for _, column := range t.Columns {
		if b, err = appendName(b, column); err != nil {
			return err
		}
	}
	return w.write(tableFrame, b)
}

func appendName(b []byte, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(name))), name...), nil
}

// Row writes a row of the table: nil, int64, bool, string or []byte for each column.
func (w *Writer) Row(values []any) error {
	if len(w.counts) == 0 || len(values) != w.columns {
		return fmt.Errorf("a row of table %q has %d values, want %d", w.table(), len(values), w.columns)
	}
	w.frame = w.frame[:0]
	for i, v := range values {
		var err error
		if w.frame, err = appendValue(w.frame, v); err != nil {
			return fmt.Errorf("table %q, column %d: %w", w.table(), i+1, err)
		}
	}
	w.counts[len(w.counts)-1].Rows++
	return w.write(rowFrame, w.frame)
}

func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(b, nullValue), nil
	case int64:
		return binary.BigEndian.AppendUint64(append(b, intValue), uint64(v)), nil
	case bool:
		n := int64(0)
		if v {
			n = 1
		}
		return appendValue(b, n)
	case string:
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("the text is not in UTF-8")
		}
		b = binary.BigEndian.AppendUint32(append(b, textValue), uint32(len(v)))
		return append(b, v...), nil
	case []byte:
		b = binary.BigEndian.AppendUint32(append(b, bytesValue), uint32(len(v)))
		return append(b, v...), nil
	}
	return nil, fmt.Errorf("a value is a %T, want a number, text or bytes", value)
}

// Close writes the end. Without it a dump is refused as cut short. The stream below stays open.
func (w *Writer) Close() (Trailer, error) {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(w.counts)))
	for _, c := range w.counts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(c.Table))), c.Table...)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Rows))
	}
	_, err := w.hashed.Write(append(frameHead(endFrame, len(b)+sha256.Size), b...))
	if err == nil {
		err = w.hashed.Flush()
	}
	if err != nil {
		return Trailer{}, err
	}
	t := Trailer{Counts: w.counts, SHA256: [32]byte(w.sum.Sum(nil))}
	_, err = w.out.Write(t.SHA256[:])
	return t, err
}
