-- What applications call. These functions run with their owner's rights, so that a writer needs no right on the table;
-- their search_path names pg_temp last, else a caller's temporary types and tables would be found first.

CREATE FUNCTION @schema@.check_traceparent(traceparent text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- https://www.w3.org/TR/trace-context/#traceparent-header; versions after 00 may append fields.
    IF traceparent !~ '^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?$'
       OR length(traceparent) > 512
       OR left(traceparent, 2) = 'ff'
       OR (left(traceparent, 2) = '00' AND length(traceparent) <> 55)
       OR substr(traceparent, 4, 32) = repeat('0', 32)
       OR substr(traceparent, 37, 16) = repeat('0', 16) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'traceparent is malformed',
            DETAIL = format('"%s" is not a W3C trace context.', left(traceparent, 80)),
            HINT = 'Use lower case, for example 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, or pass NULL for no trace context.';
    END IF;
END
$function$;

-- What the schema's owner may replace, with CREATE OR REPLACE FUNCTION. Not settings: any session may SET those.

CREATE FUNCTION @schema@.record_bytes_max() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
SELECT 1000000
$function$;

CREATE FUNCTION @schema@.type_pattern() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
SELECT '^[A-Za-z0-9._-]{1,200}$'
$function$;

-- The bytes of a text in UTF-8, which is what is sent. Inlined, like message_field below.
CREATE FUNCTION @schema@.octets(value text) RETURNS integer
LANGUAGE sql STABLE
AS $function$
SELECT CASE WHEN getdatabaseencoding() IN ('UTF8', 'SQL_ASCII') THEN octet_length(value)
            ELSE octet_length(convert_to(value, 'UTF8')) END
$function$;

-- Refuses an event because one of its fields is too long.
CREATE FUNCTION @schema@.refuse_length(field text, bytes bigint, bytes_max bigint, hint text) RETURNS void
LANGUAGE plpgsql STABLE
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'program_limit_exceeded',
        MESSAGE = format('%s of %s bytes is over the limit of %s bytes', field, bytes, bytes_max),
        DETAIL = 'The event could not be published.',
        HINT = hint;
END
$function$;

-- Headers: a JSON object of at most 256 members, 32 levels below a member, and 65536 bytes, none of them with a name of
-- the envelope. The numbers are those of relay/encode/limits.h.
CREATE FUNCTION @schema@.check_headers(headers jsonb, bytes integer) RETURNS void
LANGUAGE plpgsql STABLE
AS $function$
#variable_conflict use_variable
DECLARE
    members bigint;
    name text;
BEGIN
    IF jsonb_typeof(headers) <> 'object' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'headers is not a JSON object',
            DETAIL = format('It is of type %s.', jsonb_typeof(headers)),
            HINT = 'Pass an object of names and values, such as {"tenant": "acme"}.';
    END IF;
    IF bytes > 65536 THEN
        PERFORM @schema@.refuse_length('headers', bytes, 65536, 'Large values belong in the payload.');
    END IF;
    SELECT count(*) INTO members FROM jsonb_object_keys(headers);
    IF members > 256 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'program_limit_exceeded',
            MESSAGE = format('headers has %s members, more than 256', members),
            DETAIL = 'The event could not be published.',
            HINT = 'Put them into one member, or into the payload.';
    END IF;
    IF jsonb_path_query_array(headers, 'strict $.**{33}.type()') ?| ARRAY['object', 'array'] THEN
        RAISE EXCEPTION USING
            ERRCODE = 'program_limit_exceeded',
            MESSAGE = 'headers is nested deeper than 32 levels',
            DETAIL = 'The event could not be published.',
            HINT = 'Pass plain values, or put the structure into the payload.';
    END IF;
    -- CloudEvents readers do not tell upper from lower case.
    SELECT key INTO name
      FROM jsonb_object_keys(headers) AS k(key)
     WHERE key ~* '^(ce_.*|outboxd_.*|content[-_]type|traceparent|event_(id|type|version)|aggregate_(id|type|version)|occurred_at|correlation_id|causation_id)$'
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'reserved_name',
            MESSAGE = format('header "%s" is reserved', left(name, 80)),
            DETAIL = 'outboxd writes this header itself. A second one of that name would hide it from some consumers.',
            HINT = format('Pass the value as an argument of emit (event_id, content_type, ...), or choose another name, such as "x_%s".',
                          left(name, 80));
    END IF;
END
$function$;

-- What emit and emit_message have in common: refuses what could never be published, and returns the traceparent that the
-- event gets. It leans on the search_path of its callers: a SET of its own would cost every event, and nobody else may
-- call it. Lengths are those of relay/encode/limits.h.
CREATE FUNCTION @schema@.check_event(
    event_type     text,
    aggregate_type text,
    aggregate_id   text,
    payload        jsonb,
    payload_bytes  bytea,
    correlation_id text,
    causation_id   text,
    content_type   text,
    headers        jsonb,
    topic          text,
    occurred_at    timestamptz,
    traceparent    text
) RETURNS text
LANGUAGE plpgsql STABLE
AS $function$
#variable_conflict use_variable
DECLARE
    id_bytes integer := coalesce(@schema@.octets(aggregate_id), 0);
    correlation_bytes integer := coalesce(@schema@.octets(correlation_id), 0);
    causation_bytes integer := coalesce(@schema@.octets(causation_id), 0);
    content_type_bytes integer := coalesce(@schema@.octets(content_type), 0);
    written text;
    header_bytes integer := 0;
    -- The text of a jsonb is what is sent; its stored size says nothing (1e1000 is short in one, long in the other).
    bytes bigint := coalesce(@schema@.octets(payload::text), octet_length(payload_bytes), 0);
BEGIN
    -- A bounded repetition costs 8 us a match, so the default pattern is matched in two steps; which way it is goes into the
    -- plan as a constant.
    IF event_type IS NULL OR aggregate_type IS NULL
       OR (@schema@.type_pattern() = '^[A-Za-z0-9._-]{1,200}$'
           AND (event_type !~ '^[A-Za-z0-9._-]+$' OR aggregate_type !~ '^[A-Za-z0-9._-]+$'
                OR octet_length(event_type) > 200 OR octet_length(aggregate_type) > 200))
       OR (@schema@.type_pattern() <> '^[A-Za-z0-9._-]{1,200}$'
           AND (event_type !~ @schema@.type_pattern() OR aggregate_type !~ @schema@.type_pattern())) THEN
        IF event_type IS NULL OR event_type = '' OR aggregate_type IS NULL OR aggregate_type = '' THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value',
                MESSAGE = CASE WHEN event_type <> '' THEN 'aggregate_type is empty' ELSE 'event_type is empty' END,
                DETAIL = 'outboxd could not route the event and would never publish it.',
                HINT = 'Name the fact and the entity that it is about, for example emit(''order.placed'', ''order'', ''17'', ...).';
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = CASE WHEN event_type ~ @schema@.type_pattern() THEN format('aggregate_type "%s" is not allowed', left(aggregate_type, 80))
                           ELSE format('event_type "%s" is not allowed', left(event_type, 80)) END,
            DETAIL = format('Topics are chosen by these types. They must match %s, which %I.type_pattern() returns.', @schema@.type_pattern(),
                            @schema_literal@),
            HINT = 'Use letters, digits, ".", "_" and "-"; the owner of the schema may replace that function.';
    END IF;

    IF payload IS NOT NULL AND payload_bytes IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'payload and payload_bytes are both given',
            DETAIL = 'A record has one value.',
            HINT = 'Pass NULL for one of them; NULL for both makes a tombstone.';
    END IF;
    IF id_bytes > 65536 OR correlation_bytes > 1024 OR causation_bytes > 1024 OR content_type_bytes > 255 THEN
        PERFORM CASE
            WHEN id_bytes > 65536 THEN
                @schema@.refuse_length('aggregate_id', id_bytes, 65536, 'It is the key of the record. Pass the id of one entity.')
            WHEN correlation_bytes > 1024 THEN
                @schema@.refuse_length('correlation_id', correlation_bytes, 1024, 'Pass an id.')
            WHEN causation_bytes > 1024 THEN
                @schema@.refuse_length('causation_id', causation_bytes, 1024, 'Pass the id of one event or command.')
            ELSE @schema@.refuse_length('content_type', content_type_bytes, 255, 'Pass a media type, such as application/avro.')
        END;
    END IF;
    IF headers IS NOT NULL THEN
        written := headers::text;
        header_bytes := @schema@.octets(written);
        -- What is short has neither many members nor many levels; most names do not even begin like a reserved one.
        IF header_bytes >= 64 OR jsonb_typeof(headers) <> 'object'
           OR written ~ '"([cC][eEoOaA]|[oO][uUcC]|[tT][rR]|[eE][vV]|[aA][gG])' THEN
            PERFORM @schema@.check_headers(headers, header_bytes);
        END IF;
    END IF;
    -- The key comes twice (ce_subject), and 1024 bytes are allowed for the names of the envelope and what the relay adds.
    bytes := bytes + 2 * id_bytes + correlation_bytes + causation_bytes + content_type_bytes + header_bytes
             + octet_length(event_type) + octet_length(aggregate_type) + coalesce(octet_length(traceparent), 0) + 1024;
    IF bytes > @schema@.record_bytes_max() THEN
        RAISE EXCEPTION USING
            ERRCODE = 'program_limit_exceeded',
            MESSAGE = format('event of %s bytes is over the limit of %s bytes', bytes, @schema@.record_bytes_max()),
            DETAIL = format('The broker would refuse event %s of %s %s. Its payload takes %s bytes, its headers %s.',
                            event_type, aggregate_type, coalesce(left(aggregate_id, 80), '(no id)'),
                            coalesce(@schema@.octets(payload::text), octet_length(payload_bytes), 0), header_bytes),
            HINT = format('Send a reference instead. Or raise max.message.bytes of the topic, and ask the owner of the schema to '
                          'replace %I.record_bytes_max().', @schema_literal@);
    END IF;

    IF topic IS NOT NULL AND (topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR topic IN ('.', '..')) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'topic is not a name that Kafka accepts',
            DETAIL = format('"%s" must be 1 to 249 of a-z A-Z 0-9 . _ - and neither "." nor "..".', left(topic, 80)),
            HINT = 'Pass NULL, so that the routes of the relay choose the topic.';
    END IF;
    IF occurred_at IS NOT NULL AND NOT isfinite(occurred_at) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('occurred_at is %s', occurred_at),
            DETAIL = 'A record has a finite time.',
            HINT = 'Pass NULL for the time of this call.';
    END IF;

    -- A setting that was local to an earlier transaction reads as '' afterwards, not as NULL.
    traceparent := coalesce(nullif(traceparent, ''), nullif(current_setting('outbox.traceparent', true), ''));
    IF traceparent IS NOT NULL THEN
        PERFORM @schema@.check_traceparent(traceparent);
    END IF;
    RETURN traceparent;
END
$function$;

CREATE FUNCTION @schema@.emit(
    event_type        text,
    aggregate_type    text,
    aggregate_id      text,
    payload           jsonb,
    event_version     integer     DEFAULT 1,
    aggregate_version bigint      DEFAULT NULL,
    correlation_id    text        DEFAULT NULL,
    causation_id      text        DEFAULT NULL,
    traceparent       text        DEFAULT NULL,
    headers           jsonb       DEFAULT NULL,
    event_id          uuid        DEFAULT NULL,
    occurred_at       timestamptz DEFAULT NULL,
    content_type      text        DEFAULT NULL,
    payload_bytes     bytea       DEFAULT NULL,
    topic             text        DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
BEGIN
    event_id := coalesce(event_id, @schema@.new_event_id());
    correlation_id := coalesce(nullif(correlation_id, ''), nullif(current_setting('outbox.correlation_id', true), ''), event_id::text);
    causation_id := coalesce(nullif(causation_id, ''), nullif(current_setting('outbox.causation_id', true), ''));
    traceparent := @schema@.check_event(event_type, aggregate_type, aggregate_id, payload, payload_bytes, correlation_id,
                                        causation_id, content_type, headers, topic, occurred_at, traceparent);

    INSERT INTO @schema@.event (
        event_id, event_type, event_version, aggregate_type, aggregate_id, aggregate_version,
        payload, payload_bytes, content_type,
        correlation_id, causation_id, traceparent, headers, topic, occurred_at
    ) VALUES (
        event_id, event_type, coalesce(event_version, 1), aggregate_type, aggregate_id, aggregate_version,
        payload, payload_bytes, content_type,
        correlation_id, causation_id, traceparent, headers, topic, coalesce(occurred_at, clock_timestamp())
    );
    RETURN event_id;
END
$function$;

-- A field of a message: its length and its text in UTF-8, or the length -1 for NULL. Inlined into emit_message, whose
-- search_path it uses.
CREATE FUNCTION @schema@.message_field(value text) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
SELECT coalesce(int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8'), int4send(-1))
$function$;

-- The outbox without a table: the event goes into the write-ahead log alone, as a transactional logical decoding message
-- with the prefix outboxd.event. Its content is one row of COPY ... (FORMAT binary), as the relay reads the table:
--   int16 16, the number of fields; then for each field int32 length in bytes (-1: NULL) and that many bytes; big-endian.
--   Fields: seq (NULL: no row, no number), occurred_at (int64 microseconds since 2000-01-01 UTC), event_id, event_type,
--   event_version, aggregate_type, aggregate_id, aggregate_version, payload, payload_bytes, content_type, correlation_id,
--   causation_id, traceparent, headers, topic. payload_bytes are the bytes themselves; every other field is the text that
--   the column would print, in UTF-8 whatever the database's encoding.
-- This layout belongs to the prefix for good: a message may wait in the log for a later outboxd. Another layout would get
-- another prefix.
CREATE FUNCTION @schema@.emit_message(
    event_type        text,
    aggregate_type    text,
    aggregate_id      text,
    payload           jsonb,
    event_version     integer     DEFAULT 1,
    aggregate_version bigint      DEFAULT NULL,
    correlation_id    text        DEFAULT NULL,
    causation_id      text        DEFAULT NULL,
    traceparent       text        DEFAULT NULL,
    headers           jsonb       DEFAULT NULL,
    event_id          uuid        DEFAULT NULL,
    occurred_at       timestamptz DEFAULT NULL,
    content_type      text        DEFAULT NULL,
    payload_bytes     bytea       DEFAULT NULL,
    topic             text        DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    lsn pg_lsn;
BEGIN
    -- Before 14 pgoutput does not pass messages on; below wal_level logical nothing can be decoded, ever.
    IF current_setting('server_version_num')::integer < 140000 OR current_setting('wal_level') <> 'logical' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = CASE WHEN current_setting('server_version_num')::integer < 140000
                           THEN 'emit_message needs PostgreSQL 14 or later'
                           ELSE format('emit_message needs wal_level = logical, not %s', current_setting('wal_level')) END,
            DETAIL = 'The event would never be published.',
            HINT = CASE WHEN current_setting('server_version_num')::integer < 140000 THEN 'Use emit.'
                        ELSE 'Run ALTER SYSTEM SET wal_level = ''logical''; and restart PostgreSQL, or use emit.' END;
    END IF;
    event_id := coalesce(event_id, @schema@.new_event_id());
    correlation_id := coalesce(nullif(correlation_id, ''), nullif(current_setting('outbox.correlation_id', true), ''), event_id::text);
    causation_id := coalesce(nullif(causation_id, ''), nullif(current_setting('outbox.causation_id', true), ''));
    traceparent := @schema@.check_event(event_type, aggregate_type, aggregate_id, payload, payload_bytes, correlation_id,
                                        causation_id, content_type, headers, topic, occurred_at, traceparent);
    -- The parentheses keep a large payload from being copied once for each field behind it.
    lsn := pg_logical_emit_message(true, 'outboxd.event',
        (int2send(16::smallint) || int4send(-1)
         || int4send(8) || timestamptz_send(coalesce(occurred_at, clock_timestamp()))
         || @schema@.message_field(event_id::text)
         || @schema@.message_field(event_type)
         || @schema@.message_field(coalesce(event_version, 1)::text)
         || @schema@.message_field(aggregate_type)
         || @schema@.message_field(aggregate_id)
         || @schema@.message_field(aggregate_version::text))
        || @schema@.message_field(payload::text)
        || (coalesce(int4send(octet_length(payload_bytes)) || payload_bytes, int4send(-1))
            || (@schema@.message_field(content_type)
                || @schema@.message_field(correlation_id)
                || @schema@.message_field(causation_id)
                || @schema@.message_field(traceparent)
                || @schema@.message_field(headers::text)
                || @schema@.message_field(topic))));
    RETURN event_id;
END
$function$;

CREATE FUNCTION @schema@.set_context(
    correlation_id text    DEFAULT NULL,
    causation_id   text    DEFAULT NULL,
    traceparent    text    DEFAULT NULL,
    wal            boolean DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
BEGIN
    traceparent := nullif(traceparent, '');
    IF traceparent IS NOT NULL THEN
        PERFORM @schema@.check_traceparent(traceparent);
    END IF;
    PERFORM set_config('outbox.correlation_id', coalesce(correlation_id, ''), true),
            set_config('outbox.causation_id', coalesce(causation_id, ''), true),
            set_config('outbox.traceparent', coalesce(traceparent, ''), true);
    -- The message gives the transaction an xid, which a read-only request should not pay for.
    IF coalesce(wal, nullif(current_setting('outbox.context_in_wal', true), '')::boolean, false) THEN
        PERFORM pg_logical_emit_message(
            true, 'outboxd.context',
            json_build_object('correlation_id', nullif(correlation_id, ''),
                              'causation_id', nullif(causation_id, ''),
                              'traceparent', traceparent)::text);
    END IF;
END
$function$;

REVOKE ALL ON FUNCTION @schema@.check_traceparent(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.octets(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.refuse_length(text, bigint, bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.check_headers(jsonb, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.check_event(text, text, text, jsonb, bytea, text, text, text, jsonb, text, timestamptz, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.message_field(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.emit(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.emit_message(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION @schema@.set_context(text, text, text, boolean) FROM PUBLIC;

COMMENT ON FUNCTION @schema@.record_bytes_max() IS 'outboxd: the largest record that emit accepts, in bytes; to raise it, first raise max.message.bytes of the topics, then replace this function';
COMMENT ON FUNCTION @schema@.type_pattern() IS 'outboxd: the regular expression that event_type and aggregate_type must match; to change it, replace this function';
COMMENT ON FUNCTION @schema@.emit(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) IS 'outboxd: adds an event to the outbox of this transaction and returns its id';
COMMENT ON FUNCTION @schema@.emit_message(text, text, text, jsonb, integer, bigint, text, text, text, jsonb, uuid, timestamptz, text, bytea, text) IS 'outboxd: writes an event of this transaction to the write-ahead log only, and returns its id; needs PostgreSQL 14 or later and wal_level = logical';
COMMENT ON FUNCTION @schema@.set_context(text, text, text, boolean) IS 'outboxd: sets correlation id, causation id and traceparent of the events that this transaction emits from now on; an argument that is NULL or omitted is cleared';
