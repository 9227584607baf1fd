-- +goose Up
-- A guarded statement that took fewer rows than it had to ends its transaction with
-- an error, which names this constraint: so the COMMIT can be sent along with it.
CREATE DOMAIN pawl.guarded AS boolean CONSTRAINT guarded_rows CHECK (VALUE);
COMMENT ON DOMAIN pawl.guarded IS 'An error of this domain in the log says that rows were moved by someone else: the batch is read and folded again.';

-- +goose Down
DROP DOMAIN pawl.guarded;
