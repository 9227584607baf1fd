-- +goose Up
-- The definitions of machines. Each one that a worker has opened is here, so that a worker with
-- another one knows what to expect.
CREATE TABLE pawl.machines (
    version   integer          NOT NULL,
    withdrawn boolean          NOT NULL DEFAULT false,
    at        timestamptz      NOT NULL DEFAULT now(),
    name      text COLLATE "C" NOT NULL,
    hash      text COLLATE "C" NOT NULL,
    revision  text             NOT NULL,
    by        text             NOT NULL DEFAULT session_user,
    outline   jsonb            NOT NULL,
    PRIMARY KEY (name, version)
);

-- The version of the machine that judged the record last. 0 is before this column existed.
ALTER TABLE pawl.parked ADD COLUMN definition integer NOT NULL DEFAULT 0;
ALTER TABLE pawl.dead_letters ADD COLUMN definition integer NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_definition ON pawl.dead_letters (machine, definition);

-- What a rebuild of an entity has replaced. Workers do not use it.
CREATE TABLE pawl.replaced (
    id           bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz      NOT NULL DEFAULT now(),
    by           text             NOT NULL DEFAULT session_user,
    machine      text COLLATE "C" NOT NULL,
    entity       text COLLATE "C" NOT NULL,
    version      bigint           NOT NULL,
    old          jsonb            NOT NULL,
    history      jsonb            NOT NULL,
    parked       jsonb            NOT NULL,
    dead_letters jsonb            NOT NULL,
    timers       jsonb            NOT NULL
);
CREATE INDEX replaced_entity ON pawl.replaced (machine, entity);

COMMENT ON TABLE pawl.machines IS 'The definitions of machines that workers have opened.';
COMMENT ON COLUMN pawl.machines.version IS 'The version of the definition.';
COMMENT ON COLUMN pawl.machines.withdrawn IS 'Whether the version was given up: workers with older versions no longer keep records for it.';
COMMENT ON COLUMN pawl.machines.at IS 'When a worker opened it for the first time.';
COMMENT ON COLUMN pawl.machines.name IS 'The name of the machine.';
COMMENT ON COLUMN pawl.machines.hash IS 'A hash of the outline without its version.';
COMMENT ON COLUMN pawl.machines.revision IS 'What the definition says about its functions, which can''t be compared.';
COMMENT ON COLUMN pawl.machines.by IS 'The role that opened it for the first time.';
COMMENT ON COLUMN pawl.machines.outline IS 'The definition without its functions, as JSON: see statemachine.Outline.';
COMMENT ON COLUMN pawl.parked.definition IS 'The version of the machine that judged the record last; 0 if it is unknown.';
COMMENT ON COLUMN pawl.dead_letters.definition IS 'The version of the machine that judged the record last; 0 if it is unknown.';
COMMENT ON INDEX pawl.dead_letters_definition IS 'Finds the dead letters that an older version of a machine has judged.';
COMMENT ON TABLE pawl.replaced IS 'What a rebuild of an entity has replaced: its row, history, parked records, dead letters and timers as they were.';
COMMENT ON COLUMN pawl.replaced.id IS 'Numbers the rebuilds.';
COMMENT ON COLUMN pawl.replaced.at IS 'When the entity was rebuilt.';
COMMENT ON COLUMN pawl.replaced.by IS 'The role that rebuilt it.';
COMMENT ON COLUMN pawl.replaced.machine IS 'The machine of the entity.';
COMMENT ON COLUMN pawl.replaced.entity IS 'The key of the entity.';
COMMENT ON COLUMN pawl.replaced.version IS 'The version of the row that was replaced; 0 if there was none.';
COMMENT ON COLUMN pawl.replaced.old IS 'The row, as an object; null if there was none.';
COMMENT ON COLUMN pawl.replaced.history IS 'The rows of table transitions, as an array.';
COMMENT ON COLUMN pawl.replaced.parked IS 'The rows of table parked, as an array.';
COMMENT ON COLUMN pawl.replaced.dead_letters IS 'The rows of table dead_letters, as an array.';
COMMENT ON COLUMN pawl.replaced.timers IS 'The rows of table timers, as an array.';
COMMENT ON INDEX pawl.replaced_entity IS 'Finds what was replaced of an entity.';

-- +goose Down
DROP TABLE pawl.replaced;
DROP INDEX pawl.dead_letters_definition;
ALTER TABLE pawl.dead_letters DROP COLUMN definition;
ALTER TABLE pawl.parked DROP COLUMN definition;
DROP TABLE pawl.machines;
