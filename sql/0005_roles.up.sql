-- Two roles without login, for the whole cluster; your application becomes a member of outbox_writer, your relay of
-- outbox_relay. Made only when absent; left out by --no-roles.
-- Each grant below stands on a line of its own and names one role at its end: `outboxd migrate --writer ROLE --relay ROLE`
-- runs the same lines with another role in its place.

DO $do$
DECLARE
    missing text[];
    role_name text;
BEGIN
    SELECT array_agg(name ORDER BY name DESC) INTO missing
      FROM unnest(ARRAY['outbox_writer', 'outbox_relay']) name
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);
    IF missing IS NULL THEN
        RETURN;
    END IF;
    IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('%I may not create the role(s) %s', current_user, array_to_string(missing, ', ')),
            DETAIL = 'That needs CREATEROLE.',
            HINT = 'Leave the roles out with --no-roles, name your own with --writer and --relay, or ask an administrator to run:'
                   || (SELECT string_agg(format(' CREATE ROLE %I NOLOGIN;', name), '') FROM unnest(missing) name);
    END IF;
    FOREACH role_name IN ARRAY missing LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            -- The down migration drops only roles that carry this comment.
            EXECUTE format('COMMENT ON ROLE %I IS %L', role_name, 'outboxd: created by outboxd migrate');
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster was migrated at this moment
        END;
    END LOOP;
END
$do$;

GRANT USAGE ON SCHEMA @schema@ TO outbox_writer;
GRANT USAGE ON SCHEMA @schema@ TO outbox_relay;

GRANT EXECUTE ON FUNCTION @schema@.emit(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) TO outbox_writer;
GRANT EXECUTE ON FUNCTION @schema@.emit_message(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) TO outbox_writer;
GRANT EXECUTE ON FUNCTION @schema@.set_context(text, text, text, boolean) TO outbox_writer;

GRANT SELECT, DELETE, UPDATE (published_at) ON @schema@.event TO outbox_relay;
-- So that it sees when somebody sets the sequence back.
GRANT SELECT ON SEQUENCE @schema@.event_seq_seq TO outbox_relay;
-- `outboxd dead requeue` writes an event again, under a new number.
GRANT INSERT (event_id, event_type, event_version, aggregate_type, aggregate_id, aggregate_version, payload, payload_bytes, content_type, correlation_id, causation_id, traceparent, headers, topic, occurred_at) ON @schema@.event TO outbox_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.position, @schema@.publisher TO outbox_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.dead_letter, @schema@.pause TO outbox_relay;
GRANT SELECT ON @schema@.migration, @schema@.backlog, @schema@.slot_health TO outbox_relay;
