-- +goose Up
-- Up to where each consumer group has settled a partition: the offset of the next
-- record. It is written after the records below it are settled, and before the offset
-- is committed to Kafka. If Kafka is ahead of it, the database has lost the records in
-- between.
CREATE TABLE pawl.marks (
    topic_id   uuid             NOT NULL,
    partition  integer          NOT NULL,
    "offset"   bigint           NOT NULL,
    "group"    text COLLATE "C" NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY ("group", topic_id, partition)
);

-- When a worker last had nothing left to read in a partition. Parked records age only
-- while all partitions are read as records arrive.
CREATE TABLE pawl.caught_up (
    topic_id   uuid             NOT NULL,
    partition  integer          NOT NULL,
    machine    text COLLATE "C" NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (machine, topic_id, partition)
);

-- Which table has the entities of a machine. In the history, parked records and dead
-- letters, the machine's name identifies the table.
CREATE TABLE pawl.tables (
    machine    text COLLATE "C" PRIMARY KEY,
    schema     text             NOT NULL,
    name       text             NOT NULL,
    at         timestamptz      NOT NULL DEFAULT now()
);

-- Parked records that tie entities together. These entities are not moved concurrently.
CREATE INDEX parked_several ON pawl.parked (machine) WHERE jsonb_array_length(changes) > 1;

-- A digest of what the step's message asked for. It distinguishes another message with
-- the same ID. NULL means that the step is older than the column.
ALTER TABLE pawl.transitions ADD COLUMN digest bigint;

-- Fails if a row is not as it was written, because a trigger changed it. The constraint
-- is named after the column.
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
