-- +goose Up
-- The history: one row per step of every entity. It proves duplicates, and is the
-- audit trail.
CREATE TABLE pawl.transitions (
    version            bigint           NOT NULL, -- the row's version after the step
    "offset"           bigint           NOT NULL,
    at                 timestamptz      NOT NULL DEFAULT now(),
    partition          integer          NOT NULL,
    definition_version integer          NOT NULL,
    topic_id           uuid             NOT NULL,
    machine            text COLLATE "C" NOT NULL,
    entity             text COLLATE "C" NOT NULL,
    event              text COLLATE "C" NOT NULL,
    from_state         text COLLATE "C" NOT NULL, -- empty: the step created the entity
    to_state           text COLLATE "C" NOT NULL,
    message_id         text COLLATE "C" NOT NULL,
    topic              text COLLATE "C" NOT NULL,
    PRIMARY KEY (entity, machine, version) -- entity comes first, because it differs most and is compared first
);

-- The first 16 steps of an entity are few enough to search for a message by the
-- primary key. Only later steps need a separate index. Most entities never have so
-- many steps, and an index on message IDs is expensive because they arrive in no
-- order. Not unique: one message may make several steps.
CREATE INDEX transitions_message_id ON pawl.transitions (entity, machine, message_id) WHERE version > 16;

-- Records that are not legal yet and wait for their entity to move.
CREATE TABLE pawl.parked (
    topic_id     uuid             NOT NULL,
    partition    integer          NOT NULL,
    "offset"     bigint           NOT NULL,
    scope        text COLLATE "C" NOT NULL, -- the machine of its first change: workers of other machines may park the same record
    topic        text COLLATE "C" NOT NULL,
    seq          bigint           NOT NULL GENERATED ALWAYS AS IDENTITY, -- the order in which records were parked
    machine      text COLLATE "C" NOT NULL, -- the entity that it waits for
    entity       text COLLATE "C" NOT NULL,
    reason       text COLLATE "C" NOT NULL,
    seen_version bigint           NOT NULL, -- the entity's version when the record was last judged
    changes      jsonb            NOT NULL,
    key          bytea,
    value        bytea,
    headers      jsonb            NOT NULL,
    "timestamp"  timestamptz      NOT NULL,
    parked_at    timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition, "offset", scope)
);

CREATE INDEX parked_entity ON pawl.parked (machine, entity, seq);
-- Not on the machine too: to a planner without statistics, such an index would look
-- as good as parked_entity.
CREATE INDEX parked_at ON pawl.parked (parked_at);

-- Complete records that can never be applied.
CREATE TABLE pawl.dead_letters (
    topic_id    uuid             NOT NULL,
    partition   integer          NOT NULL,
    "offset"    bigint           NOT NULL,
    scope       text COLLATE "C" NOT NULL, -- as in pawl.parked; empty if the record has no change
    topic       text COLLATE "C" NOT NULL,
    id          bigint           NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    verdict     text COLLATE "C" NOT NULL,
    reason      text COLLATE "C" NOT NULL,
    detail      text             NOT NULL,
    machine     text COLLATE "C" NOT NULL, -- empty if the record named none
    entity      text COLLATE "C" NOT NULL,
    event       text COLLATE "C" NOT NULL,
    key         bytea,
    value       bytea,
    headers     jsonb            NOT NULL,
    "timestamp" timestamptz      NOT NULL,
    attempts    integer          NOT NULL DEFAULT 1, -- 1, plus 1 for each failed redrive
    died_at     timestamptz      NOT NULL DEFAULT now(),
    copied_at   timestamptz, -- when it was copied to a topic, if that is configured
    PRIMARY KEY (topic_id, partition, "offset", scope)
);

CREATE INDEX dead_letters_uncopied ON pawl.dead_letters (topic, id) WHERE copied_at IS NULL;

-- +goose Down
DROP TABLE pawl.dead_letters;
DROP TABLE pawl.parked;
DROP TABLE pawl.transitions;
