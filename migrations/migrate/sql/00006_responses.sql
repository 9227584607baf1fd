-- +goose Up
-- The stored responses of package gateway. A row is written in the transaction of the change
-- that it answers, and never updated. Rows are deleted in batches as they expire. The table
-- can't be partitioned by time, because the primary key decides whose response is the first.
CREATE TABLE pawl.responses (
    expires_at timestamptz NOT NULL,
    id         bytea       NOT NULL PRIMARY KEY,
    response   bytea       NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);

CREATE INDEX responses_expires_at ON pawl.responses (expires_at);

COMMENT ON TABLE pawl.responses IS 'The stored responses: what requests with an Idempotency-Key were answered. A repeated request gets the same response until it expires.';
COMMENT ON COLUMN pawl.responses.expires_at IS 'When the response expires. Then the row may be deleted, and a request with the key runs again.';
COMMENT ON COLUMN pawl.responses.id IS 'A hash of the key: tenant, route and Idempotency-Key (gateway.Key.ID). The request''s message ID in table transitions is its base64url form.';
COMMENT ON COLUMN pawl.responses.response IS 'The response, in a binary format: see package gateway. It may be encrypted.';
COMMENT ON INDEX pawl.responses_expires_at IS 'Finds the responses that have expired. Sweeps use it.';

-- +goose Down
DROP TABLE pawl.responses;
