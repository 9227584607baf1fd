-- +goose Up
-- What transitions cause. Each row of pawl.outbox has the messages that one batch sends to
-- one lane. An entity is always in the same lane, and its row is locked when the messages
-- are written, so the ids of a lane are in the order of each entity's transitions.
--
-- The relay deletes rows as it publishes them. It can't rely on VACUUM to free their space,
-- because that stops while anybody holds a snapshot. So new rows go to another partition
-- every ten seconds, and the relay truncates each partition once it is empty.
CREATE TABLE pawl.outbox (
    id       bigserial   NOT NULL,
    token    bigint      NOT NULL, -- random: tells the row from one with the same id in a restored backup
    at       timestamptz NOT NULL DEFAULT now(),
    slot     smallint    NOT NULL,
    lane     smallint    NOT NULL,
    n        integer     NOT NULL,
    messages bytea       NOT NULL
) PARTITION BY LIST (slot);
ALTER TABLE pawl.outbox ALTER COLUMN messages SET STORAGE EXTERNAL;

CREATE INDEX outbox_lane ON pawl.outbox (lane, id);

CREATE TABLE pawl.outbox_0 PARTITION OF pawl.outbox FOR VALUES IN (0);
CREATE TABLE pawl.outbox_1 PARTITION OF pawl.outbox FOR VALUES IN (1);
CREATE TABLE pawl.outbox_2 PARTITION OF pawl.outbox FOR VALUES IN (2);
CREATE TABLE pawl.outbox_3 PARTITION OF pawl.outbox FOR VALUES IN (3);
CREATE TABLE pawl.outbox_4 PARTITION OF pawl.outbox FOR VALUES IN (4);
CREATE TABLE pawl.outbox_5 PARTITION OF pawl.outbox FOR VALUES IN (5);
CREATE TABLE pawl.outbox_6 PARTITION OF pawl.outbox FOR VALUES IN (6);
CREATE TABLE pawl.outbox_7 PARTITION OF pawl.outbox FOR VALUES IN (7);

-- Messages that the broker refuses for good.
CREATE TABLE pawl.unsent (
    id         bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text COLLATE "C" NOT NULL UNIQUE, -- machine, entity, version and index
    source     text COLLATE "C" NOT NULL,
    machine    text COLLATE "C" NOT NULL,
    entity     text COLLATE "C" NOT NULL,
    event      text COLLATE "C" NOT NULL,
    version    bigint           NOT NULL,
    index      integer          NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    key        bytea,
    value      bytea,
    content_type text COLLATE "C" NOT NULL,
    headers    jsonb            NOT NULL,
    emitted_at timestamptz      NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    detail     text             NOT NULL,
    attempts   integer          NOT NULL DEFAULT 1,
    died_at    timestamptz      NOT NULL DEFAULT now()
);

-- For Debezium's outbox event router, instead of pawl.outbox: it reads the rows from the
-- WAL, so they are deleted in the transaction that inserts them. The router reads the time of
-- an event as a number, so its column has no time zone: a timestamptz is a text for Debezium.
CREATE TABLE pawl.outbox_events (
    id            uuid             NOT NULL PRIMARY KEY,
    aggregatetype text COLLATE "C" NOT NULL,
    aggregateid   text COLLATE "C" NOT NULL,
    type          text COLLATE "C" NOT NULL,
    payload       bytea,
    timestamp     timestamp        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    ce_specversion text            NOT NULL DEFAULT '1.0',
    ce_id         text             NOT NULL,
    ce_source     text             NOT NULL,
    ce_time       text             NOT NULL,
    content_type  text,
    headers       jsonb            NOT NULL
);

-- Timers that are armed. Each row has the timers of one event that one batch has armed and
-- that are due at nearly the same time. Nothing is written when an entity leaves the state;
-- whether a timer still holds is decided when it is due.
--
-- A row is never due before the transaction that inserts it has begun, even if its timers
-- are. So nobody has to look for new rows among those that have fired. If somebody holds a
-- snapshot, the index keeps those.
CREATE TABLE pawl.timers (
    due      timestamptz      NOT NULL, -- of the first timer, or later
    id       bigint           NOT NULL GENERATED ALWAYS AS IDENTITY,
    n        integer          NOT NULL,
    tries    integer          NOT NULL, -- how often it could not be fired
    machine  text COLLATE "C" NOT NULL,
    event    text COLLATE "C" NOT NULL,
    entities text[] COLLATE "C" NOT NULL,
    versions bigint[]         NOT NULL,
    dues     timestamptz[], -- NULL: all are due when the row is
    PRIMARY KEY (machine, due, id)
);
-- Keys and versions hardly compress, and compression costs more than the rest of the INSERT.
ALTER TABLE pawl.timers ALTER COLUMN entities SET STORAGE EXTERNAL, ALTER COLUMN versions SET STORAGE EXTERNAL;

-- Entities that have replaced a timer while they stayed in a state.
CREATE TABLE pawl.rearmed (
    version bigint           NOT NULL,
    machine text COLLATE "C" NOT NULL,
    entity  text COLLATE "C" NOT NULL,
    event   text COLLATE "C" NOT NULL,
    PRIMARY KEY (entity, machine, event)
);

COMMENT ON TABLE pawl.outbox IS 'The outbox: messages that transitions have emitted and that are not published yet. Each row has the messages of one batch for one lane.';
COMMENT ON COLUMN pawl.outbox.id IS 'Numbers the rows. In a lane, the messages of each entity are in this order.';
COMMENT ON COLUMN pawl.outbox.token IS 'A random number. A transactional relay keeps it in Kafka, to know which rows it has published.';
COMMENT ON COLUMN pawl.outbox.at IS 'When the transaction that emitted the messages began.';
COMMENT ON COLUMN pawl.outbox.slot IS 'The partition: another one every ten seconds.';
COMMENT ON COLUMN pawl.outbox.lane IS 'The lane, a hash of machine and entity. One relay at a time publishes a lane.';
COMMENT ON COLUMN pawl.outbox.n IS 'The number of messages.';
COMMENT ON COLUMN pawl.outbox.messages IS 'The messages, in a binary format: see package versioning/postgres.';
COMMENT ON INDEX pawl.outbox_lane IS 'Finds the next messages of a lane.';
COMMENT ON TABLE pawl.unsent IS 'The dead letters of the outbox: messages that the broker refuses for good, such as one that is too large.';
COMMENT ON COLUMN pawl.unsent.id IS 'Numbers the messages.';
COMMENT ON COLUMN pawl.unsent.message_id IS 'The message''s ID, which is its ce_id header.';
COMMENT ON COLUMN pawl.unsent.source IS 'The source of the ID, which is its ce_source header.';
COMMENT ON COLUMN pawl.unsent.machine IS 'The machine of the entity that emitted it.';
COMMENT ON COLUMN pawl.unsent.entity IS 'The key of the entity that emitted it.';
COMMENT ON COLUMN pawl.unsent.event IS 'The event that made the transition.';
COMMENT ON COLUMN pawl.unsent.version IS 'The entity''s version after the transition that emitted it.';
COMMENT ON COLUMN pawl.unsent.index IS 'Its place among the messages of the transition, counted from 0.';
COMMENT ON COLUMN pawl.unsent.topic IS 'The topic that it was for.';
COMMENT ON COLUMN pawl.unsent.key IS 'The record''s key; NULL if it has none.';
COMMENT ON COLUMN pawl.unsent.value IS 'The record''s value; NULL if it has none.';
COMMENT ON COLUMN pawl.unsent.content_type IS 'The media type of the value; empty if it is unknown.';
COMMENT ON COLUMN pawl.unsent.headers IS 'The headers that the transition has set, as in table parked.';
COMMENT ON COLUMN pawl.unsent.emitted_at IS 'The time of the record that made the transition.';
COMMENT ON COLUMN pawl.unsent.reason IS 'Why it was refused: the name of Kafka''s error.';
COMMENT ON COLUMN pawl.unsent.detail IS 'The reason in words.';
COMMENT ON COLUMN pawl.unsent.attempts IS 'How often it was refused: 1, and 1 more for each time it was sent again.';
COMMENT ON COLUMN pawl.unsent.died_at IS 'When it was refused.';
COMMENT ON TABLE pawl.outbox_events IS 'Messages for Debezium''s outbox event router, if a table is configured for it. Debezium reads them from the WAL; the table is always empty.';
COMMENT ON COLUMN pawl.outbox_events.id IS 'A UUID derived from ce_source and ce_id.';
COMMENT ON COLUMN pawl.outbox_events.aggregatetype IS 'The topic. Set route.topic.replacement to ${routedByValue}.';
COMMENT ON COLUMN pawl.outbox_events.aggregateid IS 'The record''s key as text.';
COMMENT ON COLUMN pawl.outbox_events.type IS 'The event that made the transition.';
COMMENT ON COLUMN pawl.outbox_events.payload IS 'The record''s value.';
COMMENT ON COLUMN pawl.outbox_events.timestamp IS 'When the transaction that emitted the message began, in UTC.';
COMMENT ON COLUMN pawl.outbox_events.ce_specversion IS 'The version of CloudEvents.';
COMMENT ON COLUMN pawl.outbox_events.ce_id IS 'The message''s ID.';
COMMENT ON COLUMN pawl.outbox_events.ce_source IS 'The source of the ID.';
COMMENT ON COLUMN pawl.outbox_events.ce_time IS 'The time of the record that made the transition, as in CloudEvents.';
COMMENT ON COLUMN pawl.outbox_events.content_type IS 'The media type of the payload; NULL if it is unknown.';
COMMENT ON COLUMN pawl.outbox_events.headers IS 'The headers that the transition has set, as a JSON object.';
COMMENT ON TABLE pawl.timers IS 'The timers that are armed. Each row has those of one event that one batch has armed for nearly the same time.';
COMMENT ON COLUMN pawl.timers.due IS 'When workers look at the row: when the first of its timers is due, or later if that was past already, or if a timer could not be fired.';
COMMENT ON COLUMN pawl.timers.id IS 'Numbers the rows.';
COMMENT ON COLUMN pawl.timers.n IS 'The number of timers.';
COMMENT ON COLUMN pawl.timers.tries IS 'How often the timers could not be fired. Workers wait longer each time, up to a minute.';
COMMENT ON COLUMN pawl.timers.machine IS 'The machine of the entities.';
COMMENT ON COLUMN pawl.timers.event IS 'The event that happens when a timer is due.';
COMMENT ON COLUMN pawl.timers.entities IS 'The keys of the entities.';
COMMENT ON COLUMN pawl.timers.versions IS 'For each entity, its version when it armed the timer.';
COMMENT ON COLUMN pawl.timers.dues IS 'For each entity, when its timer is due; NULL if all are due when the row is.';
COMMENT ON TABLE pawl.rearmed IS 'Entities that have replaced a timer while they stayed in a state. Older timers for the event no longer hold.';
COMMENT ON COLUMN pawl.rearmed.version IS 'The entity''s version when it armed the last timer.';
COMMENT ON COLUMN pawl.rearmed.machine IS 'The machine of the entity.';
COMMENT ON COLUMN pawl.rearmed.entity IS 'The key of the entity.';
COMMENT ON COLUMN pawl.rearmed.event IS 'The event of the timer.';

-- Steps may have other origins than a record of a topic.
COMMENT ON COLUMN pawl.transitions.topic IS 'The name of the record''s topic, for people; topic_id identifies the topic. Empty if a caller of Store.Do made the change. Timers and callers of Store.Deliver have names that no topic has.';

-- +goose Down
COMMENT ON COLUMN pawl.transitions.topic IS 'The name of the record''s topic, for people; topic_id identifies the topic.';
DROP TABLE pawl.rearmed;
DROP TABLE pawl.timers;
DROP TABLE pawl.outbox_events;
DROP TABLE pawl.unsent;
DROP TABLE pawl.outbox;
