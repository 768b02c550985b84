-- For people with only psql.

CREATE VIEW @schema@.backlog AS
SELECT aggregate_type,
       count(*)         AS pending,
       min(occurred_at) AS oldest,
       min(seq)         AS oldest_seq
  FROM @schema@.event
 WHERE published_at IS NULL
 GROUP BY aggregate_type;
COMMENT ON VIEW @schema@.backlog IS 'outboxd: committed events that are not published yet, for each aggregate type';

CREATE VIEW @schema@.slot_health AS
SELECT s.slot_name                                            AS slot,
       s.database,
       s.active,
       s.active_pid,
       pg_wal_lsn_diff(w.lsn, s.restart_lsn)::bigint          AS retained_wal_bytes,
       pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn)::bigint  AS confirmed_lag_bytes,
       s.wal_status,
       s.safe_wal_size
  FROM pg_replication_slots s,
       (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                    ELSE pg_current_wal_lsn() END AS lsn) w
 WHERE starts_with(s.slot_name, 'outboxd_');
COMMENT ON VIEW @schema@.slot_health IS 'outboxd: the WAL that the replication slots of outboxd retain; wal_status lost means a data gap';
