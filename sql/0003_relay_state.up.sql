-- What the relay remembers: where it stands in the WAL, the events it set aside, and what people paused.

CREATE TABLE @schema@.position (
    pipeline     text        NOT NULL PRIMARY KEY,
    system_id    text        NOT NULL,
    timeline     integer     NOT NULL,
    slot         text        NOT NULL,
    lsn          pg_lsn      NOT NULL,
    backfill     boolean     NOT NULL DEFAULT false,
    backfill_end bigint,
    tx_lsn       pg_lsn,
    tx_ordinal   bigint,
    tx_messages  boolean,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE @schema@.position IS 'outboxd: up to where each pipeline that reads the WAL has published; written by the relay alone';
COMMENT ON COLUMN @schema@.position.system_id IS 'system identifier of the server that the position belongs to';
COMMENT ON COLUMN @schema@.position.lsn IS 'end of the last transaction whose events are all published';
COMMENT ON COLUMN @schema@.position.backfill IS 'rows from before the slot are still being published';
COMMENT ON COLUMN @schema@.position.backfill_end IS 'highest event.seq among those rows: what has a higher one comes from the WAL';
COMMENT ON COLUMN @schema@.position.tx_lsn IS 'LSN of the commit of a transaction that is published in part: its first tx_ordinal events';
COMMENT ON COLUMN @schema@.position.tx_ordinal IS 'so many events of the transaction that commits at tx_lsn are published; without tx_lsn, during the backfill of a pipeline that keeps rows: published up to this event.seq';
COMMENT ON COLUMN @schema@.position.tx_messages IS 'whether messages of emit_message were counted in tx_ordinal';

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

CREATE TABLE @schema@.pause (
    pipeline  text        NOT NULL PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text        NOT NULL DEFAULT session_user,
    reason    text
);
COMMENT ON TABLE @schema@.pause IS 'outboxd: a row here keeps its pipeline from publishing; NOTIFY outboxd_pause tells a running relay at once';
COMMENT ON COLUMN @schema@.pause.pipeline IS 'name of the pipeline in the configuration of the relay';
