package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

type txKey struct{}

// Tx returns the transaction of the request whose handler got ctx. What the handler writes in
// it commits together with the stored response, or not at all. The gateway begins and ends
// it: Commit and Rollback return [ErrManaged]. Begin makes a savepoint, as always. If the
// response has a status of 4xx, what the handler wrote is rolled back, and the response is
// stored.
//
// Tx returns nil if the request has none: its method needs no key, or the backend is
// [Backend.WithoutTransaction]. The transaction may not be used after the handler has
// returned.
func Tx(ctx context.Context) pgx.Tx {
	tx, ok := ctx.Value(txKey{}).(handlerTx)
	if !ok {
		return nil
	}
	return tx
}

// ErrManaged is what Commit and Rollback of a handler's transaction return.
var ErrManaged = errors.New("the gateway ends this transaction: it commits with a response that is stored, and is rolled back otherwise")

// A handlerTx is a transaction that the handler can't end.
type handlerTx struct{ pgx.Tx }

func (handlerTx) Commit(context.Context) error   { return ErrManaged }
func (handlerTx) Rollback(context.Context) error { return ErrManaged }
