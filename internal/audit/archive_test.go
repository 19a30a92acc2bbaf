package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
	"strongroom/internal/segment"
)

func newArchive(t testing.TB) *Archive {
	return &Archive{
		Folder: filepath.Join(t.TempDir(), "segments"), Node: "n1", Deployment: "0123456789abcdef", Tenant: dbtest.Tenant,
		MaxAge: 24 * time.Hour, MaxEntries: 1 << 20,
	}
}

// store stores rows of one entry each, committed so long ago, and numbers them.
func store(t testing.TB, d *db.DB, age time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			record := Entry{Operation: name}.Encode()
			return insertJournal(tx, db.NewID(), tx.Now.Add(-age).UnixMicro(), append([]byte{byte(len(record))}, record...))
		})
		if err != nil {
			t.Fatal(err)
		}
		number(t, d)
	}
}

func names(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

func closeSegments(t testing.TB, a *Archive, d *db.DB) {
	t.Helper()
	if err := a.Close(t.Context(), d); err != nil {
		t.Fatalf("close: got %v, want nil", err)
	}
}

// inJournal counts the rows that are still in the database.
func inJournal(t testing.TB, d *db.DB) (n int) {
	t.Helper()
	err := d.View(t.Context(), func(tx *db.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM journal`).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// files lists the archive's folder.
func (a *Archive) files(t testing.TB) (out []string) {
	t.Helper()
	all, err := os.ReadDir(a.Folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range all {
		out = append(out, filepath.Join(a.Folder, f.Name()))
	}
	return out
}

// checkLog reads the whole log in pages of several sizes, and proves what is in the database.
func checkLog(t testing.TB, a *Archive, d *db.DB, want ...string) {
	t.Helper()
	for _, limit := range []int{1, 3, 100} {
		var got []string
		for next := int64(1); ; {
			var page []Positioned
			err := d.View(t.Context(), func(tx *db.Tx) (err error) {
				page, err = a.Read(tx, next, limit)
				return err
			})
			if err != nil {
				t.Fatalf("read from %d: %v", next, err)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				if p.Position != next {
					t.Fatalf("position %d follows %d", p.Position, next-1)
				}
				got, next = append(got, p.Entry.Operation), next+1
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d the log is %q, want %q", limit, got, want)
		}
	}
	err := d.View(t.Context(), func(tx *db.Tx) error { return errors.Join(Prove(tx), ProveSegments(tx)) })
	if err != nil {
		t.Errorf("prove: %v", err)
	}
}

func TestSegmentsLeaveByAge(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := newArchive(t)
		store(t, d, 23*time.Hour, names("a", 4)...)
		closeSegments(t, a, d)
		if got := a.files(t); len(got) != 0 {
			t.Errorf("files = %q, want none before the age", got)
		}
		a.MaxAge = 22 * time.Hour
		store(t, d, time.Hour, "b0")
		store(t, d, settled/2, "c0")
		closeSegments(t, a, d)
		const name = "audit-01234567-0000000000000001-0000000000000005-"
		if got := a.files(t); len(got) != 1 || !strings.HasPrefix(filepath.Base(got[0]), name) {
			t.Errorf("files = %q, want one of positions 1 to 5", got)
		}
		if got := inJournal(t, d); got != 1 {
			t.Errorf("%d rows in the journal, want the one that is not settled", got)
		}
		checkLog(t, a, d, "a0", "a1", "a2", "a3", "b0", "c0")
	})
}

func TestSegmentsLeaveByNumber(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := newArchive(t)
		a.MaxEntries = 4
		want := names("a", 11)
		store(t, d, time.Hour, want...)
		closeSegments(t, a, d)
		if got := a.files(t); len(got) != 2 || inJournal(t, d) != 3 {
			t.Errorf("%d files and %d rows, want two of four entries, and the rest", len(got), inJournal(t, d))
		}
		checkLog(t, a, d, want...)
		checkChain(t, a, d)
	})
}

// checkChain opens all files with the public key alone: each names the one before.
func checkChain(t testing.TB, a *Archive, d *db.DB) {
	t.Helper()
	before := ""
	for _, name := range a.files(t) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // nothing was written
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		s, err := segment.Open(f, info.Size(), dbtest.Ring(t).VerifyKeys())
		if err != nil {
			t.Fatal(err)
		}
		if s.Index.Previous != before {
			t.Errorf("%s follows %q, want %q", name, s.Index.Previous, before)
		}
		before = hexDigest(s.Digest)
	}
}

// A process that dies between two steps leaves a log that is whole, and the next round ends the work.
func TestClosingIsInterrupted(t *testing.T) {
	for name, until := range map[string]func(t testing.TB, a *Archive, d *db.DB){
		"after the file": func(t testing.TB, a *Archive, d *db.DB) {
			if writeDue(t, a, d); len(a.files(t)) != 1 {
				t.Errorf("files %q, want one", a.files(t))
			}
		},
		"after the row": func(t testing.TB, a *Archive, d *db.DB) {
			if closed, err := a.closeOne(t.Context(), d); err != nil || !closed {
				t.Errorf("close one: %v, %v", closed, err)
			}
		},
		"after the first removal": func(t testing.TB, a *Archive, d *db.DB) {
			if _, err := a.closeOne(t.Context(), d); err != nil {
				t.Error(err)
			}
			err := d.Update(t.Context(), []string{db.AuditLog}, func(tx *db.Tx) error {
				_, err := removeRows(tx, 2)
				return err
			})
			if err != nil || inJournal(t, d) != 3 {
				t.Errorf("remove: %v, %d rows", err, inJournal(t, d))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				a := newArchive(t)
				want := names("a", 5)
				store(t, d, 48*time.Hour, want...)
				until(t, a, d)
				checkLog(t, a, d, want...)
				store(t, d, 47*time.Hour, "b0")
				closeSegments(t, a, d)
				checkLog(t, a, d, append(want, "b0")...)
				if got := inJournal(t, d); got > 1 {
					t.Errorf("%d rows in the journal, want what is closed gone", got)
				}
			})
		})
	}
}

// writeDue writes the file of what is due, and no row.
func writeDue(t testing.TB, a *Archive, d *db.DB) (index segment.Index, digest []byte) {
	t.Helper()
	var due segment.Index
	err := d.View(t.Context(), func(tx *db.Tx) (err error) {
		due, err = a.due(tx)
		return err
	})
	if err == nil {
		index, digest, err = a.write(t.Context(), d, due)
	}
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return index, digest
}

// A node that was held up between the file and the row, while another closed the range into the same
// folder, changes nothing.
func TestClosingComesTooLate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		late, other := newArchive(t), newArchive(t)
		other.Folder, other.Node = late.Folder, "n2"
		want := names("a", 5)
		store(t, d, 48*time.Hour, want...)
		index, digest := writeDue(t, late, d)
		late.Node = "n3" // whose file was removed with the row of another undone
		lost, lostDigest := writeDue(t, late, d)
		if err := os.Remove(filepath.Join(late.Folder, late.fileName(lost, lostDigest))); err != nil {
			t.Fatal(err)
		}
		note := func(index segment.Index, digest []byte) error {
			return d.Update(t.Context(), []string{db.Segments}, func(tx *db.Tx) error { return late.note(tx, index, digest) })
		}
		if err := note(lost, lostDigest); err == nil {
			t.Error("a row for a file that is gone: got no error")
		}
		closeSegments(t, other, d)
		if err := note(index, digest); err == nil || !strings.Contains(err.Error(), "up to position 5 meanwhile") {
			t.Errorf("a row that comes too late: got %v", err)
		}
		checkLog(t, other, d, want...)
	})
}

// The files of a log whose database was put back stay beside those of the log that goes on.
func TestSegmentsOfALostDatabaseStay(t *testing.T) {
	lost, now := dbtest.Open(t, dbtest.SQLiteOptions(t)), dbtest.Open(t, dbtest.SQLiteOptions(t))
	a := newArchive(t)
	a.Folder = filepath.Join(t.TempDir(), "of [prod]*")
	store(t, lost, 48*time.Hour, "a0", "evidence")
	closeSegments(t, a, lost)
	store(t, now, 48*time.Hour, "a0", "other")
	closeSegments(t, a, now)
	if got := a.files(t); len(got) != 2 {
		t.Errorf("files %q, want that of each log", got)
	}
	checkLog(t, a, lost, "a0", "evidence")
	checkLog(t, a, now, "a0", "other")
}

// A range whose rows are gone is not closed as a shorter one.
func TestClosingOfWhatIsGone(t *testing.T) {
	d, a := dbtest.Open(t, dbtest.SQLiteOptions(t)), newArchive(t)
	store(t, d, 48*time.Hour, names("a", 5)...)
	err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.Exec(`DELETE FROM journal WHERE position > 3`)
		return err
	})
	if err == nil {
		err = a.Close(t.Context(), d)
	}
	if err == nil || !strings.Contains(err.Error(), "no positions from 4 to 5") || len(a.files(t)) != 0 {
		t.Errorf("close: got %v and files %q, want an error and none", err, a.files(t))
	}
}

// What somebody does to files or rows is refused by name.
func TestForeignSegments(t *testing.T) {
	edit := func(t testing.TB, file string, change func(b []byte) []byte) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		attack func(t testing.TB, files []string)
		want   error
	}{
		"cut":    {func(t testing.TB, f []string) { edit(t, f[0], func(b []byte) []byte { return b[:len(b)-1] }) }, segment.ErrForeign},
		"empty":  {func(t testing.TB, f []string) { edit(t, f[0], func([]byte) []byte { return nil }) }, segment.ErrForeign},
		"longer": {func(t testing.TB, f []string) { edit(t, f[0], func(b []byte) []byte { return append(b, 0) }) }, segment.ErrForeign},
		"swapped": {func(t testing.TB, f []string) {
			edit(t, f[0], func([]byte) []byte { b, _ := os.ReadFile(f[1]); return b })
		}, segment.ErrForeign},
		"a block changed": {func(t testing.TB, f []string) {
			edit(t, f[0], func(b []byte) []byte { b[40] ^= 1; return b })
		}, segment.ErrForeign},
		"the index changed": {func(t testing.TB, f []string) {
			edit(t, f[0], func(b []byte) []byte { return []byte(strings.Replace(string(b), `"node":"n1"`, `"node":"n2"`, 1)) })
		}, envelope.ErrBadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			d, a := dbtest.Open(t, dbtest.SQLiteOptions(t)), newArchive(t)
			a.MaxEntries = 3
			store(t, d, time.Hour, names("a", 7)...)
			closeSegments(t, a, d)
			tt.attack(t, a.files(t))
			err := d.View(t.Context(), func(tx *db.Tx) error {
				_, err := a.Read(tx, 2, 10)
				return err
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("read: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestMissingSegment(t *testing.T) {
	d, a := dbtest.Open(t, dbtest.SQLiteOptions(t)), newArchive(t)
	a.MaxEntries = 3
	store(t, d, time.Hour, names("a", 7)...)
	closeSegments(t, a, d)
	if err := os.Remove(a.files(t)[0]); err != nil {
		t.Fatal(err)
	}
	err := d.View(t.Context(), func(tx *db.Tx) error {
		_, err := a.Read(tx, 1, 10)
		if missing, ok := errors.AsType[*MissingSegment](err); !ok || missing.Next != 4 || missing.Node != "n1" {
			t.Errorf("read of what was carried away: got %v, want its name and where to go on", err)
		}
		_, err = a.Read(tx, 4, 10)
		return err
	})
	if err != nil {
		t.Errorf("read behind it: %v", err)
	}
}

func TestForeignSegmentRows(t *testing.T) {
	for name, q := range map[string]string{
		"deleted": `DELETE FROM audit_segments WHERE first_position = 1`,
		"moved":   `UPDATE audit_segments SET last_position = 7 WHERE first_position = 4`,
		"renamed": `UPDATE audit_segments SET file = 'x' WHERE first_position = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			d, a := dbtest.Open(t, dbtest.SQLiteOptions(t)), newArchive(t)
			a.MaxEntries = 3
			store(t, d, time.Hour, names("a", 7)...)
			closeSegments(t, a, d)
			err := d.Update(t.Context(), nil, func(tx *db.Tx) error { _, err := tx.Exec(q); return err })
			if err != nil {
				t.Fatal(err)
			}
			if err := d.View(t.Context(), ProveSegments); !errors.Is(err, envelope.ErrTampered) {
				t.Errorf("prove: got %v, want %v", err, envelope.ErrTampered)
			}
		})
	}
}
