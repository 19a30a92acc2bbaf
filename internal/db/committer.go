package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxBatch bounds how many jobs share a commit, so that the first of them does not wait for
	// an endless queue behind it.
	maxBatch = 256
	// batchTimeout bounds a whole batch, from BEGIN to the answer of COMMIT, where a network can be lost.
	batchTimeout = 20 * time.Second
	// maxTries is how often a job that met a conflict is tried, and retryFor how long.
	maxTries = 8
	retryFor = 10 * time.Second
)

// A job is one Update or Append that waits for a commit. The function may run more than once:
// it must choose ids before, and set what it returns anew each time.
type job struct {
	ctx     context.Context
	locks   []string
	fn      func(*Tx) error // nil for an Append
	records [][]byte        // of an Append
	proof   *proof          // of an AppendProven, where it has to be looked at
	done    chan error      // capacity 1
	taken   atomic.Bool     // by a worker, or by its caller, who has no more time
	err     error           // the job's own refusal in the batch at hand
}

// A lane is a queue with workers that turn what waits in it into commits. SQLite has one lane
// with one worker, since it has one writer. PostgreSQL has two lanes of two workers: jobs that
// lock revision rows must not hold up records that lock nothing.
type lane struct{ jobs chan *job }

func (d *DB) start() {
	for range d.engine.lanes {
		l := &lane{jobs: make(chan *job, 4*maxBatch)}
		d.lanes = append(d.lanes, l)
		for range d.engine.workers {
			d.wg.Go(func() { d.work(l) })
		}
	}
	for _, run := range d.engine.background {
		d.wg.Go(func() { run(d.closing) })
	}
}

// Update runs fn in a transaction and returns after its commit is durable. The scopes in locks
// are locked first, in one order; fn raises those that it changes. fn may run several times
// (after a conflict) and shares its commit with other jobs: it must be short, touch nothing
// outside tx, and not assume that an earlier run left anything behind.
func (d *DB) Update(ctx context.Context, locks []string, fn func(*Tx) error) error {
	j := &job{ctx: ctx, locks: locks, fn: fn, done: make(chan error, 1)}
	return d.submit(d.lanes[0], j)
}

// Append stores records in the journal and returns after they are durable.
func (d *DB) Append(ctx context.Context, records ...[]byte) error {
	j := &job{ctx: ctx, records: records, done: make(chan error, 1)}
	return d.submit(d.lanes[len(d.lanes)-1], j)
}

// submit queues a job and waits for its outcome. A job whose caller has gone before it began is
// dropped; one that began is seen through, since its commit is shared, but a caller whose time is over
// is told that nobody knows.
func (d *DB) submit(l *lane, j *job) error {
	if err := d.queue(l, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-j.ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return j.tooLate()
		}
	case <-d.stopped: // it was queued after the last worker had looked
	}
	return d.seeThrough(j)
}

func (d *DB) queue(l *lane, j *job) error {
	select {
	case <-d.closing:
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	default:
	}
	select {
	case l.jobs <- j:
		return nil
	case <-j.ctx.Done():
		return j.tooLate()
	case <-d.closing:
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
}

// seeThrough waits for the outcome of a job that has begun, or that nobody will begin.
func (d *DB) seeThrough(j *job) error {
	var over <-chan struct{} // of the time; who has only hung up need not be told
	if errors.Is(j.ctx.Err(), context.DeadlineExceeded) {
		over = j.ctx.Done()
	}
	select {
	case err := <-j.done:
		return err
	case <-over:
		return fmt.Errorf("%w: %w: the commit takes too long: %w", ErrUnavailable, ErrUnknownOutcome, j.ctx.Err())
	case <-d.stopped:
	}
	select {
	case err := <-j.done:
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
}

// tooLate is the end of a job that was never begun.
func (j *job) tooLate() error {
	return fmt.Errorf("%w: waited for the committer: %w", ErrUnavailable, j.ctx.Err())
}

// work serves a lane until Close, and then what is still queued.
func (d *DB) work(l *lane) {
	for {
		select {
		case j := <-l.jobs:
			d.commitAll(l.gather(j))
			d.engine.afterCommit()
		case <-d.closing:
			select {
			case j := <-l.jobs:
				d.commitAll(l.gather(j))
				d.engine.afterCommit()
			default:
				return
			}
		}
	}
}

// gather takes what waits already, without a timer: an idle committer commits at once, a busy
// one finds a longer queue.
func (l *lane) gather(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-l.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commitAll commits a batch. When the batch as a whole meets a conflict, its jobs are tried
// again one by one, so that one bad neighbour costs the others time, not success.
func (d *DB) commitAll(batch []*job) {
	batch = slices.DeleteFunc(batch, func(j *job) bool {
		if !j.taken.CompareAndSwap(false, true) {
			return true // nobody waits for it
		}
		if j.ctx.Err() == nil {
			return false
		}
		j.done <- j.tooLate()
		return true
	})
	if len(batch) == 0 {
		return
	}
	err := d.commit(batch)
	if d.engine.isFull(err) && d.makeRoom() {
		if batch = d.refuseChanges(batch, err); len(batch) == 0 {
			return
		}
		err = d.commit(batch)
	}
	if err == nil || !d.engine.isConflict(err) {
		answer(batch, d.engine.wrap(err))
		return
	}
	for _, j := range batch {
		answer([]*job{j}, d.engine.wrap(d.commitAlone(j)))
	}
}

// refuseChanges answers the jobs that change something and returns the others: what is left of the
// disk is for records.
func (d *DB) refuseChanges(batch []*job, err error) (records []*job) {
	for _, j := range batch {
		if j.fn == nil {
			records = append(records, j)
			continue
		}
		j.done <- d.engine.wrap(err)
	}
	return records
}

func (d *DB) commitAlone(j *job) error {
	var err error
	deadline := time.Now().Add(retryFor)
	for try := range maxTries {
		if time.Now().After(deadline) {
			break
		}
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << try))
		select {
		case <-time.After(pause):
		case <-j.ctx.Done():
			return fmt.Errorf("%w: tried again after a conflict: %w", ErrUnavailable, j.ctx.Err())
		}
		if err = d.commit([]*job{j}); err == nil || !d.engine.isConflict(err) {
			return err
		}
	}
	return fmt.Errorf("%w: still in conflict after %d tries or %s: %w", ErrUnavailable, maxTries, retryFor, err)
}

// answer tells each job how it ended: its own refusal, or the batch's fate.
func answer(batch []*job, err error) {
	for _, j := range batch {
		switch {
		case err != nil:
			j.done <- err
		default:
			j.done <- j.err
		}
	}
}

// commit runs a batch in one transaction. It returns nil when the commit is durable; jobs that
// refused have their error in j.err and left nothing behind. An error means that nothing of
// the batch is stored, unless ErrUnknownOutcome is in its chain.
func (d *DB) commit(batch []*job) (err error) {
	began := time.Now()
	records := 0
	defer func() { d.onCommit(len(batch), records, time.Since(began), err) }()
	ctx, cancel := d.engine.batchContext()
	defer cancel()
	defer d.engine.enter()()
	next := int64(0)
	defer func() { d.keepNext(next, err) }()

	if d.ring == nil {
		return errors.New("write to the database: it is not bound to a keyring")
	}
	if !slices.ContainsFunc(batch, func(j *job) bool { return j.fn != nil }) {
		records, next, err = d.commitRecords(ctx, batch)
		return err
	}
	how := unguarded
	if len(batch) == 1 {
		how = alone
	}
	records, next, err = d.commitJobs(ctx, batch, how)
	if errors.Is(err, errUnguarded) {
		records, next, err = d.commitJobs(ctx, batch, guarded)
	}
	return err
}

// keepNext notes where the log goes on after a commit; 0 where that has not changed.
func (d *DB) keepNext(next int64, err error) {
	switch {
	case !d.engine.alone: // several commit at once, and none gives places
	case err != nil:
		d.next = 0 // what the commit has left has to be looked up
	case next > 0:
		d.next = next
	}
}

// A guarding says what keeps a job that fails from harming the others of its batch.
type guarding int

const (
	alone     guarding = iota // there are no others: the transaction is rolled back
	unguarded                 // nothing: most jobs that fail do so before they have written
	guarded                   // a savepoint around each job
)

// errKeptToItself is the end of a job that went on after a statement had failed.
var errKeptToItself = errors.New("a statement of the job had failed, and the job did not")

// errUnguarded means that a batch has to be run again with savepoints.
var errUnguarded = errors.New("a job failed after it had written")

// commitJobs runs and commits a batch.
func (d *DB) commitJobs(ctx context.Context, batch []*job, how guarding) (records int, next int64, err error) {
	since := d.guard.now()
	stx, err := d.writes.BeginTx(ctx, nil)
	if err != nil {
		return 0, 0, unavailable("begin to write", err)
	}
	defer stx.Rollback()
	tx := d.newTx(ctx, within(stx, d.engine.writeStatements), since)
	tx.writable = true
	if err := d.open(tx, mergeLocks(batch)); err != nil {
		return 0, 0, err
	}
	if err := tx.readProofs(batch); err != nil {
		return 0, 0, err
	}
	for _, j := range batch {
		if err := d.run(tx, j, how); err != nil {
			return 0, 0, err
		}
	}
	if how == alone && batch[0].err != nil {
		return 0, 0, nil // refused, and rolled back as a whole
	}
	id := newCommitID()
	records = len(tx.records)
	if err := tx.storeRevisions(); err != nil {
		return 0, 0, err
	}
	if err := d.storeJournal(tx, id); err != nil {
		return 0, 0, keptOut(err)
	}
	err = stx.Commit()
	if isRolledBack(err) {
		return 0, 0, fmt.Errorf("commit: a statement of the job had failed: %w", err)
	}
	if err != nil && !d.engine.isFull(err) {
		err = d.settle(id, records > 0, err)
	}
	if err == nil {
		d.announce(tx)
		d.guard.committed(tx)
	}
	return records, tx.next, err
}

// commitRecords stores the records of a batch that changes nothing else, by a statement that is a
// transaction of its own. What proves them is read before, after all their requests had arrived.
func (d *DB) commitRecords(ctx context.Context, batch []*job) (records int, next int64, err error) {
	tx := d.newTx(ctx, runner{querier: d.writes, from: d.engine.writeStatements}, d.guard.now())
	tx.writable = true
	if err := d.readTime(tx); err != nil {
		return 0, 0, err
	}
	if err := tx.readProofs(batch); err != nil {
		return 0, 0, err
	}
	for _, j := range batch {
		if j.err = j.proof.holds(tx); j.err == nil {
			tx.records = append(tx.records, j.records...)
		}
	}
	id := newCommitID()
	err = d.storeJournal(tx, id)
	switch {
	case IsUnique(err): // mostly of the id: the driver sent it twice, and the first did arrive
		err = d.arrived(ctx, id, err)
	case d.engine.isUnavailable(err) && !d.engine.isFull(err):
		err = d.settle(id, true, err)
	}
	if err == nil {
		next = tx.next
	}
	return len(tx.records), next, err
}

func mergeLocks(batch []*job) []string {
	var locks []string
	for _, j := range batch {
		locks = append(locks, j.locks...)
	}
	slices.Sort(locks)
	return slices.Compact(locks)
}

// run runs one job. The error it returns is the batch's; the job's own goes to j.err.
func (d *DB) run(tx *Tx, j *job, how guarding) error {
	j.err = nil
	if j.fn == nil {
		if j.err = j.proof.holds(tx); j.err == nil {
			tx.records = append(tx.records, j.records...)
		}
		return nil
	}
	undo := tx.mark()
	if how == guarded {
		if _, err := tx.Exec(`SAVEPOINT job`); err != nil {
			return fmt.Errorf("set a savepoint: %w", err)
		}
	}
	tx.wrote, tx.broke = false, false
	j.err = call(j.fn, tx)
	if j.err == nil && tx.broke { // PostgreSQL lets nothing follow, so neither engine does
		j.err = errKeptToItself
	}
	if j.err == nil && how == guarded {
		_, err := tx.Exec(`RELEASE SAVEPOINT job`)
		return err
	}
	if d.engine.isConflict(j.err) || d.engine.isUnavailable(j.err) {
		return j.err // the transaction is lost, and the batch with it
	}
	if how == unguarded && j.err != nil && (tx.broke || tx.wrote) {
		return errUnguarded
	}
	if j.err == nil {
		return nil
	}
	undo()
	if how != guarded {
		return nil
	}
	if _, err := tx.Exec(`ROLLBACK TO SAVEPOINT job`); err != nil {
		return fmt.Errorf("undo a refused job: %w", err)
	}
	_, err := tx.Exec(`RELEASE SAVEPOINT job`)
	return err
}

// call keeps a panicking job from taking the committer, and everybody's writes, with it.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in a transaction: %v", r)
		}
	}()
	return fn(tx)
}

// mark remembers where the transaction stands in memory; undo brings it back there.
func (t *Tx) mark() (undo func()) {
	records, next := len(t.records), t.next
	revisions, base, changes := maps.Clone(t.revisions), maps.Clone(t.base), maps.Clone(t.changes)
	return func() {
		t.records, t.next = t.records[:records], next
		t.revisions, t.base, t.changes = revisions, base, changes
	}
}
