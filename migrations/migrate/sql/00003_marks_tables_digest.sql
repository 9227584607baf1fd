-- +goose Up
-- How far each consumer group has settled a partition: the offset of the next
-- record. It is written after what it speaks of, and before the offset is committed
-- to Kafka: where Kafka is ahead of it, the database has lost what lies between.
CREATE TABLE pawl.marks (
    topic_id   uuid             NOT NULL,
    partition  integer          NOT NULL,
    "offset"   bigint           NOT NULL,
    "group"    text COLLATE "C" NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY ("group", topic_id, partition)
);

-- When a worker last had nothing left to read of a partition. Parked records grow
-- older only while their partition is read as it comes.
CREATE TABLE pawl.caught_up (
    topic_id   uuid             NOT NULL,
    partition  integer          NOT NULL,
    machine    text COLLATE "C" NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine, topic_id, partition)
);

-- Which table holds the entities of a machine. The machine's name stands for the
-- table in the history, with parked records and with dead letters.
CREATE TABLE pawl.tables (
    machine    text COLLATE "C" PRIMARY KEY,
    schema     text             NOT NULL,
    name       text             NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now()
);

-- Parked records that tie entities together: those are not moved at the same time.
CREATE INDEX parked_several ON pawl.parked (machine) WHERE jsonb_array_length(changes) > 1;

-- What the step's message said, to tell a second message with the same ID. NULL:
-- the step is older than the column.
ALTER TABLE pawl.transitions ADD COLUMN digest bigint;

-- What a statement wrote that is not what it was told to write: the name of the
-- constraint is the column. Triggers do that.
CREATE DOMAIN pawl.written AS text
    CONSTRAINT written_key     CHECK (VALUE <> 'key')
    CONSTRAINT written_state   CHECK (VALUE <> 'state')
    CONSTRAINT written_version CHECK (VALUE <> 'version');
COMMENT ON DOMAIN pawl.written IS 'An error of this domain in the log says that a trigger changed the key, state or version of a row as it was written.';

-- +goose Down
DROP DOMAIN pawl.written;
ALTER TABLE pawl.transitions DROP COLUMN digest;
DROP INDEX pawl.parked_several;
DROP TABLE pawl.tables;
DROP TABLE pawl.caught_up;
DROP TABLE pawl.marks;
