package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// This file writes and reads table audit: what operators have dropped and redriven.

// An Act says who does something to records that are kept, and how the table audit names it.
type Act struct {
	// As is the person, for example user@host. Required. The database adds the role that has
	// logged in.
	As string

	// Verb is what is done, such as "dead-letters drop". Required.
	Verb string

	// Arguments are those of the command.
	Arguments string
}

// ErrAudit says that an act can't be recorded, so nothing is done.
var ErrAudit = errors.New("this can't be recorded in the table audit, so nothing is done")

func (a *Act) validate() error {
	if a.As == "" || a.Verb == "" {
		return fmt.Errorf("%w: set Act.As and Act.Verb", ErrAudit)
	}
	return nil
}

// checkAudit checks that a role can record what it does. Before version 8, a schema has no table
// for it.
func (s *schema) checkAudit(ctx context.Context, pool *pgxpool.Pool, act *Act) error {
	if err := act.validate(); err != nil {
		return err
	}
	var table *string
	var may bool
	var user string
	if err := pool.QueryRow(ctx, mayAuditSQL, oneMessage, s.quoted+".audit").Scan(&table, &may, &user); err != nil {
		return withCause(fmt.Errorf("look for table %s.audit: %w", s, err))
	}
	switch {
	case table == nil:
		return fmt.Errorf("%w: schema %s is older than version 8; upgrade it with: pawl migrate up", ErrAudit, s)
	case !may:
		return fmt.Errorf("%w: role %s lacks INSERT on %s.audit; GRANT it", ErrAudit, user, s)
	}
	return nil
}

// mayAuditSQL reads the privileges on single columns too. Without the columns at and by, a role
// can't claim to be another one.
const mayAuditSQL = `
SELECT to_regclass($1)::text, coalesce((
	SELECT bool_and(has_column_privilege(to_regclass($1), c, 'INSERT')) FROM unnest('{actor,verb,arguments,rows,ids}'::text[]) AS c
), false), current_user::text`

// insertAuditSQL records what was done to the rows with the IDs $1: $2 actor, $3 verb, $4 arguments.
const insertAuditSQL pawlSQL = `
INSERT INTO pawl.audit (actor, verb, arguments, rows, ids)
SELECT $2::text, $3::text, $4::text, cardinality($1::bigint[]), ARRAY(SELECT id FROM unnest($1::bigint[]) AS u(id) ORDER BY id)`

// args returns the parameters of insertAuditSQL.
func (a *Act) args(ids []int64) []any { return []any{ids, a.As, a.Verb, a.Arguments} }

// A redriven is what a record has if it is a dead letter that an operator redrives.
type redriven struct {
	act *Act
	id  int64
}

// audit queues the statement that records which dead letters a plan settles for an operator.
func (w *writer) audit(plan *versioning.Plan) {
	var act *Act
	var ids []int64
	for _, settled := range [...][]versioning.Settled{plan.Dead, plan.Revive} {
		for _, s := range settled {
			if r := preparedOf(s.Record).redriven; r != nil {
				act, ids = r.act, append(ids, r.id)
			}
		}
	}
	if act != nil {
		w.batch.Queue(w.store.schema.sql(insertAuditSQL), act.args(ids)...)
	}
}

// An AuditEntry is a row of the table audit.
type AuditEntry struct {
	Act

	ID   int64
	At   time.Time
	By   string // the database role that had logged in
	Rows int64
	IDs  []int64 // of dead letters or parked records
}

// An AuditFilter selects audit entries. The zero value selects the newest ones.
type AuditFilter struct {
	// Before skips entries with this ID or a higher one, and Limit limits how many are returned:
	// use them to page through a long list. Limit 0 means 100.
	Before int64
	Limit  int
}

// Audit returns what operators have done, the newest first.
func (o *Operator) Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	rows, err := o.pool.Query(ctx, o.schema.sql(listAuditSQL), oneMessage, f.Before, cmp.Or(max(f.Limit, 0), defaultLimit))
	var all []AuditEntry
	if err == nil {
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e AuditEntry, err error) {
			err = row.Scan(&e.ID, &e.At, &e.By, &e.As, &e.Verb, &e.Arguments, &e.Rows, &e.IDs)
			return e, err
		})
	}
	if isCode(err, undefinedTable) {
		err = fmt.Errorf("%w; schema %s is older than version 8; upgrade it with: pawl migrate up", err, o.schema)
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("read the table audit: %w", err))
	}
	return all, nil
}

const listAuditSQL pawlSQL = `
SELECT id, at, by, actor, verb, arguments, rows, ids FROM pawl.audit WHERE $1 = 0 OR id < $1 ORDER BY id DESC LIMIT $2`
