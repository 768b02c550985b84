-- What the relay remembers: where it stands in the WAL, who published last, the events it set aside, and what people
-- paused.

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
    backfill_seq bigint,
    waiting      boolean     NOT NULL DEFAULT false,
    table_id     regclass,
    publication  text,
    generation   uuid,
    writes       bigint      NOT NULL DEFAULT 0,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE @schema@.position IS 'outboxd: up to where each pipeline that reads the WAL has published; written by the relay alone';
COMMENT ON COLUMN @schema@.position.system_id IS 'system identifier of the server that the position belongs to';
COMMENT ON COLUMN @schema@.position.lsn IS 'end of the last transaction whose events are all published';
COMMENT ON COLUMN @schema@.position.backfill IS 'rows from before the slot are still being published';
COMMENT ON COLUMN @schema@.position.backfill_end IS 'highest event.seq among those rows: what has a higher one comes from the WAL';
COMMENT ON COLUMN @schema@.position.tx_lsn IS 'LSN of the commit of a transaction that is published in part: its first tx_ordinal events';
COMMENT ON COLUMN @schema@.position.tx_ordinal IS 'so many events of the transaction that commits at tx_lsn are published';
COMMENT ON COLUMN @schema@.position.tx_messages IS 'whether messages of emit_message were counted in tx_ordinal';
COMMENT ON COLUMN @schema@.position.backfill_seq IS 'during the backfill of a pipeline that keeps rows: published up to this event.seq';
COMMENT ON COLUMN @schema@.position.waiting IS 'events before lsn wait in the table for their topic: the next start reads them from there';
COMMENT ON COLUMN @schema@.position.table_id IS 'the outbox table that was read; regclass, so that a restored dump names the restored table';
COMMENT ON COLUMN @schema@.position.publication IS 'identity of the publication and of its entry for the table, as they stood up to lsn';
COMMENT ON COLUMN @schema@.position.generation IS 'random number of the relay that wrote last';
COMMENT ON COLUMN @schema@.position.writes IS 'raised by each new owner and by each write: with generation it tells one history of the server from another';

CREATE TABLE @schema@.publisher (
    table_id   regclass    NOT NULL PRIMARY KEY,
    pipeline   text        NOT NULL,
    table_name text        NOT NULL,
    generation uuid        NOT NULL,
    writes     bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10);
COMMENT ON TABLE @schema@.publisher IS 'outboxd: who published last from each outbox table that is polled; written by the relay alone';
COMMENT ON COLUMN @schema@.publisher.table_id IS 'the outbox table; regclass, so that a restored dump names the restored table';
COMMENT ON COLUMN @schema@.publisher.table_name IS 'as the configuration names it: another table_id under the same name tells that the table was renamed and made anew';
COMMENT ON COLUMN @schema@.publisher.generation IS 'random number of the relay that published last';
COMMENT ON COLUMN @schema@.publisher.writes IS 'raised by each new owner and by each write of marks: with generation it tells one history of the server from another';

CREATE TABLE @schema@.dead_letter (
    id                 bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    pipeline           text        NOT NULL,
    seq                bigint,
    event_id           text,
    event              jsonb,
    event_large        text[],
    event_large_values bytea[],
    event_whole        boolean     NOT NULL DEFAULT true,
    topic              text,
    record_key         bytea,
    record_value       bytea,
    record_headers     jsonb,
    record_timestamp   timestamptz,
    reason             text        NOT NULL,
    error_class        text,
    error_code         text,
    at                 timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts           integer     NOT NULL DEFAULT 1
);
-- Compressing hundreds of megabytes takes longer than the statement may.
ALTER TABLE @schema@.dead_letter ALTER COLUMN event_large_values SET STORAGE EXTERNAL;
COMMENT ON TABLE @schema@.dead_letter IS 'outboxd: events that could not be published and were set aside, with the record they became and the reason';
COMMENT ON COLUMN @schema@.dead_letter.seq IS 'event.seq, where the event came from the outbox table';
COMMENT ON COLUMN @schema@.dead_letter.event IS 'every column as text; those of event_large are null in it';
COMMENT ON COLUMN @schema@.dead_letter.event_large IS 'names of the columns whose values stand in event_large_values, at the same places: over 4 MiB, or no UTF-8';
COMMENT ON COLUMN @schema@.dead_letter.event_large_values IS 'texts in UTF-8 (in a database in SQL_ASCII as they were), payload_bytes as it was';
COMMENT ON COLUMN @schema@.dead_letter.event_whole IS 'false: the event could not be stored whole, and cannot be requeued; its row may still have it';
COMMENT ON COLUMN @schema@.dead_letter.record_value IS 'of the record as it would have been: at most 64 KiB of the key, 1 MiB of the value, 16 KiB of a header';
COMMENT ON COLUMN @schema@.dead_letter.attempts IS 'how often publication was tried';

CREATE TABLE @schema@.pause (
    pipeline  text        NOT NULL PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text        NOT NULL DEFAULT session_user,
    reason    text
);
COMMENT ON TABLE @schema@.pause IS 'outboxd: a row here keeps its pipeline from publishing; NOTIFY outboxd_pause tells a running relay at once';
COMMENT ON COLUMN @schema@.pause.pipeline IS 'name of the pipeline in the configuration of the relay';
