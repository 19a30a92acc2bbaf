package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"strongroom/internal/audit"
	"strongroom/internal/config"
	"strongroom/internal/db"
	"strongroom/internal/dump"
	"strongroom/internal/envelope"
)

// ErrUnconfirmed is in the chain of an error when the database is served as soon as an operator says
// that it is the right one, by ConfirmRestore.
var ErrUnconfirmed = errors.New("an operator has to confirm this database")

// metaRestored stands in the database from the restore of a dump until an operator confirms it, and
// says which dump it was. A server does not start while it is there.
const metaRestored = "restored_unconfirmed"

// A Compared is a figure that the dump tells, and what was counted after it was loaded.
type Compared struct {
	What             string
	InDump, Restored int64
}

// A RestoreReport says what Restore has done.
type RestoreReport struct {
	Header   dump.Header
	SHA256   string // of the dump inside its encryption
	Compared []Compared
}

// Restore fills an empty place from a dump, decrypted, and proves everything by the root key. Whatever
// goes wrong, nothing of it stays: it is one transaction, and a file that it made is removed. The
// server must not run. The result has to be confirmed, see ConfirmRestore; if the process dies
// before the commit, the place is empty, after it, unconfirmed. progress is told of each table; nil
// for nobody.
func Restore(ctx context.Context, o Options, from io.Reader, progress func(table string)) (RestoreReport, error) {
	in, err := dump.NewReader(from)
	if err != nil {
		return RestoreReport{}, err
	}
	r := &restorer{config: o.Config, in: in, progress: progress, report: RestoreReport{Header: in.Header()}}
	if err := checkSchema(in.Header()); err != nil {
		return r.report, err
	}
	if err := r.readKeys(); err != nil {
		return r.report, err
	}
	takeBack, err := r.open(ctx)
	if err == nil {
		r.db.Bind(r.deployment.tenant, r.ring)
		err = r.db.Load(ctx, r.fill, r.prove)
		err = errors.Join(err, r.db.Close())
	}
	if err != nil {
		return r.report, errors.Join(err, takeBack())
	}
	return r.report, nil
}

// checkSchema wants a dump of this release's schema: rows are proven as this release reads them
// before they are committed, and migrations are for what is committed.
func checkSchema(h dump.Header) error {
	switch have := db.SchemaVersion(); {
	case h.Schema > have:
		return fmt.Errorf("the dump was made by the newer release %s: it has schema %d, this release has %d; restore it with that release", h.Release, h.Schema, have)
	case h.Schema < have:
		return fmt.Errorf("the dump was made by the older release %s: it has schema %d, this release has %d; restore it with that release, then start this one, which migrates it", h.Release, h.Schema, have)
	}
	return nil
}

// A restorer is a restore under way.
type restorer struct {
	config     config.Config
	in         *dump.Reader
	progress   func(string)
	report     RestoreReport
	early      []loaded // what was read to open the keyring
	deployment deployment
	ring       *envelope.Ring
	db         *db.DB
}

// loaded are rows of a table that wait for the database.
type loaded struct {
	table db.Stored
	rows  [][]any
}

// Bounds of what is kept before the keyring is open: rows of the first two tables, and their bytes.
const (
	maxEarly      = 10_000
	maxEarlyBytes = 16 << 20
)

// table begins the next table of the dump, which has to be the one that this release has there.
func (r *restorer) table(want db.Stored) error {
	got, err := r.in.NextTable()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: table %q is missing", dump.ErrChanged, want.Name)
	}
	if err != nil {
		return err
	}
	if got.Name != want.Name || !slices.Equal(got.Columns, want.Columns) {
		return fmt.Errorf("%w: found table %q (%s), want %q (%s)", dump.ErrChanged,
			got.Name, strings.Join(got.Columns, " "), want.Name, strings.Join(want.Columns, " "))
	}
	if r.progress != nil {
		r.progress(want.Name)
	}
	return nil
}

func (r *restorer) rows(use func([]any) error) error {
	for {
		row, err := r.in.Row()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = use(row)
		}
		if err != nil {
			return err
		}
	}
}

// readKeys reads the first two tables, and opens the keyring with the root key of the configuration,
// before anything is written anywhere.
func (r *restorer) readKeys() error {
	meta, keys, size := map[string]string{}, []envelope.SealedKey(nil), 0
	for _, table := range db.Tables()[:2] { // meta and keyring
		if err := r.table(table); err != nil {
			return err
		}
		l := loaded{table: table}
		err := r.rows(func(row []any) error {
			if size += sizeOf(row); len(l.rows) == maxEarly || size > maxEarlyBytes {
				return fmt.Errorf("%w: table %q has more than %d rows or %d bytes", dump.ErrChanged, table.Name, maxEarly, maxEarlyBytes)
			}
			l.rows = append(l.rows, slices.Clone(row))
			if table.Name == "meta" {
				meta[text(row[0])] = text(row[1])
				return nil
			}
			sealed, _ := row[5].([]byte)
			keys = append(keys, envelope.SealedKey{KeyID: text(row[2]), Purpose: text(row[3]), RootKeyID: text(row[4]), Sealed: sealed})
			return nil
		})
		if err != nil {
			return err
		}
		r.early = append(r.early, l)
	}
	return r.openKeys(meta, keys)
}

func sizeOf(row []any) (n int) {
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func (r *restorer) openKeys(meta map[string]string, keys []envelope.SealedKey) error {
	r.deployment = deployment{
		id: meta[metaDeployment], tenant: meta[metaTenant], subscription: meta[metaSubscription],
		group: meta[metaGroup], passphrase: meta[metaPassphrase],
	}
	if h := r.in.Header(); h.Deployment != r.deployment.id || h.Tenant != r.deployment.tenant {
		return fmt.Errorf("%w: its header names deployment %q, its rows %q", dump.ErrChanged, h.Deployment, r.deployment.id)
	}
	found, err := openRootKeys(r.config, r.deployment.passphrase)
	if err != nil {
		return fmt.Errorf("%s: the root key of the deployment that made the dump is needed: %w", rootKeySetting(r.config), err)
	}
	roots := envelope.NewRootKeys(found...)
	r.ring, err = envelope.OpenRing(roots, r.deployment.id, keys)
	if errors.Is(err, envelope.ErrWrongRootKey) {
		return fmt.Errorf("%s is root key %s, which is of another deployment: the dump of deployment %s needs root key %s",
			rootKeySetting(r.config), strings.Join(roots.IDs(), ", "), r.deployment.id, strings.Join(r.in.Header().RootKeys, ", "))
	}
	return err
}

// open opens the place. takeBack removes what this has made, after the database was closed; it is
// good whether or not open succeeds.
func (r *restorer) open(ctx context.Context) (takeBack func() error, err error) {
	var made []string
	paths := []string{r.config.DataDir}
	if r.config.Database.Engine == string(db.SQLite) {
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			paths = append(paths, r.config.Database.Path+suffix)
		}
	}
	for _, path := range paths {
		if !exists(path) {
			made = append(made, path)
		}
	}
	slices.Reverse(made) // the folder last
	takeBack = func() error {
		for _, path := range made {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && path != r.config.DataDir {
				return fmt.Errorf("remove what was begun: %w", err)
			}
		}
		return nil
	}
	if err := makeDataDir(r.config); err != nil {
		return takeBack, err
	}
	options, err := databaseOptions(r.config)
	if err != nil {
		return takeBack, err
	}
	r.db, err = db.OpenEmpty(ctx, options)
	if errors.Is(err, db.ErrNotEmpty) {
		err = fmt.Errorf("%w: restore into an empty place: set data_dir or the database to another, or move away what is there", err)
	}
	return takeBack, err
}

// fill moves the rows of the dump into the database, and reads it to its end.
func (r *restorer) fill(into *db.Loader) error {
	for _, l := range r.early {
		for _, row := range l.rows {
			if err := into.Insert(l.table, row); err != nil {
				return err
			}
		}
	}
	for _, table := range db.Tables()[len(r.early):] {
		if err := r.table(table); err != nil {
			return err
		}
		if err := r.rows(func(row []any) error { return into.Insert(table, row) }); err != nil {
			return err
		}
	}
	switch t, err := r.in.NextTable(); {
	case err == nil:
		return fmt.Errorf("%w: table %q is none of this release's", dump.ErrChanged, t.Name)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// prove compares what was loaded with what the dump tells of itself, proves all of it as a scrub
// does, and leaves the mark that an operator has to take away.
func (r *restorer) prove(tx *db.Tx) error {
	if err := r.compare(tx); err != nil {
		return err
	}
	if r.progress != nil {
		r.progress("proof of everything")
	}
	if err := newStores(r.config, r.ring, r.deployment.tenant).prover().Prove(tx); err != nil {
		return fmt.Errorf("the dump holds what its deployment did not write, or lacks what it did; use another: %w", err)
	}
	sum := r.in.Trailer().SHA256
	r.report.SHA256 = fmt.Sprintf("%x", sum)
	return tx.SetMeta(metaRestored, fmt.Sprintf("the dump of %s, SHA-256 %x", r.in.Header().Time.Format(time.RFC3339), sum))
}

func (r *restorer) compare(tx *db.Tx) error {
	h := r.in.Header()
	entries, err := audit.Last(tx)
	if err != nil {
		return err
	}
	r.report.Compared = []Compared{
		{"revision of authorisation", h.Authorisation, tx.Revision(db.Authorisation)},
		{"revision of the directory", h.Directory, tx.Revision(db.Directory)},
		{"audit entries", h.Entries, entries},
	}
	for i, table := range db.Tables() {
		n, err := tx.Rows(table)
		if err != nil {
			return err
		}
		r.report.Compared = append(r.report.Compared, Compared{"rows of " + table.Name, r.in.Trailer().Counts[i].Rows, n})
	}
	for _, c := range r.report.Compared {
		if c.InDump != c.Restored {
			return fmt.Errorf("%w: %s: %d in the dump, %d restored", dump.ErrChanged, c.What, c.InDump, c.Restored)
		}
	}
	return nil
}

// checkRestored refuses a database that was restored and not confirmed.
func (a *app) checkRestored(ctx context.Context) error {
	return a.db.View(ctx, func(tx *db.Tx) error {
		from, err := tx.MetaBy(a.ring, metaRestored) // it is repeated to the operator
		if err == nil && from != "" {
			err = fmt.Errorf("%w: it was restored from %s. Look at what the restore compared, then confirm it", ErrUnconfirmed, from)
		}
		return err
	})
}
