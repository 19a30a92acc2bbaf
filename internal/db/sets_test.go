package db_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
	"strongroom/internal/envelope"
)

// member is a row of group_members, the smallest of the sealed tables.
func member(group string, i int) []any {
	return []any{dbtest.Tenant, group, fmt.Sprintf("member %d", i), int64(i)}
}

// readMember reads a row as a store would: by its columns, and then proven.
func readMember(tx *db.Tx, group string, i int) (found bool, err error) {
	fields := member(group, i)
	q := `SELECT ` + db.GroupMembers.Columns("") + ` FROM group_members WHERE group_id = $1 AND member_id = $2`
	_, found, err = db.ReadRow(tx, db.GroupMembers, func(row db.Scanner) (v int64, seal db.Seal, err error) {
		var tenant, group, member string
		err = row.Scan(&tenant, &group, &member, &v, &seal.MAC)
		seal.Fields = []any{tenant, group, member, v}
		return v, seal, err
	}, q, fields[1], fields[2])
	if err == nil && !found {
		err = tx.Absent(db.GroupMembers, fields...)
	}
	return found, err
}

func put(t *testing.T, d *db.DB, group string, from, to int) {
	t.Helper()
	update(t, d, func(tx *db.Tx) error {
		for i := from; i < to; i++ {
			if _, err := tx.Put(db.GroupMembers, nil, member(group, i)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Rows come, change and go through the same set; whoever opens the database later agrees.
func TestSetsKeepUp(t *testing.T) {
	dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
		d := dbtest.Open(t, o)
		put(t, d, "g", 0, 20)
		for round := range 3 {
			update(t, d, func(tx *db.Tx) error {
				if err := tx.Replace(db.GroupMembers, dbtest.Tenant, "g", "member 1", int64(round)); err != nil {
					return err
				}
				if found, err := readMember(tx, "g", 1); err != nil || !found {
					t.Errorf("within the transaction: %v, %v", found, err)
				}
				n, err := tx.Remove(db.GroupMembers, `member_id = $1`, fmt.Sprint("member ", 10+round))
				if n != 1 {
					t.Errorf("removed %d rows, want 1", n)
				}
				return err
			})
		}
		check := func(d *db.DB) {
			t.Helper()
			view(t, d, func(tx *db.Tx) error {
				for i := range 20 {
					found, err := readMember(tx, "g", i)
					if want := i < 10 || i > 12; err != nil || found != want {
						t.Errorf("member %d: found %v, %v; want %v", i, found, err, want)
					}
				}
				if n, err := tx.Members(db.Authorisation); n != 17 || err != nil {
					t.Errorf("members = %d, %v; want 17", n, err)
				}
				return tx.ProvePart(db.Authorisation, 0)
			})
		}
		check(d)
		d.Close()
		check(dbtest.Open(t, o))
	})
}

// A refused job leaves neither rows nor digest behind, alone or beside others.
func TestRefusedJobsLeaveTheSetAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		put(t, d, "g", 0, 1)
		store := func(i int, err error) func(*db.Tx) error {
			return func(tx *db.Tx) error {
				if _, err := tx.Put(db.GroupMembers, nil, member("g", i)...); err != nil {
					return err
				}
				return err
			}
		}
		together(t, d, store(1, nil), store(2, errRefused), store(3, nil))
		view(t, d, func(tx *db.Tx) error {
			for i, want := range []bool{true, true, false, true} {
				if found, err := readMember(tx, "g", i); found != want || err != nil {
					t.Errorf("member %d: found %v, %v; want %v", i, found, err, want)
				}
			}
			return tx.ProvePart(db.Authorisation, 0)
		})
	})
}

// Somebody else's hand, while the server knows the set and when it has just started.
func TestForeignHandsAreNoticed(t *testing.T) {
	attacks := map[string]string{
		"edited":             `UPDATE group_members SET created_us = 9 WHERE member_id = 'member 1'`,
		"moved":              `UPDATE group_members SET group_id = 'other' WHERE member_id = 'member 1'`,
		"deleted":            `DELETE FROM group_members WHERE member_id = 'member 1'`,
		"MAC of another row": `UPDATE group_members SET row_mac = (SELECT m.row_mac FROM group_members m WHERE m.member_id = 'member 2') WHERE member_id = 'member 1'`,
		"replayed":           `UPDATE group_members SET created_us = 7, row_mac = (SELECT m.row_mac FROM yesterday m) WHERE member_id = 'member 1'`,
		"brought back":       `INSERT INTO group_members SELECT * FROM gone`,
		"revision":           `UPDATE revisions SET revision = revision + 1 WHERE scope = 'authorisation'`,
		"revision row":       `DELETE FROM revisions WHERE scope = 'authorisation'`,
		"digest of directory": `UPDATE revisions SET digest_sealed = (SELECT r.digest_sealed FROM revisions r WHERE r.scope = 'directory')
			WHERE scope = 'authorisation'`,
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			dbtest.EachOptions(t, func(t *testing.T, o db.Options) {
				d, r := dbtest.Open(t, o), raw(t, o)
				put(t, d, "g", 0, 5)
				update(t, d, func(tx *db.Tx) error { // member 1 was another once, member 9 is gone
					return tx.Replace(db.GroupMembers, dbtest.Tenant, "g", "member 1", int64(7))
				})
				put(t, d, "g", 9, 10)
				exec(t, r, `CREATE TABLE yesterday AS SELECT * FROM group_members WHERE member_id = 'member 1'`)
				exec(t, r, `CREATE TABLE gone AS SELECT * FROM group_members WHERE member_id = 'member 9'`)
				update(t, d, func(tx *db.Tx) error {
					if err := tx.Raise(db.Directory); err != nil {
						return err
					}
					if _, err := tx.Remove(db.GroupMembers, `member_id = 'member 9'`); err != nil {
						return err
					}
					return tx.Replace(db.GroupMembers, dbtest.Tenant, "g", "member 1", int64(1))
				})
				view(t, d, func(tx *db.Tx) error { _, err := readMember(tx, "g", 1); return err })
				exec(t, r, attack)
				look := func(d *db.DB) error {
					return d.View(t.Context(), func(tx *db.Tx) error {
						for _, i := range []int{1, 9} {
							if _, err := readMember(tx, "g", i); err != nil {
								return err
							}
						}
						return tx.ProvePart(db.Authorisation, 0)
					})
				}
				if err := look(d); !errors.Is(err, envelope.ErrTampered) {
					t.Errorf("got %v, want ErrTampered", err)
				}
				d.Close()
				if err := look(dbtest.Open(t, o)); !errors.Is(err, envelope.ErrTampered) {
					t.Errorf("after a new start: got %v, want ErrTampered", err)
				}
			})
		})
	}
}

// Writers and readers on two nodes: what others change meanwhile is no sign of a foreign hand.
func TestNodesDoNotSuspectEachOther(t *testing.T) {
	o := dbtest.PostgreSQLOptions(t)
	nodes := []*db.DB{dbtest.Open(t, o), dbtest.Open(t, o)}
	put(t, nodes[0], "0", 0, 1)
	var wg sync.WaitGroup
	for n, d := range nodes {
		group := fmt.Sprint(n)
		wg.Go(func() {
			for i := 1; i < 40; i++ {
				err := d.Update(t.Context(), []string{db.Authorisation}, func(tx *db.Tx) error {
					_, err := tx.Put(db.GroupMembers, nil, member(group, i)...)
					return err
				})
				if err != nil {
					t.Errorf("node %d, write %d: %v", n, i, err)
				}
			}
		})
		wg.Go(func() {
			for i := range 60 {
				read := func(tx *db.Tx) error { _, err := readMember(tx, "0", i%40); return err }
				if err := d.View(t.Context(), read); err != nil {
					t.Errorf("node %d, read: %v", n, err)
				}
				if err := d.Update(t.Context(), []string{db.Directory}, read); err != nil { // locks another set
					t.Errorf("node %d, read in a write: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

// A remembered transaction knows revisions as soon as they are committed, and nothing from tables.
func TestRemembered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		put(t, d, "g", 0, 1)
		update(t, d, func(tx *db.Tx) error { return tx.Raise(db.Directory) })
		tx, ok := d.Remember()
		if !ok {
			t.Fatal("nothing is remembered")
		}
		if _, err := readMember(tx, "g", 0); !errors.Is(err, db.ErrNotRemembered) {
			t.Errorf("a row: %v, want ErrNotRemembered", err)
		}
		end := tx.Now.AddDate(1, 0, 0)
		if err := d.AppendProven(t.Context(), tx, end, []byte("x")); err != nil {
			t.Errorf("append: %v, want nil", err)
		}
		put(t, d, "g", 1, 2)
		if now, _ := d.Remember(); now.Revision(db.Authorisation) != tx.Revision(db.Authorisation)+1 {
			t.Errorf("revision %d after %d, want the next", now.Revision(db.Authorisation), tx.Revision(db.Authorisation))
		}
		if err := d.AppendProven(t.Context(), tx, end, []byte("x")); d.IsAlone() == errors.Is(err, db.ErrStale) {
			t.Errorf("append of what has changed: %v", err) // a single writer's memory needs no proof
		}
		late, _ := d.Remember()
		if err := d.AppendProven(t.Context(), late, late.Now.AddDate(-1, 0, 0), []byte("x")); !d.IsAlone() && !errors.Is(err, db.ErrStale) {
			t.Errorf("append after its end: %v, want ErrStale", err)
		}
	})
}

// A reader of an old snapshot finds its rows, and leaves the others the index of now: a long scrub
// beside a writer would have both read the whole set again and again.
func TestOldReaderLeavesTheIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		put(t, d, "g", 0, 3)
		old, end, err := d.BeginView(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		put(t, d, "g", 3, 5)
		view(t, d, func(tx *db.Tx) error {
			_, err := readMember(tx, "g", 4)
			return err
		})
		now := d.IndexRevision(db.Authorisation)
		for i := range 4 {
			if found, err := readMember(old, "g", i); err != nil || found != (i < 3) {
				t.Errorf("member %d in the old snapshot: %v, %v; want %v", i, found, err, i < 3)
			}
		}
		if got := d.IndexRevision(db.Authorisation); now == 0 || got != now {
			t.Errorf("the index is of revision %d after an old reader, want %d as before it", got, now)
		}
	})
}
