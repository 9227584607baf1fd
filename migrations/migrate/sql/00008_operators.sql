-- +goose Up
-- It comes first, because it may take long, and ALTER TABLE keeps workers from starting.
-- Most dead letters have an entity. Those without one are not looked for by it.
CREATE INDEX dead_letters_entity ON pawl.dead_letters (machine, entity, id) WHERE entity <> '';

-- For those who look at the database without the code of the machines. Workers run without it.
ALTER TABLE pawl.tables
    ADD COLUMN key_column text,
    ADD COLUMN state_column text,
    ADD COLUMN version_column text;

-- What operators have done. It is written in the transaction that does it.
CREATE TABLE pawl.audit (
    id        bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz      NOT NULL DEFAULT now(),
    by        text             NOT NULL DEFAULT session_user,
    actor     text             NOT NULL,
    verb      text COLLATE "C" NOT NULL,
    arguments text             NOT NULL,
    rows      bigint           NOT NULL,
    ids       bigint[]         NOT NULL
);

COMMENT ON COLUMN pawl.tables.key_column IS 'The column with the entity''s key; NULL until a worker that knows this column has started.';
COMMENT ON COLUMN pawl.tables.state_column IS 'The column with the entity''s state; NULL likewise.';
COMMENT ON COLUMN pawl.tables.version_column IS 'The column with the entity''s version; NULL likewise.';
COMMENT ON INDEX pawl.dead_letters_entity IS 'Finds the dead letters of an entity.';
COMMENT ON TABLE pawl.goose_db_version IS 'The versions of this schema, one row for each migration that ran. goose writes it when package migrations/migrate or "pawl migrate" runs; workers only read it.';
COMMENT ON TABLE pawl.audit IS 'What operators have dropped and redriven. Each row is written in the transaction that did it.';
COMMENT ON COLUMN pawl.audit.id IS 'Numbers the rows.';
COMMENT ON COLUMN pawl.audit.at IS 'When the transaction began.';
COMMENT ON COLUMN pawl.audit.by IS 'The role that has logged in to the database.';
COMMENT ON COLUMN pawl.audit.actor IS 'The person: user@host of the operating system, or what --as says.';
COMMENT ON COLUMN pawl.audit.verb IS 'What was done, such as "dead-letters drop".';
COMMENT ON COLUMN pawl.audit.arguments IS 'The arguments of the command.';
COMMENT ON COLUMN pawl.audit.rows IS 'How many rows it was done to.';
COMMENT ON COLUMN pawl.audit.ids IS 'Which rows: the IDs of dead letters, or the seq of parked records.';

-- +goose Down
COMMENT ON TABLE pawl.goose_db_version IS 'The versions of this schema, one row for each migration that ran. goose writes it when package migrations/migrate or pawl-migrate runs; workers only read it.';
DROP TABLE pawl.audit;
DROP INDEX pawl.dead_letters_entity;
ALTER TABLE pawl.tables DROP COLUMN key_column, DROP COLUMN state_column, DROP COLUMN version_column;
