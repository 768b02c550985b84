/* PostgreSQL, its tables and its log, migrations. See log_codes.h. */
#include "base/log_codes.h"

static const LogCode POSTGRES_CODES[] = {
    {"POSTGRES_UNREACHABLE", "warn",
     "No connection to PostgreSQL. The relay tries again by itself.",
     "Check database.dsn, the network, and that the server is up."},
    {"POSTGRES_CONNECTION_LOST", "warn", "The connection to PostgreSQL broke; it is made again.",
     "If nobody restarted PostgreSQL or ended the session, look at its log and at the network."},
    {"POSTGRES_CONNECTION", "warn", "PostgreSQL reported a broken connection; it is made again.",
     "If it repeats, look at the log of PostgreSQL and at the network."},
    {"POSTGRES_SILENT", "warn", "PostgreSQL did not answer in time; the connection is made again.",
     "If it repeats, look at the load of the database and at the network."},
    {"POSTGRES_NOT_SENT", "warn", "A query could not be sent.",
     "Look at memory and network of this machine."},
    {"POSTGRES_SHUTDOWN", "warn", "PostgreSQL stops, or an administrator ended the session.",
     "Start PostgreSQL, if nobody does; if it runs, find out who ended the session: its log says "
     "so."},
    {"POSTGRES_CRASH", "warn", "PostgreSQL ended its sessions after a crash of one.",
     "Look at the log of the database server."},
    {"POSTGRES_STARTING", "warn", "PostgreSQL starts, stops or recovers and takes no sessions yet.",
     "Wait: the relay goes on once PostgreSQL takes sessions. If that takes long, look at its "
     "log."},
    {"SERVER_STOPPING", "warn",
     "PostgreSQL is stopping and waits for its replication clients; the relay hangs up "
     "and connects again.",
     "Start PostgreSQL again, if nobody does."},
    {"POSTGRES_IDLE_TIMEOUT", "warn", "PostgreSQL ended a session that was idle.",
     "Set idle_session_timeout = 0 for the relay's role (ALTER ROLE ... SET)."},
    {"POSTGRES_QUERY_CANCELED", "warn",
     "A query took longer than its time limit, or somebody cancelled it.",
     "If this repeats, look for slow reads of the outbox table: is its partial index "
     "there?"},
    {"POSTGRES_TOO_MANY_CONNECTIONS", "warn", "PostgreSQL has no connection to spare.",
     "Raise max_connections, or the CONNECTION LIMIT of the role or database that the message "
     "names."},
    {"POSTGRES_RESOURCES", "warn", "PostgreSQL is out of disk, memory or another resource.",
     "Look at disk and memory of the database server."},
    {"POSTGRES_SYSTEM", "warn", "PostgreSQL met an error of its operating system.",
     "Look at the log of the database server."},
    {"POSTGRES_SERIALIZATION", "warn", "A transaction gave way to another; it is tried again.",
     "If it repeats, look for other sessions that change the outbox table."},
    {"POSTGRES_LOCK_RAISED", "warn",
     "A function of the database, such as a trigger's, raised SQLSTATE 55P03: no lock that the "
     "relay waits for.",
     "Mend the function that the message names, or end what holds the lock that it asks for."},
    {"POSTGRES_LOCK_TIMEOUT", "warn", "A lock was not to be had in time; it is tried again.",
     "If it repeats, see in pg_locks which session holds a lock on the table."},
    {"POSTGRES_OBJECT_IN_USE", "warn",
     "Something is in use by another session, such as the slot of a relay that has just "
     "gone; it is tried again.",
     "If it repeats, see pg_replication_slots and pg_stat_activity for who uses it."},
    {"POSTGRES_READ_ONLY", "warn",
     "The server is read-only: a standby, or a primary that was demoted.",
     "Use a DSN of the primary, or target_session_attrs=read-write."},
    {"POSTGRES_DATA_CORRUPTED", "error", "PostgreSQL found its data damaged.",
     "Look at the log of the database server."},
    {"POSTGRES_AUTHENTICATION", "error", "PostgreSQL refuses the relay's role.",
     "Check user and password of database.dsn, and pg_hba.conf."},
    {"POSTGRES_NO_DATABASE", "error", "There is no such database, or it takes no connections.",
     "Check dbname of database.dsn."},
    {"POSTGRES_PRIVILEGE", "error", "The role lacks a right.",
     "GRANT outbox_relay TO the relay's role; outboxd check lists what is missing."},
    {"POSTGRES_NO_TABLE", "error", "The outbox table is not there.",
     "Make the outbox with: outboxd migrate; or name your own table in pipelines.table."},
    {"POSTGRES_NO_SCHEMA", "error", "The schema is not there.",
     "Make the outbox with: outboxd migrate"},
    {"POSTGRES_NO_COLUMN", "error", "The outbox table lacks a column.",
     "Name the columns of your table in pipelines.columns, or run: outboxd migrate"},
    {"POSTGRES_POOLER", "error",
     "A connection pooler stands between outboxd and PostgreSQL; a transaction pooler "
     "would hand the publisher's lock to somebody else.",
     "Connect to PostgreSQL itself, or, if the pooler pools sessions, set "
     "database.pooler = \"session\"."},
    {"POSTGRES_ANSWER", "warn",
     "The server's answer was not what was asked for; the connection is made again.",
     "Is something between the relay and PostgreSQL that answers in its place?"},
    {"POSTGRES_ERROR", "error",
     "An error of PostgreSQL that outboxd does not know how to go on from; the SQLSTATE "
     "is in the message.",
     "Look the SQLSTATE up in PostgreSQL's documentation, appendix A."},
};

static const LogCode TABLE_CODES[] = {
    {"TABLE_NAME_INVALID", "error", "pipelines.table is no table name.",
     "Write it as schema.table."},
    {"TABLE_UNLOGGED", "error",
     "The outbox table is unlogged or temporary: a crash of PostgreSQL empties it, and "
     "the WAL does not hold it.",
     "ALTER TABLE ... SET LOGGED;"},
    {"TABLE_REPLACED", "warn",
     "The outbox table is not the one it was a moment ago; the relay looks at it again.",
     "If nobody was to change the table, find out who made it anew."},
    {"TABLE_ROTATED", "warn",
     "The outbox table was renamed, and perhaps made anew under its name. What is unpublished in "
     "the "
     "old one is published and marked first, then the relay goes on with the new one.",
     "Keep the old table until TABLE_FINISHED is logged."},
    {"TABLE_FINISHED", "warn",
     "Everything in the table that was renamed is published; the relay goes on with the new one.",
     "The old table may be dropped."},
    {"ROTATION_TAKEN", "warn",
     "Another relay publishes the new table already, while this one finishes the renamed one: the "
     "order of keys across the two is not kept.",
     "Run outboxd migrate, so that relays know of each other's tables (outbox.publisher)."},
    {"TABLE_DROPPED", "error",
     "The table that was published under this name before is gone, with whatever was unpublished "
     "in it. With capture = \"wal\" what the log still holds of it is published.",
     "If its last rows matter, restore the table from a backup and insert them into the present "
     "one. "
     "Drop an old table only once TABLE_FINISHED was said of it."},
    {"TABLE_LEFT", "warn",
     "Of the table that was renamed only events are left whose topic is missing; the relay goes on "
     "with the new one and comes back for them.",
     "Create the topic, see KAFKA_TOPIC_UNKNOWN."},
    {"TABLE_RETURNED", "warn",
     "The topic is there that the last events of a renamed table waited for, or the rename was "
     "undone and the table that had the name meanwhile is not finished; its events are published "
     "first.",
     "Keep the old table until TABLE_FINISHED is logged again."},
    {"OLD_TABLE_UNKNOWN", "error",
     "The outbox table was renamed more than once or in several steps, and the catalog does not "
     "tell whether the tables that the message names had the name in between.",
     "Follow the hint for each of them; the relay goes on by itself."},
    {"OLD_TABLE_DENIED", "error",
     "The outbox table was renamed, and the relay's role may not read or mark the rows that are "
     "left "
     "in the old one.",
     "Run the GRANT that the message shows; the relay goes on by itself."},
    {"OLD_TABLE_UNFINISHED", "error",
     "The outbox table was renamed, and rows of the old one are unpublished that the log does not "
     "bring.",
     "outboxd run --new-slot publishes them, the old table's first."},
    {"SEQUENCE_CACHE", "error, warn",
     "The sequence of the outbox table caches numbers: sessions would number events out "
     "of order. With capture = \"wal\" that concerns the rows that are read from the table: those "
     "from before the slot, and those that wait for their topic.",
     "ALTER SEQUENCE ... CACHE 1;"},
    {"NO_DEAD_LETTER_TABLE", "error, warn",
     "An event must be set aside, or dead letters are asked for, and there is no "
     "dead-letter table.",
     "Make it with: outboxd migrate"},
    {"NO_POSITION_TABLE", "error",
     "There is no table outbox.position, which capture = \"wal\" needs.",
     "Make it with: outboxd migrate"},
    {"COLUMN_MISSING", "error, warn",
     "The outbox table does not have a column that the pipeline needs, or did not have it when"
     " the row was written.",
     "If it was renamed, give its new name in pipelines.columns. \"\" there says that the "
     "table has no such column. With capture = \"wal\", once the table has the column again, "
     "outboxd run --new-slot publishes the rows that are still unpublished."},
    {"COLUMNS_ABSENT", "info",
     "The outbox table does not have these columns, and the configuration does not name them: "
     "records go without what they would hold.",
     "If a column of the table is meant, name it in pipelines.columns."},
    {"COLUMNS_ADDED", "info, warn",
     "The outbox table has columns that it did not have when the relay began. A pipeline that "
     "polls takes them up when it connects anew, one that reads the log with the next row.",
     "A pipeline that polls: restart the relay."},
    {"COPY_HEADER", "error", "The server's COPY stream is not what outboxd reads.",
     "Report it, with the version of the server."},
    {"COPY_ROW", "error", "A row of the outbox table cannot be read, or has no sequence number.",
     "Is columns.seq the column that numbers the rows?"},
};

/* What rows/precondition.h asks of the server, at start ("error"), while running ("warn": the
 * pipeline waits, and goes on by itself once it is mended) and in `outboxd check`. */
static const LogCode PRECONDITION_CODES[] = {
    {"PRECONDITION_MENDED", "info",
     "What the pipeline stopped for is mended; it goes on by itself.", ""},
    {"TABLE_KIND", "error, warn", "pipelines.table is a view, a foreign table or the like.",
     "Name the table that the application inserts into."},
    {"TABLE_FOREIGN_PART", "error, warn",
     "A partition of the outbox table, or a table that inherits from it, is a foreign table.",
     "Detach it, as the line's hint says, and publish that server's outbox by a relay of its own."},
    {"ROW_SECURITY", "error, warn",
     "Row security applies to the relay's role and may hide rows from it.",
     "ALTER ROLE ... BYPASSRLS; or ALTER TABLE ... DISABLE ROW LEVEL SECURITY; as the line's hint "
     "says."},
    {"DEAD_LETTER_SECURITY", "error, warn",
     "Row security of the dead-letter table applies to the relay's role: no letter can be stored. "
     "While the relay runs, an event that needs one holds its topic.",
     "ALTER ROLE ... BYPASSRLS; or ALTER TABLE ... DISABLE ROW LEVEL SECURITY; as the line's hint "
     "says."},
    {"COLUMN_TYPE", "error, warn", "A column of the outbox table is of a type that does not fit.",
     "Name another column in pipelines.columns."},
    {"COLUMN_GENERATED", "error, warn",
     "A column that records need is generated, and the log does not hold it (capture = \"wal\").",
     "PostgreSQL 18: ALTER PUBLICATION ... SET (publish_generated_columns = stored); before: take "
     "it out of the configuration, or poll."},
    {"PUBLISHED_NOT_NULL", "error, warn",
     "published_at is NOT NULL: every row would count as published.",
     "ALTER TABLE ... ALTER COLUMN ... DROP NOT NULL;"},
    {"PUBLISHED_BY_DEFAULT", "error, warn",
     "published_at has a default: every row would arrive as published.",
     "ALTER TABLE ... ALTER COLUMN ... DROP DEFAULT; and set it to NULL in the rows that were not "
     "published."},
    {"SEQ_NULLABLE", "error, warn",
     "The column of a row's number allows NULL, and an event without a number is neither read "
     "nor marked.",
     "Give such rows a number, then ALTER TABLE ... ALTER COLUMN ... SET NOT NULL; as the line"
     " shows."},
    {"SEQUENCE_DESCENDS", "error, warn",
     "The sequence of the outbox table does not only ascend. Polling publishes in the order of the "
     "numbers. With capture = \"wal\" that is so for the rows that are read from the table: those "
     "from before the slot, and those that wait for their topic.",
     "ALTER SEQUENCE ... INCREMENT 1 NO CYCLE;"},
    {"SEQUENCE_ELSEWHERE", "warn",
     "The numbers of the rows are not drawn by the INSERT: polling publishes in their order, and "
     "so "
     "does capture = \"wal\" with rows that it reads from the table.",
     "Let the INSERT draw them, or set capture = \"wal\"."},
    {"SEQUENCE_BLOCKS", "warn",
     "The sequence has an INCREMENT above 1, as for an application that hands out numbers itself.",
     "Let the INSERT draw them, or set capture = \"wal\"."},
    {"SEQ_NOT_UNIQUE", "warn",
     "No unique index on the numbers of the rows: two of one number may be marked together.",
     "CREATE UNIQUE INDEX CONCURRENTLY ..., as the line's hint says."},
    {"UNPUBLISHED_NOT_INDEXED", "warn",
     "No index on the unpublished rows: the published ones slow each look down.",
     "CREATE INDEX CONCURRENTLY ..., as the line's hint says."},
    {"RIGHT_USAGE", "error, warn", "The role may not use the schema of a table.",
     "GRANT outbox_relay TO the role, or GRANT USAGE ON SCHEMA ..., as the line's hint says."},
    {"RIGHT_SELECT", "error, warn", "The role may not read columns of the outbox table.",
     "GRANT outbox_relay TO the role, or GRANT SELECT ..., as the line's hint says."},
    {"RIGHT_UPDATE", "error, warn", "The role may not mark rows.",
     "GRANT outbox_relay TO the role, or GRANT UPDATE ..., as the line's hint says."},
    {"RIGHT_DELETE", "error, warn", "The role may not delete rows, as on_publish or retain wants.",
     "GRANT outbox_relay TO the role, or GRANT DELETE ..., as the line's hint says."},
    {"RIGHT_INSERT", "error, warn", "The role may not write to the dead-letter table.",
     "GRANT outbox_relay TO the role, or GRANT INSERT ..., as the line's hint says."},
    {"RIGHT_POSITION", "error, warn", "The role may not read and write outbox.position.",
     "GRANT outbox_relay TO the role."},
    {"RIGHT_PUBLISHER", "error, warn", "The role may not read and write outbox.publisher.",
     "GRANT outbox_relay TO the role."},
    {"HISTORY_UNPROVEN", "warn",
     "There is no table outbox.publisher, so a polling relay cannot prove that the server is of "
     "the "
     "history that it knows. Said by outboxd check.",
     "outboxd migrate makes it; your own table stays where it is."},
    {"MESSAGES_OPEN", "error",
     "messages = true, and every role may execute pg_logical_emit_message, so whoever can "
     "connect could make an event. A pipeline that starts stops with exit code 2; a running "
     "one waits.",
     "A superuser runs outboxd migrate --guard-messages; or the configuration accepts it: "
     "messages_from = \"anyone\"."},
    {"RIGHT_MESSAGE", "error", "The role may not execute pg_logical_emit_message.",
     "GRANT EXECUTE ON FUNCTION ..., as the line's hint says."},
    {"RIGHT_PAUSE", "warn", "The role may not read outbox.pause: outboxd pause has no effect.",
     "GRANT outbox_relay TO the role."},
    {"PUBLICATION_MISSING", "error, warn",
     "The publication is not there, and the relay may not make it, or its slot is older.",
     "CREATE PUBLICATION ..., as the line's hint says."},
    {"PUBLICATION_PART", "error, warn",
     "A table that inherits from the outbox table is not in the publication.",
     "ALTER PUBLICATION ... ADD TABLE ONLY ..., as the line's hint says."},
    {"PUBLICATION_IDENTITY", "error, warn",
     "A publication of updates or deletes holds the outbox table, which has no replica identity: "
     "PostgreSQL refuses every such statement on it.",
     "ALTER TABLE ... REPLICA IDENTITY FULL; or ALTER PUBLICATION ... SET (publish = 'insert');"},
    {"PUBLICATION_WASTE", "warn", "The publication publishes more than inserts.",
     "ALTER PUBLICATION ... SET (publish = 'insert');"},
    {"TRIGGER_PATH", "warn",
     "A function that marking or deleting rows of the outbox table fires (a trigger's, a check "
     "constraint's, an index's) has no search_path of its own. It runs as the relay's role, with "
     "pg_catalog and pg_temp alone: what it names without a schema is not found.",
     "ALTER FUNCTION ... SET search_path = ..., as the line's hint says. The relay trusts who owns "
     "it: he can do what its role can."},
    {"SLOT_LEFT_OVER", "warn",
     "The slot of a pipeline that polls is still there, and holds WAL back.",
     "SELECT pg_drop_replication_slot('...');"},
    {"NO_SLOT_FREE", "error", "All places of max_replication_slots are taken.",
     "Raise it and restart PostgreSQL, or drop a slot that is not needed."},
    {"NO_WAL_SENDER", "warn",
     "All places of max_wal_senders are taken; the relay tries again by itself.",
     "Raise it and restart PostgreSQL, or end a reader that is not needed."},
};

static const LogCode WAL_CODES[] = {
    {"STREAM_STARTED", "info", "The relay reads the log from the position in the line.", ""},
    {"SLOT_CREATING", "info",
     "The replication slot is being created; that waits until every running transaction "
     "has ended.",
     ""},
    {"PIPELINE_RENAMED", "warn",
     "A pipeline begins under a new name. Another pipeline, which is in no configuration here,"
     " has read the same table before, and nobody reads its slot, which keeps WAL. With keep "
     "or messages this is a data gap (exit code 4): the new name would publish every row "
     "again, and lose the messages that only the old slot has.",
     "If it was renamed, give outbox.position the new name, and the configuration the old slot"
     " and publication, as the line shows. If the old one is over, drop its slot and its row "
     "of outbox.position. If both shall go on: outboxd run --new-slot."},
    {"SLOT_UNFINISHED", "warn",
     "The replication slot is still being created: that waits until every transaction that was"
     " running then, in any database of the server, has ended. Nothing is published meanwhile."
     " The relay goes on by itself.",
     "Wait, or end the transactions that were forgotten: see backend_xid in pg_stat_activity, "
     "and pg_prepared_xacts."},
    {"SLOT_CREATED", "info",
     "The replication slot was created; the rows from before it are published first.", ""},
    {"SLOT_ADOPTED", "info",
     "The slot was there before: the rows that are unpublished are published, then its "
     "log.",
     ""},
    {"SLOT_FAILED_OVER", "warn",
     "The slot came over to a new primary; the relay goes on from where it stands there.",
     "Check that consumers bear duplicates: what the old primary had not confirmed may be "
     "published again."},
    {"BACKFILL_COMPLETE", "info", "The rows from before the slot are published; the log follows.",
     ""},
    {"GAP_ACCEPTED", "warn",
     "--new-slot was given: the slot is made again, and the line says what may be "
     "missing.",
     "Compare with what consumers have; messages of emit_message in the gap are in no "
     "table."},
    {"SLOT_MISSING", "error", "The slot is gone (exit code 4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished."},
    {"SLOT_LOST", "error",
     "The slot is invalid: the WAL it needs was removed, or the server says why (exit "
     "code 4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished. Raise max_slot_wal_keep_size."},
    {"SLOT_AHEAD", "error",
     "The slot was advanced or created again behind the relay's back (exit code 4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished."},
    {"SLOT_OTHER_NAME", "error",
     "The saved position belongs to a slot of another name (exit code 4).",
     "Set pipelines.slot back. Else: events may be missing. outboxd run --new-slot makes "
     "the slot again and publishes the rows that are still unpublished."},
    {"SLOT_OTHER_SYSTEM", "error",
     "The server is not the one that the position belongs to (exit code 4).",
     "Check database.dsn. Else: events may be missing. outboxd run --new-slot makes the "
     "slot again and publishes the rows that are still unpublished."},
    {"SLOT_OTHER_TIMELINE", "error",
     "The server was restored or promoted, and the slot did not come over (exit code 4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished."},
    {"SLOT_OTHER_HISTORY", "error",
     "The server was put back to an older copy, or is another one, while the relay ran (exit code "
     "4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished."},
    {"POSITION_BEYOND_LOG", "error",
     "The saved position lies beyond the end of the server's log (exit code 4).",
     "Events may be missing. outboxd run --new-slot makes the slot again and publishes "
     "the rows that are still unpublished."},
    {"NEW_SLOT_NOT_NEEDED", "warn", "--new-slot was given, and no gap is known; the relay goes on.",
     "To read everything unpublished from the table all the same: stop the relay, SELECT "
     "pg_drop_replication_slot('...'); and start with --new-slot."},
    {"SLOT_FOREIGN", "error",
     "The slot of that name is of another kind, or belongs to another database.",
     "Name another slot in pipelines.slot."},
    {"WAL_LEVEL", "error", "wal_level of the server is not logical.",
     "ALTER SYSTEM SET wal_level = 'logical'; then restart PostgreSQL."},
    {"NO_REPLICATION", "error", "The relay's role may not replicate.",
     "An administrator runs: ALTER ROLE the_relays_role REPLICATION; (members of "
     "outbox_relay do not inherit it); on Amazon RDS and Aurora: GRANT rds_replication TO "
     "the_relays_role;"},
    {"MESSAGES_VERSION", "error", "messages = true needs PostgreSQL 14 or later.",
     "Set messages = false and use outbox.emit."},
    {"FAILOVER_VERSION", "error", "failover_slot = true needs PostgreSQL 17 or later.",
     "Set failover_slot = false."},
    {"PUBLICATION_INCOMPLETE", "error",
     "The publication does not publish inserts into the outbox table, or hides rows or "
     "columns of it.",
     "ALTER PUBLICATION ... ADD TABLE, SET TABLE or SET (publish = 'insert'), as the "
     "line's hint says."},
    {"PUBLICATION_GONE", "error",
     "The publication was dropped, or made again behind the place where the slot stands (exit code "
     "4).",
     "CREATE PUBLICATION ... if it is not there. Then outboxd run --new-slot makes the slot again "
     "and publishes the rows that are still unpublished."},
    {"LOG_ROW_TOO_LARGE", "error",
     "The text of a row in the log would be more than 1 GB, such as that of a jsonb with many "
     "numbers like 1e131071. The server sends neither it nor what is behind it (exit code 4).",
     "Correct or delete the row in the table; the line says how to find it. Then outboxd run "
     "--new-slot leaves this part of the log and publishes the rows that are still unpublished."},
    {"PUBLICATION_CHANGED", "warn, error",
     "The publication is not the one it was. As a warning: the table is compared with the log "
     "before "
     "anything is read. As an error: events were missed, or rows that are kept cannot tell (exit "
     "code 4).",
     "outboxd run --new-slot makes the slot again and publishes the rows that are still "
     "unpublished."},
    {"PUBLICATION_PROVEN", "info",
     "The publication was changed, and the table shows that no event was missed.", ""},
    {"PARTITION_DETACHED", "warn",
     "The log has rows of a partition that has left the outbox table. They are published, and "
     "cannot be marked.",
     "Keep the partition until its rows are published. If something else reads published_at, "
     "set it for those that are in their topic."},
    {"RELATION_SKIPPED", "warn",
     "The log has rows of a table that looks like a partition of the outbox and is none; they are "
     "skipped.",
     "If it was one, publish the outbox FOR TABLE, or with publish_via_partition_root = true; its "
     "unpublished rows can be inserted into the outbox table again."},
    {"IDENTIFY_SYSTEM", "error", "The server did not say who it is on the replication connection.",
     "Connect to PostgreSQL itself: replication does not pass a pooler."},
    {"PG_PROTOCOL", "warn, error",
     "The server sent something that is not the replication protocol, a place that its log "
     "does not have, or an answer that does not fit the question (no row, no column, NULL, "
     "another kind of result). The connection is made again. The third time at the same place "
     "it is an error, and the pipeline stops.",
     "Look for what stands between outboxd and PostgreSQL and alters what it passes on. "
     "Nothing was skipped. If there is nothing, report it, with the version of the server."},
};

static const LogCode MIGRATE_CODES[] = {
    {"MIGRATE_CONNECT", "command", "No connection to PostgreSQL.",
     "Check --dsn, OUTBOXD_DATABASE_DSN or the PG* environment, and that the server is "
     "running."},
    {"MIGRATE_CONNECTION", "command",
     "The connection was lost on the way; what was not applied was rolled back.",
     "Run outboxd migrate --status to see what is applied, then run it again."},
    {"MIGRATE_DSN", "command", "The connection string is malformed.",
     "Write \"host=db dbname=shop user=owner\" (values with spaces in single quotes) or "
     "postgresql://owner@db/shop."},
    {"MIGRATE_SERVER_VERSION", "command", "The server is older than PostgreSQL 13.",
     "outboxd needs PostgreSQL 13 or later."},
    {"MIGRATE_RUNNING", "command", "Another migration of the schema has been running for 30 s.",
     "Nothing was changed. Wait for it, or see who it is: SELECT pid FROM pg_locks WHERE "
     "locktype = 'advisory' AND granted;"},
    {"MIGRATE_LOCKED", "command",
     "Another transaction holds a lock, and 2 s of waiting were not enough.",
     "Nothing of this migration was changed. Run outboxd migrate again when the table is "
     "less busy."},
    {"MIGRATE_PRIVILEGE", "command", "The role may not do that.",
     "Connect as the role that owns the schema, or as one with CREATE on the database; "
     "--no-roles leaves the roles out."},
    {"MIGRATE_DEPENDENT", "command", "Other objects depend on what would be dropped.",
     "Nothing was changed. Drop those objects first; outboxd never removes what it did "
     "not make."},
    {"MIGRATE_READ_ONLY", "command", "The server is a standby, or transactions may not write.",
     "Connect to the primary (target_session_attrs=read-write finds it)."},
    {"MIGRATE_SCHEMA_NAME", "command", "The schema's name cannot be used.",
     "Choose another name with --schema NAME."},
    {"MIGRATE_SCHEMA_FOREIGN", "command", "Something made that schema or object before outboxd.",
     "Choose another name with --schema NAME."},
    {"MIGRATE_TABLE_FOREIGN", "command", "A table is not the one that outboxd makes.",
     "Nothing was changed. Restore what the message names, or choose another schema with "
     "--schema NAME."},
    {"MIGRATE_NEWER", "command", "The schema was migrated by a later outboxd.",
     "Nothing was changed. Use the version that applied it, or later."},
    {"MIGRATE_CHANGED", "command", "An applied migration is not this program's.",
     "Nothing was changed. Use the program that applied it; a released migration is "
     "never edited."},
    {"MIGRATE_ROLE", "command", "A role that --writer or --relay names does not exist.",
     "Nothing was changed. Names are taken as they are, upper and lower case differ; make it with "
     "CREATE ROLE."},
    {"MIGRATE_BASELINE", "command",
     "The schema that --baseline looked at does not hold all that a migration makes.",
     "Nothing was recorded. Copy the schema whole (pg_dump -s, with rights and owners), with the "
     "outboxd that made it; or drop it and run outboxd migrate."},
    {"MIGRATE_EVENT_TRIGGER", "command",
     "An event trigger of the database failed while outboxd changed its schema.",
     "Nothing of this migration was changed. Let its owner set the search_path of its function, as "
     "outboxd works with pg_catalog alone, or disable it for the time."},
    {"MIGRATE_SQL", "command",
     "The server refused a statement of a migration; the SQLSTATE is in the message.",
     "The migration was rolled back. Look the SQLSTATE up in PostgreSQL's documentation, "
     "appendix A."},
};

const LogCodeGroup LOG_CODES_POSTGRES[] = {
    LOG_CODE_GROUP("PostgreSQL", POSTGRES_CODES),
    LOG_CODE_GROUP("Tables", TABLE_CODES),
    LOG_CODE_GROUP("Preconditions", PRECONDITION_CODES),
    LOG_CODE_GROUP("Write-ahead log (capture = \"wal\")", WAL_CODES),
    LOG_CODE_GROUP("outboxd migrate", MIGRATE_CODES),
};
const size_t LOG_CODES_POSTGRES_COUNT = sizeof(LOG_CODES_POSTGRES) / sizeof(LOG_CODES_POSTGRES[0]);
