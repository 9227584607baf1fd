package postgres

import (
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/versioning"
)

// ErrAllRefused matches every [*AllRefusedError], by [errors.Is].
var ErrAllRefused = errors.New("PostgreSQL refuses all records for the same reason")

// An AllRefusedError says that PostgreSQL has refused more than [Table.MaxRefused]
// records in a row for the same reason, and accepted none in between. The cause is
// probably not the records, so nothing was written. The error's cause ([CauseOf]) is
// Infrastructure: the work continues once the database accepts records again.
type AllRefusedError struct {
	Table    string
	Refused  int   // records in a row
	LastSeen error // PostgreSQL's error for the last one
}

func (e *AllRefusedError) Error() string {
	return fmt.Sprintf("table %s: PostgreSQL refused %d records in a row for the same reason, so the records are probably not the cause; "+
		"fix the table, or raise Table.MaxRefused to make them dead letters: %v", e.Table, e.Refused, e.LastSeen)
}

// Is reports whether target is [ErrAllRefused].
func (e *AllRefusedError) Is(target error) bool { return target == ErrAllRefused }

// errNonePassed marks an error that is not about one record, because all records get
// it.
var errNonePassed = errors.New("PostgreSQL accepts no record of the table")

// refusals counts the records of a table that were refused in a row for the same
// reason.
type refusals struct {
	mu     sync.Mutex
	reason string
	count  int
	passed bool // a record has been written at some time
}

// continueFrom takes over the count from before the table was altered. It does not take
// over passed: the altered table may refuse everything.
func (r *refusals) continueFrom(before *refusals) {
	before.mu.Lock()
	defer before.mu.Unlock()
	r.reason, r.count = before.reason, before.count
}

// pass records that a record was written.
func (r *refusals) pass() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason, r.count, r.passed = "", 0, true
}

func (r *refusals) hasPassed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

// with returns how many records in a row are refused if n more are.
func (r *refusals) with(reason string, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != reason {
		return n
	}
	return r.count + n
}

// refuse records that n more records were refused.
func (r *refusals) refuse(reason string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != reason {
		r.reason, r.count = reason, 0
	}
	r.count += n
}

// refuse records that PostgreSQL refused a record.
func (t *trial) refuse(try try, err error) {
	t.refused[try.record] = err
	t.count(try, err, 1)
}

// unrefuse reverts refuse.
func (t *trial) unrefuse(try try, err error) {
	delete(t.refused, try.record)
	t.count(try, err, -1)
}

func (t *trial) count(try try, err error, n int) {
	if try.record.Direct {
		return // it becomes no dead letter, and its caller gets the reason
	}
	counted := make(map[*table]bool)
	for _, u := range try.units {
		if counted[u.table] {
			continue
		}
		counted[u.table] = true
		reasons := t.reasons[u.table]
		if reasons == nil {
			reasons = make(map[string]int)
			t.reasons[u.table] = reasons
		}
		if reasons[reasonOf(err)] += n; reasons[reasonOf(err)] == 0 {
			delete(reasons, reasonOf(err))
		}
	}
}

// reasonOf returns a key for why PostgreSQL refused something.
func reasonOf(err error) string {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	if pgErr == nil {
		return ""
	}
	return pgErr.Code + " " + pgErr.ConstraintName
}

// checkRefusals returns an error if the refusals are probably not the records' fault.
func (t *trial) checkRefusals() error {
	for record, err := range t.refused {
		if causeOf(err) == versioning.Data {
			continue
		}
		for _, c := range record.Changes { // an error that is not about data is the record's fault only if other records do not get it
			table := t.store.byMachine[c.Machine]
			if table != nil && !t.passed[table] && (causeOf(err) == versioning.Fatal || !table.refusals.hasPassed()) {
				return fmt.Errorf("%w (table %s): %w", errNonePassed, table.Name, err)
			}
		}
	}
	for table, reason := range t.onlyReasons() {
		if count := table.refusals.with(reason, t.reasons[table][reason]); table.MaxRefused >= 0 && count > table.MaxRefused {
			return &AllRefusedError{Table: table.Name, Refused: count, LastSeen: t.anyOf(reason)}
		}
	}
	return nil
}

// onlyReasons returns the tables of which all records were refused for one reason, with
// that reason.
func (t *trial) onlyReasons() map[*table]string {
	only := make(map[*table]string)
	for table, reasons := range t.reasons {
		for reason := range reasons {
			if len(reasons) == 1 && !t.passed[table] {
				only[table] = reason
			}
		}
	}
	return only
}

func (t *trial) anyOf(reason string) error {
	for _, err := range t.refused {
		if reasonOf(err) == reason {
			return err
		}
	}
	return nil
}

// noteRefused counts the refused records. It is called after the COMMIT: what is tried
// again after an error must not count twice.
func (t *trial) noteRefused() {
	if t == nil {
		return // nothing was tried
	}
	for table, reason := range t.onlyReasons() {
		table.refusals.refuse(reason, t.reasons[table][reason])
	}
}

// noteWritten records for which tables PostgreSQL accepted records.
func (s *snapshot) noteWritten(moves []*versioning.Move) {
	var last *table
	for _, m := range moves {
		if t := s.byMachine[m.Entity.Machine]; t != last {
			t.refusals.pass()
			last = t
		}
	}
}

// isRefusal reports whether an error may be the fault of its record: it is not about
// the connection, concurrency, resources, or something that the whole batch needs.
func isRefusal(err error) bool {
	if causeOf(err) == versioning.Data {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || errors.Is(err, errOwnTables) || errors.Is(err, errAltered) || len(pgErr.Code) != 5 {
		return false
	}
	switch pgErr.Code[:2] {
	case "03", "0A", "0L", "0P", "0Z", "10", "24", "2B", "2D", "2F", "34", "39", "42": // a trigger that fails, at least for this record
		return pgErr.Code != duplicateStatement && pgErr.Routine != "RevalidateCachedQuery"
	}
	switch pgErr.Code {
	case objectNotReady: // also a trigger that fails, unless a published table lacks a replica identity
		return pgErr.Routine != "CheckCmdReplicaIdentity"
	case activeTransaction, objectInUse, internalError:
		return true
	}
	return false
}
