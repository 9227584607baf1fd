package postgres

import (
	"errors"
	"fmt"
)

// ErrPooler says that prepared statements do not stay with their connection: a pooler
// such as PgBouncer in transaction mode gives each transaction a different session. Its
// text names the setting that works. PgBouncer 1.21 and later tracks prepared
// statements if max_prepared_statements is not 0, and then needs no setting here.
var ErrPooler = errors.New("prepared statements do not stay with their connection, as behind a pooler in transaction mode: " +
	"add default_query_exec_mode=cache_describe to the connection string")

// throughPooler adds [ErrPooler] to an error that a pooler causes.
func throughPooler(err error) error {
	if isCode(err, duplicateStatement, unknownStatement) && !errors.Is(err, ErrPooler) {
		return fmt.Errorf("%w: %w", ErrPooler, err)
	}
	return err
}
