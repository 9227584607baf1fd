-- +goose Up
-- A store looks for a message among the first steps of an entity. With its hash in the primary
-- key, it need not read the steps themselves. Old steps, and those that older workers write, have
-- none; then the step is read. Stores write and read hashes once the key includes them. In a
-- history with steps, the key is not changed here, because that would keep workers waiting:
-- docs/upgrading.md says how to do it while they run. The key also stays if something depends on it,
-- such as a foreign key.
ALTER TABLE pawl.transitions ADD COLUMN message_hash integer;
COMMENT ON COLUMN pawl.transitions.message_hash IS 'The FNV-1a hash of message_id, 32 bits. NULL if the worker that wrote the step did not know this column, if the primary key did not include it, or after a rebuild of the entity. It becomes NULL if somebody changes message_id.';

DO $migration$
BEGIN
    IF NOT EXISTS (SELECT FROM pawl.transitions) THEN
        ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey,
            ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version) INCLUDE (message_hash);
    END IF;
EXCEPTION WHEN dependent_objects_still_exist OR undefined_object THEN
    RAISE NOTICE 'the primary key of the history stays as it is: %', sqlerrm;
END
$migration$;

-- Workers never change steps. If somebody does, a hash of the old message ID would hide the new one.
CREATE FUNCTION pawl.forget_message_hash() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    new.message_hash := NULL;
    RETURN new;
END
$function$;

CREATE TRIGGER forget_message_hash BEFORE UPDATE OF message_id ON pawl.transitions
    FOR EACH ROW WHEN (new.message_id <> old.message_id AND new.message_hash IS NOT DISTINCT FROM old.message_hash)
    EXECUTE FUNCTION pawl.forget_message_hash();

-- +goose Down
DROP TRIGGER forget_message_hash ON pawl.transitions;
DROP FUNCTION pawl.forget_message_hash();
ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey,
    DROP COLUMN message_hash,
    ADD CONSTRAINT transitions_pkey PRIMARY KEY (entity, machine, version);
