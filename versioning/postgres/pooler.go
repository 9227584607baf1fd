package postgres

import (
	"errors"
	"fmt"
)

// ErrPooler says that a connection's prepared statements are not its own: a pooler
// such as PgBouncer in transaction mode gives each transaction another session. Its
// text names the setting that works. PgBouncer from 1.21 on follows prepared
// statements if its max_prepared_statements is not 0, and then needs no setting here.
var ErrPooler = errors.New("prepared statements do not stay with their connection, as behind a pooler in transaction mode: " +
	"add default_query_exec_mode=cache_describe to the connection string")

// throughPooler makes an [ErrPooler] of an error that tells of one.
func throughPooler(err error) error {
	if isCode(err, duplicateStatement, unknownStatement) && !errors.Is(err, ErrPooler) {
		return fmt.Errorf("%w: %w", ErrPooler, err)
	}
	return err
}
