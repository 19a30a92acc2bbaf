// Package segment is the file format of closed ranges of the audit log, which have left the database.
//
// The threat is somebody who changes, cuts, swaps or forges a file after it was closed, or who puts
// the file of another deployment in its place. A file is proven without the server, by a public key,
// and a page of it is read and proven without the rest.
//
//	magic       "strongroom-audit-segment 1\n"
//	blocks      one after another, each a gzip member (RFC 1952) of at least one record:
//	            length of the record (uvarint) │ record
//	index       JSON, see Index: the range, and place and SHA-256 of each block
//	length      of the index (4 bytes, big-endian)
//	signature   of the index, see envelope.(Ring).Sign, purpose "audit segment v1"
//
// The index names the digest of the segment before it, so that the files of a deployment are a chain
// from its first entry on. Records are the canonical bytes of package audit, which stand at gap-free
// positions: the number of the first is in the index.
package segment

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"strongroom/internal/db"
	"strongroom/internal/envelope"
)

const (
	magic = "strongroom-audit-segment 1\n"
	// purpose is what the signature is of.
	purpose = "audit segment v1"
	// blockBytes is how much a block holds at least before it is closed, uncompressed: a page of a
	// listing costs at most two blocks.
	blockBytes = 256 << 10
	// maxBlock and maxIndex bound what a reader takes into memory of a file that somebody made.
	maxBlock   = 4 << 20
	maxIndex   = 64 << 20
	lengthSize = 4
	trailer    = lengthSize + envelope.SignatureSize
)

// ErrForeign means that a file is no segment, is cut, changed, or not signed by a key at hand.
var ErrForeign = errors.New("not a whole audit segment of this deployment")

// An Index says what a segment holds. Its JSON is what is signed.
type Index struct {
	Deployment string  `json:"deployment"`
	Tenant     string  `json:"tenant"`
	Node       string  `json:"node"` // that wrote it
	First      int64   `json:"first"`
	Last       int64   `json:"last"`
	ClosedUs   int64   `json:"closed_us"`
	Previous   string  `json:"previous"` // digest of the segment before, or ""
	Blocks     []Block `json:"blocks"`
}

// A Block is a run of records.
type Block struct {
	First   int64  `json:"first"`
	Records int64  `json:"records"`
	Offset  int64  `json:"offset"` // in the file
	Size    int64  `json:"size"`   // compressed
	SHA256  []byte `json:"sha256"` // of the compressed bytes
}

// A Signer signs as envelope.(*Ring) does.
type Signer interface {
	Sign(purpose string, content []byte) []byte
}

// A Writer writes one segment. After an error it is of no use.
type Writer struct {
	out    io.Writer
	offset int64
	index  Index
	plain  bytes.Buffer // of the block at hand
	first  int64
	count  int64
}

// NewWriter begins a segment. Last, ClosedUs and Blocks of the index are the writer's to
// fill in.
func NewWriter(out io.Writer, index Index) (*Writer, error) {
	w := &Writer{out: out, index: index, first: index.First}
	w.index.Last, w.index.Blocks = index.First-1, nil
	return w, w.write([]byte(magic))
}

func (w *Writer) write(b []byte) error {
	n, err := w.out.Write(b)
	w.offset += int64(n)
	if err != nil {
		return fmt.Errorf("write audit segment: %w", err)
	}
	return nil
}

// Add appends the record at the next position.
func (w *Writer) Add(record []byte) error {
	w.plain.Write(db.AppendRecord(nil, record))
	w.count++
	w.index.Last++
	if w.plain.Len() < blockBytes {
		return nil
	}
	return w.closeBlock()
}

func (w *Writer) closeBlock() error {
	if w.count == 0 {
		return nil
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(w.plain.Bytes())
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("compress audit segment: %w", err)
	}
	sum := sha256.Sum256(packed.Bytes())
	w.index.Blocks = append(w.index.Blocks, Block{
		First: w.first, Records: w.count, Offset: w.offset, Size: int64(packed.Len()), SHA256: sum[:],
	})
	w.plain.Reset()
	w.first, w.count = w.first+w.count, 0
	return w.write(packed.Bytes())
}

// Close ends the segment and returns its index and its digest. The caller makes the file durable.
func (w *Writer) Close(s Signer, closedUs int64) (Index, []byte, error) {
	if err := w.closeBlock(); err != nil {
		return Index{}, nil, err
	}
	w.index.ClosedUs = closedUs
	b, err := json.Marshal(w.index)
	if err != nil {
		return Index{}, nil, fmt.Errorf("encode index of audit segment: %w", err)
	}
	end := binary.BigEndian.AppendUint32(b, uint32(len(b)))
	if err := w.write(append(end, s.Sign(purpose, b)...)); err != nil {
		return Index{}, nil, err
	}
	sum := sha256.Sum256(b)
	return w.index, sum[:], nil
}

// A Segment is an open segment whose index is proven. It holds the index alone in memory.
type Segment struct {
	Index  Index
	Digest []byte // SHA-256 of the index as it stands in the file: of all that the segment says
	file   io.ReaderAt
}

// Open proves the index of a segment of size bytes by the keys, one of which must have signed it.
func Open(file io.ReaderAt, size int64, keys []ed25519.PublicKey) (*Segment, error) {
	raw, signature, err := readIndex(file, size)
	if err != nil {
		return nil, err
	}
	if err := envelope.CheckSignature(keys, purpose, raw, signature); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	sum := sha256.Sum256(raw)
	s := &Segment{Digest: sum[:], file: file}
	if err := json.Unmarshal(raw, &s.Index); err != nil {
		return nil, fmt.Errorf("%w: its index: %w", ErrForeign, err)
	}
	return s, s.Index.check(size - int64(trailer+len(raw)))
}

func readIndex(file io.ReaderAt, size int64) (raw, signature []byte, err error) {
	if size < int64(len(magic)+trailer) {
		return nil, nil, fmt.Errorf("%w: %d bytes are too few", ErrForeign, size)
	}
	start := make([]byte, len(magic))
	if err := readAt(file, start, 0); err != nil {
		return nil, nil, err
	}
	if string(start) != magic {
		return nil, nil, fmt.Errorf("%w: want the first line %q", ErrForeign, magic[:len(magic)-1])
	}
	end := make([]byte, trailer)
	if err := readAt(file, end, size-int64(trailer)); err != nil {
		return nil, nil, err
	}
	length := int64(binary.BigEndian.Uint32(end))
	if length > maxIndex || length > size-int64(len(magic)+trailer) {
		return nil, nil, fmt.Errorf("%w: its index does not fit into it", ErrForeign)
	}
	raw = make([]byte, length)
	return raw, end[lengthSize:], readAt(file, raw, size-int64(trailer)-length)
}

func readAt(file io.ReaderAt, b []byte, offset int64) error {
	if n, err := file.ReadAt(b, offset); err != nil && n < len(b) {
		return fmt.Errorf("read audit segment: %w", err)
	}
	return nil
}

// check refuses an index that contradicts itself or the place where it stands in the file, so that
// readers need not look again, and nothing stands between the blocks.
func (x Index) check(place int64) error {
	next, offset := x.First, int64(len(magic))
	for _, b := range x.Blocks {
		if b.First != next || b.Records < 1 || b.Offset != offset || b.Size < 1 || b.Size > maxBlock {
			return fmt.Errorf("%w: its index contradicts itself", ErrForeign)
		}
		next, offset = next+b.Records, offset+b.Size
	}
	if x.First < 1 || next != x.Last+1 || offset != place {
		return fmt.Errorf("%w: its index contradicts itself", ErrForeign)
	}
	return nil
}

// Records calls add for the records from a position on, in order, until add says that it has enough
// or the segment ends. A block is proven before any record of it is handed out.
func (s *Segment) Records(from int64, add func(position int64, record []byte) (more bool, err error)) error {
	for _, b := range s.Index.Blocks {
		if b.First+b.Records <= from {
			continue
		}
		records, err := s.block(b)
		if err != nil {
			return err
		}
		for i, r := range records {
			position := b.First + int64(i)
			if position < from {
				continue
			}
			if more, err := add(position, r); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func (s *Segment) block(b Block) ([][]byte, error) {
	packed := make([]byte, b.Size)
	if err := readAt(s.file, packed, b.Offset); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(packed); !bytes.Equal(sum[:], b.SHA256) {
		return nil, fmt.Errorf("%w: the block from position %d on was changed", ErrForeign, b.First)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%w: the block from position %d on: %w", ErrForeign, b.First, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxBlock+1))
	if err == nil && len(plain) > maxBlock {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the block from position %d on: %w", ErrForeign, b.First, err)
	}
	records, err := db.SplitRecords(plain)
	if err == nil && int64(len(records)) != b.Records {
		err = fmt.Errorf("it has %d records and should have %d", len(records), b.Records)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the block from position %d on: %w", ErrForeign, b.First, err)
	}
	return records, nil
}
