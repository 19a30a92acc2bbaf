package db_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"strongroom/internal/db"
	"strongroom/internal/db/dbtest"
)

// All connections are taken, and each of their transactions has a text that nobody has run yet: to
// prepare it must not wait for a connection that only they could give back.
func TestNewTextsOnAllConnections(t *testing.T) {
	const connections = 4
	o := dbtest.SQLiteOptions(t)
	o.Connections = connections
	d := dbtest.Open(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var taken, all sync.WaitGroup
	taken.Add(connections)
	for i := range connections {
		all.Go(func() {
			err := d.View(ctx, func(tx *db.Tx) error {
				taken.Done()
				taken.Wait()
				for round := range 3 { // as it is, and then perhaps prepared
					var got int
					if err := tx.QueryRow(fmt.Sprintf(`SELECT %d + $1`, i), round).Scan(&got); err != nil || got != i+round {
						return fmt.Errorf("got %d, %v; want %d", got, err, i+round)
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	all.Wait()
}
