-- Takes the rights in this schema back. A role goes only when nothing else in the cluster depends on it and when
-- outboxd made it.

DO $do$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['outbox_writer', 'outbox_relay'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        EXECUTE format('REVOKE ALL ON %1$I.event, %1$I.position, %1$I.publisher, %1$I.dead_letter, %1$I.pause, %1$I.migration, %1$I.backlog, '
                       '%1$I.slot_health FROM %2$I', @schema_literal@, role_name);
        EXECUTE format('REVOKE ALL ON SEQUENCE %1$I.event_seq_seq FROM %2$I', @schema_literal@, role_name);
        EXECUTE format('REVOKE ALL ON FUNCTION %1$I.emit, %1$I.emit_message, %1$I.set_context FROM %2$I', @schema_literal@, role_name);
        EXECUTE format('REVOKE ALL ON SCHEMA %1$I FROM %2$I', @schema_literal@, role_name);
        IF (SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = role_name)
           IS DISTINCT FROM 'outboxd: created by outboxd migrate' THEN
            RAISE NOTICE 'role % is kept: outboxd did not create it', role_name;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', role_name);
        EXCEPTION
            WHEN dependent_objects_still_exist THEN
                RAISE NOTICE 'role % is kept: it is used elsewhere in this cluster', role_name;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % is kept: % may not drop it', role_name, current_user;
        END;
    END LOOP;
END
$do$;
