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

-- +goose Down
DROP INDEX pawl.dead_letters_definition;
ALTER TABLE pawl.dead_letters DROP COLUMN definition;
ALTER TABLE pawl.parked DROP COLUMN definition;
DROP TABLE pawl.machines;
