-- The schema, the list of applied migrations, and the outbox table.

DO $do$
DECLARE
    foreign_object text;
    usable boolean;
    owner_name text;
BEGIN
    -- Owned, or prepared by its owner: USAGE and CREATE are all that our objects need.
    SELECT has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'),
           pg_get_userbyid(n.nspowner),
           (SELECT min(pg_describe_object(d.classid, d.objid, d.objsubid))
              FROM pg_depend d
             WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.deptype = 'n')
      INTO usable, owner_name, foreign_object
      FROM pg_namespace n
     WHERE n.nspname = @schema_literal@;
    IF NOT FOUND THEN
        CREATE SCHEMA @schema@;
        -- The down migration drops the schema only while it carries this comment.
        COMMENT ON SCHEMA @schema@ IS 'outboxd: transactional outbox (created by outboxd migrate)';
    ELSIF foreign_object IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = format('schema %I exists, and outboxd did not create it', @schema_literal@),
            DETAIL = format('It contains %s, which outboxd did not create.', foreign_object),
            HINT = CASE WHEN obj_description(to_regclass(format('%I.migration', @schema_literal@)), 'pg_class') LIKE 'outboxd: %'
                        THEN 'If this is a copy that was made without its rows (pg_dump -s), run outboxd migrate --baseline.'
                        ELSE 'Choose another name with --schema NAME, or empty that schema.' END;
    ELSIF NOT usable THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('schema %I exists and belongs to %I', @schema_literal@, owner_name),
            DETAIL = format('It is empty, but %I lacks USAGE or CREATE on it.', current_user),
            HINT = format('Ask its owner to run: GRANT USAGE, CREATE ON SCHEMA %I TO %I; Or choose another name with --schema NAME.',
                          @schema_literal@, current_user);
    ELSIF NOT pg_has_role(owner_name, 'USAGE') THEN
        RAISE NOTICE 'schema % belongs to %, who can replace the objects in it', quote_ident(@schema_literal@), owner_name;
    END IF;
END
$do$;

CREATE TABLE @schema@.migration (
    version         integer     NOT NULL PRIMARY KEY,
    name            text        NOT NULL,
    checksum        text        NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by      text        NOT NULL DEFAULT session_user,
    outboxd_version text        NOT NULL,
    duration_ms     integer     NOT NULL,
    skipped         boolean     NOT NULL DEFAULT false
);
COMMENT ON TABLE @schema@.migration IS 'outboxd: the migrations that created this schema; outboxd migrate writes it, or the SQL that outboxd migrate --print prints';
COMMENT ON COLUMN @schema@.migration.checksum IS 'SHA-256 of the text of the migration, before the name of the schema is inserted';
COMMENT ON COLUMN @schema@.migration.skipped IS 'omitted because of --no-roles, --writer or --relay; outboxd migrate --roles applies it';

-- UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then the random bits of a version 4 UUID. Bits 52 and 53
-- of those bytes turn the version nibble from 4 into 7. Runs with the caller's search_path, hence every name qualified.
CREATE FUNCTION @schema@.new_event_id() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $function$
SELECT pg_catalog.encode(
           pg_catalog.set_bit(
               pg_catalog.set_bit(
                   pg_catalog.overlay(
                       pg_catalog.uuid_send(pg_catalog.gen_random_uuid()),
                       pg_catalog.substring(
                           pg_catalog.int8send(
                               pg_catalog.floor(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
                                                OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8),
                           3),
                       1, 6),
                   52, 1),
               53, 1),
           'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION @schema@.new_event_id() IS 'outboxd: returns a new UUID of version 7, the default of event.event_id';

CREATE TABLE @schema@.event (
    -- CACHE 1: a session that cached numbers would insert low ones late and turn the order of a key around.
    seq               bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    event_id          uuid        NOT NULL DEFAULT @schema@.new_event_id(),
    event_type        text        NOT NULL,
    event_version     integer     NOT NULL DEFAULT 1,
    aggregate_type    text        NOT NULL,
    aggregate_id      text,
    aggregate_version bigint,
    payload           jsonb,
    payload_bytes     bytea,
    content_type      text,
    correlation_id    text,
    causation_id      text,
    traceparent       text,
    headers           jsonb,
    topic             text,
    -- Not now(): that is the start of the transaction, which may be long ago.
    occurred_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at      timestamptz,
    CONSTRAINT event_type_not_empty CHECK (event_type <> ''),
    CONSTRAINT event_aggregate_type_not_empty CHECK (aggregate_type <> ''),
    CONSTRAINT event_one_payload CHECK (payload IS NULL OR payload_bytes IS NULL),
    CONSTRAINT event_headers_object CHECK (jsonb_typeof(headers) = 'object'),
    CONSTRAINT event_occurred_at_finite CHECK (isfinite(occurred_at))
) WITH (
    -- A queue: vacuum by number of rows, not by share of the table, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000
);
-- What the relay looks for. There is no index on event_id: it would cost every insert a random page.
CREATE INDEX event_unpublished ON @schema@.event (seq) WHERE published_at IS NULL;

COMMENT ON TABLE @schema@.event IS 'outboxd: the outbox; each row is an event, which is published after its transaction has committed';
COMMENT ON COLUMN @schema@.event.seq IS 'order of insertion; events with the same key are published in this order';
COMMENT ON COLUMN @schema@.event.event_id IS 'the id by which consumers recognise duplicates';
COMMENT ON COLUMN @schema@.event.aggregate_id IS 'the key of the record; NULL means a record without a key';
COMMENT ON COLUMN @schema@.event.aggregate_version IS 'the number of the event within its aggregate, which consumers may check';
COMMENT ON COLUMN @schema@.event.payload IS 'the value of the record; NULL here and in payload_bytes means a tombstone, jsonb null means the value null';
COMMENT ON COLUMN @schema@.event.payload_bytes IS 'the value of the record if it is not JSON';
COMMENT ON COLUMN @schema@.event.causation_id IS 'id of the event or command that caused this event';
COMMENT ON COLUMN @schema@.event.traceparent IS 'W3C trace context';
COMMENT ON COLUMN @schema@.event.headers IS 'further headers of the record, a JSON object';
COMMENT ON COLUMN @schema@.event.topic IS 'used only if the relay has allow_row_topic = true';
COMMENT ON COLUMN @schema@.event.published_at IS 'when the relay marked the event as published';
