-- +goose Up
-- Both tables are ordinary tables. The framework needs a key, a state and a version column.
-- The functions of the machines compute the columns of their row types. All other columns
-- belong to whoever writes them. The CHECKs say again what the functions ensure, for
-- everybody else who writes to the tables.
CREATE TABLE payments.payments (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    currency     text   NOT NULL CHECK (currency IN ('EUR', 'JPY', 'USD')),
    authorized   bigint NOT NULL CHECK (authorized > 0),
    captured     bigint NOT NULL CHECK (captured BETWEEN 0 AND authorized),
    refunded     bigint NOT NULL CHECK (refunded >= 0),
    charged_back bigint NOT NULL CHECK (charged_back >= 0),

    fee_rate numeric(6, 5)  NOT NULL CHECK (fee_rate >= 0),
    fees     numeric(20, 4) NOT NULL,

    -- Colleagues' columns: the risk desk updates them whenever it likes.
    risk_note    text,
    risk_reviews bigint NOT NULL DEFAULT 0,
    updated_by   text,

    CHECK (refunded + charged_back <= captured)
) WITH (fillfactor = 80); -- leave room on each page for HOT updates, which need no new index entries

CREATE TABLE payments.accounts (
    id      text COLLATE "C" PRIMARY KEY,
    state   text             NOT NULL,
    version bigint           NOT NULL,

    currency text   NOT NULL CHECK (currency IN ('EUR', 'JPY', 'USD')),
    balance  bigint NOT NULL CHECK (balance >= 0),

    -- A colleague's column: the part of the balance that the interest run has added to it.
    interest   bigint NOT NULL DEFAULT 0,
    updated_by text
) WITH (fillfactor = 80);

-- +goose Down
DROP TABLE payments.accounts;
DROP TABLE payments.payments;
