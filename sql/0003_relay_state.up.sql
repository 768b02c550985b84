-- What the relay remembers: where it stands in the WAL, and the events it set aside.

CREATE TABLE @schema@.position (
    pipeline   text        NOT NULL PRIMARY KEY,
    system_id  text        NOT NULL,
    timeline   integer     NOT NULL,
    slot       text        NOT NULL,
    lsn        pg_lsn      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE @schema@.position IS 'outboxd: up to where each pipeline that reads the WAL has published; written by the relay alone';
COMMENT ON COLUMN @schema@.position.system_id IS 'system identifier of the server that the position belongs to';

CREATE TABLE @schema@.dead_letter (
    id               bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    pipeline         text        NOT NULL,
    seq              bigint,
    event_id         text,
    event            jsonb,
    topic            text,
    record_key       bytea,
    record_value     bytea,
    record_headers   jsonb,
    record_timestamp timestamptz,
    reason           text        NOT NULL,
    error_class      text,
    error_code       text,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts         integer     NOT NULL DEFAULT 1
);
COMMENT ON TABLE @schema@.dead_letter IS 'outboxd: events that could not be published and were set aside, with the record they became and the reason';
COMMENT ON COLUMN @schema@.dead_letter.seq IS 'event.seq, where the event came from the outbox table';
COMMENT ON COLUMN @schema@.dead_letter.attempts IS 'how often publication was tried';
