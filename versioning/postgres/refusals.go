package postgres

import (
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/versioning"
)

// ErrAllRefused is what every [*AllRefusedError] is.
var ErrAllRefused = errors.New("PostgreSQL refuses all records for one reason")

// An AllRefusedError says that PostgreSQL has refused more records in a row for one
// reason than [Table.MaxRefused], and took none in between. Nothing was written: what
// is wrong is hardly the records. It is one of infrastructure ([CauseOf]): once the
// database takes records again, the work goes on.
type AllRefusedError struct {
	Table    string
	Refused  int   // records in a row
	LastSeen error // what PostgreSQL said of the last one
}

func (e *AllRefusedError) Error() string {
	return fmt.Sprintf("table %s: PostgreSQL refused %d records in a row for one reason, which is hardly theirs; "+
		"look at the table, or raise Table.MaxRefused to have them become dead letters: %v", e.Table, e.Refused, e.LastSeen)
}

// Is reports whether target is [ErrAllRefused].
func (e *AllRefusedError) Is(target error) bool { return target == ErrAllRefused }

// errNobodyPassed marks an error that is no record's, since all records meet it.
var errNobodyPassed = errors.New("no record of the table gets through")

// refusals count the records of a table that were refused in a row for one reason.
type refusals struct {
	mu     sync.Mutex
	reason string
	count  int
	passed bool // a record has been written, some time
}

// goOn counts on from what was refused before the table was altered. Whether a record
// gets through now has to be seen.
func (r *refusals) goOn(before *refusals) {
	before.mu.Lock()
	defer before.mu.Unlock()
	r.reason, r.count = before.reason, before.count
}

// pass notes that a record was written.
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

// with returns how many are refused in a row with n more.
func (r *refusals) with(reason string, n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != reason {
		return n
	}
	return r.count + n
}

// refuse notes that n more were refused.
func (r *refusals) refuse(reason string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != reason {
		r.reason, r.count = reason, 0
	}
	r.count += n
}

// refuse notes that PostgreSQL refused a record.
func (t *trial) refuse(try try, err error) {
	t.refused[try.record] = err
	t.count(try, err, 1)
}

// unrefuse takes back a refuse.
func (t *trial) unrefuse(try try, err error) {
	delete(t.refused, try.record)
	t.count(try, err, -1)
}

func (t *trial) count(try try, err error, n int) {
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

// reasonOf names what PostgreSQL refused something for.
func reasonOf(err error) string {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	if pgErr == nil {
		return ""
	}
	return pgErr.Code + " " + pgErr.ConstraintName
}

// doubt returns an error if it is hardly the records that were refused.
func (t *trial) doubt() error {
	for record, err := range t.refused {
		if causeOf(err) == versioning.Data {
			continue
		}
		for _, c := range record.Changes { // an error that is not about data is a record's if others do not meet it
			table := t.store.byMachine[c.Machine]
			if table != nil && !t.passed[table] && (causeOf(err) == versioning.Fatal || !table.refusals.hasPassed()) {
				return fmt.Errorf("%w (table %s): %w", errNobodyPassed, table.Name, err)
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

// onlyReasons returns, of the tables of which all records were refused for one reason,
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

// noteRefused notes what was refused, once that is settled: what is tried again after an
// error does not count twice.
func (t *trial) noteRefused() {
	if t == nil {
		return // nothing was tried
	}
	for table, reason := range t.onlyReasons() {
		table.refusals.refuse(reason, t.reasons[table][reason])
	}
}

// noteWritten notes for which tables PostgreSQL took records.
func (s *edition) noteWritten(moves []*versioning.Move) {
	var last *table
	for _, m := range moves {
		if t := s.byMachine[m.Entity.Machine]; t != last {
			t.refusals.pass()
			last = t
		}
	}
}

// isRefusal reports whether an error may be about the record that met it: it is not one
// about the connection, concurrency, resources, or what the whole batch needs.
func isRefusal(err error) bool {
	if causeOf(err) == versioning.Data {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || errors.Is(err, errOwnTables) || errors.Is(err, errAltered) || len(pgErr.Code) != 5 {
		return false
	}
	switch pgErr.Code[:2] {
	case "03", "0A", "0L", "0P", "0Z", "10", "24", "2B", "2D", "2F", "34", "39", "42": // a trigger that is broken, for this record at least
		return pgErr.Code != duplicateStatement && pgErr.Routine != "RevalidateCachedQuery"
	}
	switch pgErr.Code {
	case objectNotReady: // the same, but where no update of a published table can be told
		return pgErr.Routine != "CheckCmdReplicaIdentity"
	case activeTransaction, objectInUse, internalError:
		return true
	}
	return false
}
