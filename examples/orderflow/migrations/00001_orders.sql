-- +goose Up
-- The entity table is an ordinary one. The framework asks for a key, a state
-- and a version, and writes those; all other columns are the application's. Keys
-- are compared as bytes: that is what keys need, and a locale makes it dear.
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
) WITH (fillfactor = 80); -- room on each page for new versions of its rows, which then need no new index entries

-- +goose Down
DROP TABLE orderflow.orders;
