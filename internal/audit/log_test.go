package audit

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// number does what the scheduler of a node does, until nothing waits.
func number(t testing.TB, d *db.DB) {
	t.Helper()
	for n := 1; n > 0; {
		err := d.Update(t.Context(), NumberingLocks(), func(tx *db.Tx) (err error) {
			n, err = Number(tx)
			return err
		})
		if err != nil {
			t.Errorf("number: got %v, want nil", err)
			return
		}
	}
}

// read returns entries from a position on.
func read(t testing.TB, d *db.DB, from int64, limit int) (out []Positioned) {
	t.Helper()
	err := d.View(t.Context(), func(tx *db.Tx) (err error) {
		out, err = (&Archive{}).Read(tx, from, limit)
		return err
	})
	if err != nil {
		t.Errorf("read from %d: got %v, want nil", from, err)
	}
	return out
}

// readAll follows the log from its beginning in pages, and checks that positions are dense.
func readAll(t testing.TB, d *db.DB, limit int) (operations []string) {
	t.Helper()
	next := int64(1)
	for {
		page := read(t, d, next, limit)
		if len(page) == 0 {
			return operations
		}
		if len(page) > limit {
			t.Errorf("page of %d entries, want at most %d", len(page), limit)
		}
		for _, p := range page {
			if p.Position != next {
				t.Fatalf("position %d after %d", p.Position, next-1)
			}
			operations = append(operations, p.Entry.Operation)
			next++
		}
	}
}

// Several nodes store entries and give them numbers at once, while a follower reads along: it
// never sees a gap, and in the end every entry is there once.
func TestPositionsAreDense(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		nodes := []*db.DB{dbtest.Open(t, o)}
		if o.Engine == db.PostgreSQL {
			nodes = append(nodes, dbtest.Open(t, o)) // SQLite has one process
		}
		const writers, each = 6, 25
		var writing, others sync.WaitGroup
		stop := make(chan struct{})
		for w := range writers {
			d := nodes[w%len(nodes)]
			writing.Go(func() {
				for i := range each {
					e := Entry{Operation: fmt.Sprintf("%d-%d", w, i)}
					var err error
					if i%2 == 0 {
						err = d.Append(t.Context(), e.Encode(), Entry{Operation: e.Operation + "-second"}.Encode())
					} else {
						err = d.Update(t.Context(), nil, func(tx *db.Tx) error { tx.Record(e.Encode()); return nil })
					}
					if err != nil {
						t.Errorf("store %s: got %v, want nil", e.Operation, err)
					}
				}
			})
		}
		work := func(do func()) {
			others.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						do()
					}
				}
			})
		}
		for _, d := range nodes {
			work(func() { number(t, d) })
			work(func() { number(t, d) })
		}
		work(func() { readAll(t, nodes[0], 7) })
		writing.Wait()
		close(stop)
		others.Wait()
		number(t, nodes[0])
		checkComplete(t, nodes[len(nodes)-1], writers, each)
	})
}

func checkComplete(t *testing.T, d *db.DB, writers, each int) {
	t.Helper()
	var want []string
	for w := range writers {
		for i := range each {
			want = append(want, fmt.Sprintf("%d-%d", w, i))
			if i%2 == 0 {
				want = append(want, fmt.Sprintf("%d-%d-second", w, i))
			}
		}
	}
	got := readAll(t, d, 10)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the log holds %d entries, want the %d that were stored, each once", len(got), len(want))
	}
	err := d.View(t.Context(), func(tx *db.Tx) error {
		last, err := Last(tx)
		if last != int64(len(want)) {
			t.Errorf("last position = %d, want %d", last, len(want))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Rows hold several entries; pages begin and end wherever the reader says.
func TestReadPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		position := 0
		for _, n := range []int{1, 3, 2, 5} { // entries per row
			var records [][]byte
			for range n {
				position++
				records = append(records, Entry{Operation: fmt.Sprint(position)}.Encode())
			}
			if err := d.Append(t.Context(), records...); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, d, 0, 100); len(got) != 0 {
			t.Errorf("%d entries before they have numbers, want none", len(got))
		}
		number(t, d)
		for from := int64(-1); from <= 12; from++ {
			for limit := 1; limit <= 12; limit++ {
				first := max(from, 1)
				want := min(int64(limit), 11-first+1)
				got := read(t, d, from, limit)
				if int64(len(got)) > max(want, 0) || want > 0 && len(got) == 0 {
					t.Errorf("read(%d, %d) gave %d entries, want at least one and at most %d", from, limit, len(got), want)
				}
				for i, p := range got {
					if p.Position != first+int64(i) || p.Entry.Operation != fmt.Sprint(p.Position) {
						t.Errorf("read(%d, %d)[%d] = position %d, entry %s", from, limit, i, p.Position, p.Entry.Operation)
					}
				}
			}
		}
	})
}

// Places go by the time of the commit, then by its id.
func TestNumberGoesByTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			for _, row := range []struct {
				id string
				at int64
			}{{"c", 10}, {"b", 20}, {"a", 20}, {"d", 5}} {
				record := Entry{Operation: row.id}.Encode()
				if err := insertJournal(tx, row.id, row.at, append([]byte{byte(len(record))}, record...)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		number(t, d)
		if got := readAll(t, d, 10); !slices.Equal(got, []string{"d", "c", "a", "b"}) {
			t.Errorf("order = %q, want by time, then by id", got)
		}
	})
}

// insertJournal stores a journal row as the committer would.
func insertJournal(tx *db.Tx, id string, at int64, records []byte) error {
	const q = `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac) VALUES ($1, '', $2, 1, $3, $4)`
	_, err := tx.Exec(q, id, at, records, tx.Ring().RowMAC(db.JournalTable, id, "", at, 1, records))
	return err
}

var errUndo = errors.New("undo")

// A row that does not decode is an error, not a shorter log.
func TestBrokenRow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, broken := range [][]byte{{9, 'x'}, {1, 'x'}} { // cut short; no entry
			err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
				if err := insertJournal(tx, db.NewID(), 1, broken); err != nil {
					return err
				}
				if _, err := Number(tx); err != nil {
					return err
				}
				if got, err := (&Archive{}).Read(tx, 0, 10); err == nil {
					t.Errorf("read of %q = %d entries, want an error", broken, len(got))
				}
				return errUndo
			})
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
		}
	})
}

// What somebody does to rows that are not numbered yet is missed, and numbering goes on.
func TestRowsAreChangedBeforeTheyAreNumbered(t *testing.T) {
	for name, attack := range map[string]string{
		"the first is taken out":  `DELETE FROM journal WHERE position = 1`,
		"one is taken out":        `DELETE FROM journal WHERE position = 2`,
		"one has no entries":      `UPDATE journal SET entries = 0 WHERE position = 2`,
		"one has entries less":    `UPDATE journal SET entries = -5 WHERE position = 2`,
		"one has more entries":    `UPDATE journal SET entries = 1000 WHERE position = 2`,
		"one has another's place": `UPDATE journal SET position = 1 WHERE position = 2`,
	} {
		t.Run(name, func(t *testing.T) {
			d := dbtest.Open(t, dbtest.SQLiteOptions(t))
			for _, name := range []string{"a", "b", "c"} {
				if err := d.Append(t.Context(), Entry{Operation: name}.Encode()); err != nil {
					t.Fatal(err)
				}
			}
			err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
				_, err := tx.Exec(attack)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"before numbering", "after"} {
				if err := d.View(t.Context(), Prove); !errors.Is(err, envelope.ErrTampered) {
					t.Errorf("proof %s = %v, want %v", when, err, envelope.ErrTampered)
				}
				number(t, d)
			}
		})
	}
}

// Rows that somebody else has put in front of all that wait do not hold up the others.
func TestForgedRowsDoNotHoldUpNumbering(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Update(t.Context(), nil, func(tx *db.Tx) error {
			record := Entry{Operation: "ours"}.Encode()
			err := insertJournal(tx, "ours", 20, append([]byte{byte(len(record))}, record...))
			const forged = `INSERT INTO journal (commit_id, tenant_id, committed_us, entries, records, row_mac) VALUES ($1, '', $2, 1, $3, $3)`
			for i := 0; err == nil && i < 2*numberAtOnce+1; i++ {
				_, err = tx.Exec(forged, fmt.Sprintf("%04d", i), i/10, []byte{1})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		number(t, d)
		if got := readAll(t, d, 10); !slices.Equal(got, []string{"ours"}) {
			t.Errorf("the log has %q, want ours alone", got)
		}
	})
}
