-- +goose Up
-- The entity table is an ordinary table. The framework needs a key, a state and
-- a version column; all other columns belong to the application. COLLATE "C"
-- compares keys as bytes, which is enough for keys and faster than a locale.
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
) WITH (fillfactor = 80); -- leave room on each page for HOT updates, which need no new index entries

-- +goose Down
DROP TABLE orderflow.orders;
