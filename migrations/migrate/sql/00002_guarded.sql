-- +goose Up
-- A guarded statement that affects fewer rows than it must fails with an error that
-- names this constraint, and aborts its transaction. So the COMMIT can be sent in the
-- same round trip.
CREATE DOMAIN pawl.guarded AS boolean CONSTRAINT guarded_rows CHECK (VALUE);
COMMENT ON DOMAIN pawl.guarded IS 'An error of this domain in the log says that rows were moved by someone else: the batch is read and folded again.';

-- +goose Down
DROP DOMAIN pawl.guarded;
