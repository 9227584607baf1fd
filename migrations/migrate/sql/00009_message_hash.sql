-- +goose Up
-- A store looks for a message among the first steps of an entity. With its hash in the primary
-- key, it need not read the steps themselves. Old steps, and those that older workers write, have
-- none; then the step is read. Stores write and read hashes once the key includes them. In a
-- history with steps, the key is not changed here, because that would keep workers waiting:
-- docs/upgrading.md says how to do it while they run.
ALTER TABLE pawl.transitions ADD COLUMN message_hash integer;
COMMENT ON COLUMN pawl.transitions.message_hash IS 'The FNV-1a hash of message_id, 32 bits. NULL if the worker that wrote the step did not know this column, or the primary key did not include it. Set it to NULL if you change message_id.';

DO $migration$
BEGIN
    IF NOT EXISTS (SELECT FROM pawl.transitions) THEN
        ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey,
            ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version) INCLUDE (message_hash);
    END IF;
END
$migration$;

-- +goose Down
ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey,
    DROP COLUMN message_hash,
    ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version);
