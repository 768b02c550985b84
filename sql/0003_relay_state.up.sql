-- What the relay remembers: where it stands in the WAL, who published last, dead letters, and what people paused.

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
COMMENT ON TABLE @schema@.position IS 'outboxd: the position up to which each pipeline that reads the WAL has published; only the relay writes it';
COMMENT ON COLUMN @schema@.position.system_id IS 'system identifier of the server to which the position belongs';
COMMENT ON COLUMN @schema@.position.lsn IS 'end of the last transaction of which all events are published';
COMMENT ON COLUMN @schema@.position.backfill IS 'rows from before the slot are still being published';
COMMENT ON COLUMN @schema@.position.backfill_end IS 'highest event.seq among those rows; rows with a higher number come from the WAL';
COMMENT ON COLUMN @schema@.position.tx_lsn IS 'LSN of the commit of a transaction of which only the first tx_ordinal events are published';
COMMENT ON COLUMN @schema@.position.tx_ordinal IS 'number of events that are published of the transaction that commits at tx_lsn';
COMMENT ON COLUMN @schema@.position.tx_messages IS 'whether tx_ordinal counts messages of emit_message';
COMMENT ON COLUMN @schema@.position.backfill_seq IS 'during the backfill of a pipeline that keeps rows: rows up to this event.seq are published';
COMMENT ON COLUMN @schema@.position.waiting IS 'events before lsn wait in the table for their topic; the next start reads them from the table';
COMMENT ON COLUMN @schema@.position.table_id IS 'the outbox table that was read; regclass, so that a restored dump names the restored table';
COMMENT ON COLUMN @schema@.position.publication IS 'identity of the publication and of its entry for the table, valid up to lsn';
COMMENT ON COLUMN @schema@.position.generation IS 'random number of the relay that last wrote this row';
COMMENT ON COLUMN @schema@.position.writes IS 'increased by each new owner and by each write; together with generation, it identifies a history of the server';

CREATE TABLE @schema@.publisher (
    table_id   regclass    NOT NULL PRIMARY KEY,
    pipeline   text        NOT NULL,
    table_name text        NOT NULL,
    generation uuid        NOT NULL,
    writes     bigint      NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10);
COMMENT ON TABLE @schema@.publisher IS 'outboxd: the pipeline that last took each outbox table, by polling or from the WAL, except with on_publish = "keep"; written when a relay takes the table, before it publishes, also at a start that stops then';
COMMENT ON COLUMN @schema@.publisher.table_id IS 'the outbox table; regclass, so that a restored dump names the restored table';
COMMENT ON COLUMN @schema@.publisher.table_name IS 'the name in the configuration; another table_id under the same name means that the table was renamed and created again';
COMMENT ON COLUMN @schema@.publisher.generation IS 'random number of the relay that last took the table';
COMMENT ON COLUMN @schema@.publisher.writes IS 'increased by each new owner and by each mark; together with generation, it identifies a history of the server';

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
    attempts           integer     NOT NULL DEFAULT 1,
    requeued_at        timestamptz
);
CREATE INDEX dead_letter_requeued ON @schema@.dead_letter (pipeline, id) WHERE requeued_at IS NOT NULL;
-- Compressing hundreds of megabytes takes longer than the statement may.
ALTER TABLE @schema@.dead_letter ALTER COLUMN event_large_values SET STORAGE EXTERNAL;
COMMENT ON TABLE @schema@.dead_letter IS 'outboxd: dead letters, events that could not be published, each with its record and the reason';
COMMENT ON COLUMN @schema@.dead_letter.seq IS 'event.seq, if the event comes from the outbox table';
COMMENT ON COLUMN @schema@.dead_letter.event IS 'every column as text; columns that event_large names are null here';
COMMENT ON COLUMN @schema@.dead_letter.event_large IS 'names of the columns whose values are in event_large_values, in the same order: values over 4 MiB, or not in UTF-8';
COMMENT ON COLUMN @schema@.dead_letter.event_large_values IS 'texts in UTF-8 (unchanged in a database in SQL_ASCII), payload_bytes unchanged';
COMMENT ON COLUMN @schema@.dead_letter.event_whole IS 'false: the event could not be stored completely and cannot be requeued; its row may still exist';
COMMENT ON COLUMN @schema@.dead_letter.record_value IS 'the record that the event would have become: at most 64 KiB of the key, 1 MiB of the value, 16 KiB of each header';
COMMENT ON COLUMN @schema@.dead_letter.attempts IS 'number of attempts to publish the event';
COMMENT ON COLUMN @schema@.dead_letter.requeued_at IS 'a change of a table: when outboxd dead requeue asked the relay to read its row again and to publish it';

CREATE TABLE @schema@.pause (
    pipeline  text        NOT NULL PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text        NOT NULL DEFAULT session_user,
    reason    text
);
COMMENT ON TABLE @schema@.pause IS 'outboxd: pipelines that are paused; NOTIFY outboxd_pause tells a running relay at once';
COMMENT ON COLUMN @schema@.pause.pipeline IS 'name of the pipeline in the configuration of the relay';
