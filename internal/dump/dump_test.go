package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// golden is a dump that another program wrote from the description of the format (Python's struct
// and hashlib). It is never made anew: what was dumped years ago must be read.
func golden(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/version1.dump")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// what golden holds.
var (
	goldenHeader = Header{
		Release: "v1", Deployment: "d", Tenant: "t", Engine: "sqlite", Schema: 1,
		Time:          time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		Authorisation: 7, Directory: 8, Entries: 9, RootKeys: []string{"0011223344556677"},
	}
	goldenTables = []content{
		{Table{"meta", []string{"key", "value", "row_mac"}}, [][]any{
			{"tenant_id", "t", []byte{0, 0xff}},
			{"least_reader", "1", nil},
		}},
		{Table{"empty", []string{"a_1"}}, nil},
		{Table{"vaults", []string{"rbac", "created_us", "name", "data_key_sealed"}}, [][]any{
			{int64(1), int64(-1 << 63), "Zürich\x00x", []byte{}},
			{int64(0), int64(1<<63 - 1), "", allBytes()},
		}},
	}
)

type content struct {
	table Table
	rows  [][]any
}

func allBytes() (b []byte) {
	for i := range 256 {
		b = append(b, byte(i))
	}
	return b
}

// readAll reads a dump to its end.
func readAll(in io.Reader) (h Header, tables []content, end Trailer, err error) {
	r, err := NewReader(in)
	if err != nil {
		return h, nil, end, err
	}
	for {
		table, err := r.NextTable()
		if errors.Is(err, io.EOF) {
			return r.Header(), tables, r.Trailer(), nil
		}
		if err != nil {
			return h, nil, end, err
		}
		c := content{table: table}
		for {
			row, err := r.Row()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return h, nil, end, err
			}
			c.rows = append(c.rows, slices.Clone(row))
		}
		tables = append(tables, c)
	}
}

func TestReadVersion1(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"whole":        bytes.NewReader(golden(t)),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(golden(t))),
	} {
		h, tables, end, err := readAll(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := fmt.Sprintf("%#v", h), fmt.Sprintf("%#v", goldenHeader); got != want {
			t.Errorf("%s: header %s, want %s", name, got, want)
		}
		if got, want := fmt.Sprintf("%#v", tables), fmt.Sprintf("%#v", goldenTables); got != want {
			t.Errorf("%s: tables %s\nwant %s", name, got, want)
		}
		if got, want := end.Counts, []Count{{"meta", 2}, {"empty", 0}, {"vaults", 2}}; !slices.Equal(got, want) {
			t.Errorf("%s: counts %v, want %v", name, got, want)
		}
	}
}

func TestWriteVersion1(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, goldenHeader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range goldenTables {
		if err := w.Table(c.table); err != nil {
			t.Fatal(err)
		}
		for _, row := range c.rows {
			if c.table.Name == "vaults" {
				row = append([]any{row[0] == int64(1)}, row[1:]...) // as PostgreSQL gives it
			}
			if err := w.Row(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := golden(t); !bytes.Equal(out.Bytes(), want) {
		t.Errorf("wrote %q\nwant %q", out.Bytes(), want)
	}
}

// A dump that ends anywhere before its end is refused as cut short.
func TestTruncated(t *testing.T) {
	whole := golden(t)
	for n := 1; n < len(whole); n++ {
		if _, _, _, err := readAll(bytes.NewReader(whole[:n])); !errors.Is(err, ErrTruncated) {
			t.Errorf("the first %d bytes of %d: got %v, want %v", n, len(whole), err, ErrTruncated)
		}
	}
}

// Whichever bit is another, the dump is refused.
func TestOneBit(t *testing.T) {
	whole := golden(t)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, _, _, err := readAll(bytes.NewReader(b)); err == nil {
				t.Errorf("bit %d of byte %d is another: got no error", bit, i)
			}
		}
	}
}

// frames splits a dump behind its magic.
func frames(t *testing.T, b []byte) (out [][]byte) {
	t.Helper()
	b = b[len(Magic):]
	for len(b) > 0 {
		n := 5 + int(binary.BigEndian.Uint32(b[1:5]))
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}

func join(parts ...[]byte) []byte { return append([]byte(Magic), bytes.Join(parts, nil)...) }

// seal puts the right checksum at the end, as who makes a dump on purpose would.
func seal(b []byte) []byte {
	head := b[:len(b)-sha256.Size]
	sum := sha256.Sum256(head)
	return append(bytes.Clone(head), sum[:]...)
}

func part(kind byte, payload string) []byte {
	return append(frameHead(kind, len(payload)), payload...)
}

// endOf is an end with these counts and room for the checksum.
func endOf(counts string) []byte { return part('E', counts+strings.Repeat("\x00", sha256.Size)) }

const oneTable = "\x00\x01a\x00\x01\x00\x01b" // table a with a column b

func TestRefused(t *testing.T) {
	whole := golden(t)
	f := frames(t, whole) // H, T, R, R, T, T, R, R, E
	header := f[0]
	noTables := "\x00\x00"
	for _, tt := range []struct {
		name string
		in   []byte
		want error
		text string
	}{
		{"nothing", nil, ErrForeign, "known version"},
		{"other bytes", []byte("SQLite format 3\x00 and more of it"), ErrForeign, "known version"},
		{"a newer format", append([]byte("strongroom dump 2\n"), whole[len(Magic):]...), ErrForeign, "known version"},
		{"a byte more", append(bytes.Clone(whole), 0), ErrTrailing, "behind the end"},
		{"twice", append(bytes.Clone(whole), whole...), ErrTrailing, "behind the end"},
		{"rows exchanged", join(f[0], f[1], f[3], f[2], f[4], f[5], f[6], f[7], f[8]), ErrChanged, "checksum"},
		{"tables exchanged", join(f[0], f[4], f[1], f[2], f[3], f[5], f[6], f[7], f[8]), ErrChanged, "checksum"},
		{"tables exchanged, sealed again", seal(join(f[0], f[4], f[1], f[2], f[3], f[5], f[6], f[7], f[8])), ErrChanged, "numbers of rows"},
		{"a row less, sealed again", seal(join(f[0], f[1], f[2], f[4], f[5], f[6], f[7], f[8])), ErrChanged, "numbers of rows"},
		{"a row twice, sealed again", seal(join(f[0], f[1], f[2], f[2], f[3], f[4], f[5], f[6], f[7], f[8])), ErrChanged, "numbers of rows"},
		{"a row of another table", seal(join(f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[2], f[8])), ErrChanged, `row 2 of table "vaults"`},
		{"a table twice", seal(join(f[0], f[1], f[2], f[3], f[1], f[8])), ErrChanged, `table "meta" comes twice`},
		{"no header", seal(join(f[1], f[2], f[3], f[8])), ErrChanged, "begin with a header"},
		{"a header that is none", join(part('H', "{}}"), f[8]), ErrChanged, "header"},
		{"a header with more", join(part('H', `{"colour":"blue"}`), f[8]), ErrChanged, "header"},
		{"an empty header", join(part('H', `{}`), f[8]), ErrChanged, "lacks"},
		{"a header without a schema", join(part('H', `{"deployment":"d","tenant":"t","engine":"sqlite","time":"2026-01-02T03:04:05Z","rootKeys":["a"]}`), f[8]), ErrChanged, "out of range"},
		{"two headers", join(header, header, f[8]), ErrChanged, "kind"},
		{"a row without a table", join(header, f[2], f[8]), ErrChanged, "where a table should begin"},
		{"an unknown part", join(header, part('X', ""), f[8]), ErrChanged, "kind 'X'"},
		{"a huge part", join(header, []byte{'T', 0xff, 0xff, 0xff, 0xff}), ErrChanged, "4294967295 bytes"},
		{"a long name that is not there", join(header, part('T', "\xff\xffa")), ErrChanged, "beyond its part"},
		{"an empty name", join(header, part('T', "\x00\x00\x00\x00")), ErrChanged, "0 characters"},
		{"a name for SQL", join(header, part('T', "\x00\x02a;\x00\x00")), ErrChanged, `name "a;"`},
		{"a name from a digit on", join(header, part('T', "\x00\x021a\x00\x00")), ErrChanged, `name "1a"`},
		{"bytes behind the columns", join(header, part('T', oneTable+"x")), ErrChanged, "left over"},
		{"many columns", join(header, part('T', "\x00\x01a\xff\xff")), ErrChanged, "columns"},
		{"an unknown value", join(header, part('T', oneTable), part('R', "\x04")), ErrChanged, "value of kind 4"},
		{"a short number", join(header, part('T', oneTable), part('R', "\x01\x00")), ErrChanged, "beyond its part"},
		{"no value", join(header, part('T', oneTable), part('R', "")), ErrChanged, "beyond its part"},
		{"a value more", join(header, part('T', oneTable), part('R', "\x00\x00")), ErrChanged, "left over"},
		{"no UTF-8", join(header, part('T', oneTable), part('R', "\x02\x00\x00\x00\x01\xff")), ErrChanged, "UTF-8"},
		{"a short end", join(header, part('E', "")), ErrChanged, "too short"},
		{"a wrong checksum", join(header, endOf(noTables)), ErrChanged, "checksum"},
		{"an end with more", seal(join(header, endOf(noTables+"x"))), ErrChanged, "left over"},
		{"an end with many tables", seal(join(header, endOf("\xff\xff"))), ErrChanged, "beyond its part"},
		{"a negative count", seal(join(header, part('T', oneTable), endOf("\x00\x01\x00\x01a\xff\xff\xff\xff\xff\xff\xff\xff"))), ErrChanged, "out of range"},
	} {
		_, _, _, err := readAll(bytes.NewReader(tt.in))
		if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("%s: got %v, want %q with %q", tt.name, err, tt.want, tt.text)
		}
	}
}

// An error of the stream below is told as it is: it may say that the encryption does not hold.
func TestStreamFails(t *testing.T) {
	failure := errors.New("the line is dead")
	whole := golden(t)
	for n := range len(whole) + 1 {
		in := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(failure))
		if _, _, _, err := readAll(in); !errors.Is(err, failure) {
			t.Errorf("after %d bytes: got %v, want %v", n, err, failure)
		}
	}
}

// Memory follows what is there, not what a length says.
func TestBoundedMemory(t *testing.T) {
	in := join(frames(t, golden(t))[0], []byte{'T', 0x03, 0xff, 0xff, 0xff})
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			readAll(bytes.NewReader(in))
		}
	})
	if got := result.AllocedBytesPerOp(); got > 1<<20 {
		t.Errorf("a length of 64 MiB with nothing behind it took %d bytes, want at most 1 MiB", got)
	}
}

func TestWriterRefuses(t *testing.T) {
	begin := func() *Writer {
		w, err := NewWriter(io.Discard, goldenHeader)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Table(Table{"a", []string{"b"}}); err != nil {
			t.Fatal(err)
		}
		return w
	}
	if _, err := NewWriter(io.Discard, Header{}); err == nil {
		t.Error("a header that says nothing is written")
	}
	for _, tt := range []struct {
		name string
		do   func(w *Writer) error
		want string
	}{
		{"two values", func(w *Writer) error { return w.Row([]any{nil, nil}) }, "has 2 values, want 1"},
		{"a float", func(w *Writer) error { return w.Row([]any{1.5}) }, "float64"},
		{"no UTF-8", func(w *Writer) error { return w.Row([]any{"\xff"}) }, "UTF-8"},
		{"a long row", func(w *Writer) error { return w.Row([]any{make([]byte, MaxRow)}) }, "want at most"},
		{"a name", func(w *Writer) error { return w.Table(Table{"A", nil}) }, `name "A"`},
		{"many columns", func(w *Writer) error { return w.Table(Table{"c", make([]string, 201)}) }, "columns"},
	} {
		if err := tt.do(begin()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzRead: whatever the bytes, reading ends with a whole dump or with an error, and a whole dump
// written again is the same.
func FuzzRead(f *testing.F) {
	whole := golden(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(append(bytes.Clone(whole), 'x'))
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > len(Magic)+sha256.Size && !bytes.Equal(b, whole) {
			b = seal(b) // or nothing behind the checksum would ever be reached
		}
		h, tables, end, err := readAll(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range tables {
			if err := w.Table(c.table); err != nil {
				t.Fatal(err)
			}
			for _, row := range c.rows {
				if err := w.Row(row); err != nil {
					t.Fatal(err)
				}
			}
		}
		again, err := w.Close()
		if err != nil || !slices.Equal(again.Counts, end.Counts) {
			t.Fatalf("written again: %v, %v, want %v", again.Counts, err, end.Counts)
		}
		headerEnd := func(b []byte) int { return len(Magic) + 5 + int(binary.BigEndian.Uint32(b[len(Magic)+1:])) }
		got, want := out.Bytes()[headerEnd(out.Bytes()):], b[headerEnd(b):]
		if n := len(want) - sha256.Size; !bytes.Equal(got[:n], want[:n]) { // the header may be spelt in other ways
			t.Errorf("written again it is %q, want %q", got, want)
		}
	})
}
