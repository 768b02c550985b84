-- What a relay that captures ordinary tables remembers of its first snapshot: the tables that are published whole.

CREATE TABLE @schema@.captured_table (
    pipeline     text        NOT NULL,
    table_id     oid         NOT NULL,
    schema_name  text        NOT NULL,
    table_name   text        NOT NULL,
    start_lsn    pg_lsn      NOT NULL,
    snapshot_lsn pg_lsn      NOT NULL,
    rows         bigint      NOT NULL,
    bytes        bigint      NOT NULL,
    finished_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, table_id)
);
COMMENT ON TABLE @schema@.captured_table IS 'outboxd: tables of which a pipeline with capture = "tables" has published the first snapshot; only the relay writes it';
COMMENT ON COLUMN @schema@.captured_table.table_id IS 'OID of the table';
COMMENT ON COLUMN @schema@.captured_table.start_lsn IS 'position at which the stream behind this snapshot begins; with another position, the row belongs to an earlier snapshot';
COMMENT ON COLUMN @schema@.captured_table.snapshot_lsn IS 'LSN at which the snapshot was taken that read the table';
COMMENT ON COLUMN @schema@.captured_table.rows IS 'number of rows that were published';
COMMENT ON COLUMN @schema@.captured_table.bytes IS 'bytes that were read from PostgreSQL for them';
