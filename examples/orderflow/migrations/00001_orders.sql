-- +goose Up
-- The entity table is an ordinary one. The framework asks for a key, a state
-- and a version, and writes those; all other columns are the application's.
CREATE TABLE orderflow.orders (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    customer      text           NOT NULL,
    total         numeric(12, 2) NOT NULL CHECK (total > 0),
    placed_at     timestamptz    NOT NULL,
    paid_at       timestamptz,
    shipped_at    timestamptz,
    tracking      text,
    delivered_at  timestamptz,
    cancelled_at  timestamptz,
    cancel_reason text
);

-- +goose Down
DROP TABLE orderflow.orders;
