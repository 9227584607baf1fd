-- +goose Up
-- The entity tables are ordinary tables. The framework needs a key, a state and
-- a version column; all other columns belong to the application. COLLATE "C"
-- compares keys as bytes, which is enough for keys and faster than a locale.
-- fillfactor leaves room on each page for HOT updates, which need no new index
-- entries.
CREATE TABLE orderflow.orders (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    customer      text           NOT NULL,
    total         numeric(12, 2) NOT NULL CHECK (total > 0),
    charge        text           NOT NULL, -- empty until it is paid
    placed_at     timestamptz    NOT NULL,
    shipped_at    timestamptz,
    tracking      text,
    delivered_at  timestamptz,
    cancelled_at  timestamptz,
    cancel_reason text
) WITH (fillfactor = 80);

CREATE TABLE orderflow.payments (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    amount numeric(12, 2) NOT NULL,
    card   text           NOT NULL,
    charge text           NOT NULL
) WITH (fillfactor = 80);

-- The table of the second worker.
CREATE TABLE orderflow.shipments (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    customer text NOT NULL,
    tracking text NOT NULL
) WITH (fillfactor = 80);

-- +goose Down
DROP TABLE orderflow.shipments;
DROP TABLE orderflow.payments;
DROP TABLE orderflow.orders;
