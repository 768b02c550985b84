/* The program, pipelines, Kafka, sub-commands. See log_codes.h. */
#include "base/log_codes.h"

static const LogCode PROCESS_CODES[] = {
    {"STARTING", "info",
     "The relay starts; version, process id and configuration file are in the line.", ""},
    {"READY", "info",
     "Every pipeline publishes or stands by for the first time, and a broker has answered.", ""},
    {"STOPPING", "info",
     "A signal arrived, or the last pipeline ended: what is in flight is waited for.", ""},
    {"STOPPED", "info",
     "The relay has ended; the line has the exit code and why. It is the last line of every run.",
     ""},
    {"STOPPED_AT_ONCE", "warn",
     "A second signal ended the relay without draining. Nothing is lost; what was in "
     "flight may be published again.",
     "Send one signal and give the relay shutdown_timeout, unless duplicates do not matter."},
    {"DRAIN_INCOMPLETE", "warn, error",
     "The relay ended before everything in flight was acknowledged and marked (exit code "
     "5). Nothing is lost; so many events may be published again.",
     "If it repeats, raise shutdown_timeout, and the patience of what stops the relay."},
    {"RELOAD_NOT_BUILT", "warn",
     "SIGHUP arrived, and this version does not reload its configuration.",
     "Restart the relay to apply a changed configuration."},
    {"MONITOR_LISTENING", "info", "Metrics, health and status are served at this address.", ""},
    {"MONITOR_LISTEN", "error", "The address of monitor.listen cannot be used.",
     "Set monitor.listen to host:port with an address of this machine, such as "
     "\"127.0.0.1:9480\"; ports below 1024 need CAP_NET_BIND_SERVICE."},
    {"MONITOR_ADDRESS_IN_USE", "error", "Another process has the port of monitor.listen.",
     "Perhaps another outboxd (see it with: ss -ltnp); stop it, or set monitor.listen to "
     "a free port."},
    {"TIMER", "error", "The operating system refused a timer.",
     "Look at the limits of the process: open files, memory."},
    {"NOT_BUILT", "error", "The configuration asks for something that this version cannot do yet.",
     "Choose another value; outboxd config print lists them."},
    {"FAILPOINT", "warn", "A fault was injected by a test build; no released program does that.",
     "Install a release build: this one is made to fail in tests."},
};

static const LogCode PIPELINE_CODES[] = {
    {"PIPELINE_ACTIVE", "info",
     "This relay owns the outbox, and publishes once a broker answers (KAFKA_CONNECTED).", ""},
    {"FIRST_PUBLISHED", "info",
     "A broker acknowledged the first event of this pipeline since the relay started.", ""},
    {"PIPELINE_STANDBY", "info",
     "Another relay publishes this outbox; this one waits to take over.", ""},
    {"PIPELINE_RECOVERED", "info",
     "Publishing goes on; the line says what was wrong and for how long.", ""},
    {"PIPELINE_PAUSED", "warn",
     "Somebody paused this pipeline: it reads and sends nothing more, what is in flight is "
     "finished. The line says who and why.",
     "outboxd resume --pipeline NAME, when the reason is gone. A paused wal pipeline keeps WAL: "
     "watch outboxd_slot_retained_wal_bytes."},
    {"PIPELINE_RESUMED", "info", "The pipeline is no longer paused and publishes again.", ""},
    {"WATCH_FAILED", "warn",
     "Slots, pauses, the oldest event and dead letters cannot be looked at in PostgreSQL, although "
     "pipelines have their connections. Publishing goes on, and a pause set now is not noticed "
     "until the look succeeds again. While no pipeline has its connection this is not said: their "
     "own lines say why.",
     "Look at the error in the line: a right that is missing (GRANT outbox_relay), or a server "
     "that is down or out of connections."},
    {"WATCH_RECOVERED", "info", "PostgreSQL can be looked at again after WATCH_FAILED.", ""},
    {"EVENT_UNSEEN", "error",
     "The table shows an unpublished event that the relay has not seen, although it has read "
     "everything there was to read for unseen_after. It is not published by itself; the other "
     "events are. /readyz is 503 until no such event is left. The line names its seq, its id and "
     "its type, and since when it waits.",
     "capture = \"wal\": find out whether the table was out of the publication for a while, or "
     "whether somebody set the row back to unpublished. Set published_at of a row that is in its "
     "topic already, or that its owner does not want sent, by seq and id; else stop the relay, "
     "drop the slot as the line says, and start it once as "
     "outboxd run --new-slot, which publishes every unpublished row. capture = \"poll\": look at "
     "the row and at row security; a restart reads every unpublished row again."},
    {"EVENT_LOOKED_AGAIN", "info",
     "capture = \"poll\": a look at the table showed unpublished events that the relay had not "
     "read, for half of unseen_after. It reads them by number now. That happens where numbers are "
     "drawn long before the INSERT; the number is counted in outboxd_unseen_events_found_total.",
     "When it happens often: let the INSERT draw the number, or use capture = \"wal\"."},
    {"EVENT_UNSEEN_OVER", "info",
     "After EVENT_UNSEEN: every such event is published, or its row is gone.", ""},
    {"NO_PAUSE_TABLE", "command", "outboxd pause finds no table outbox.pause in the database.",
     "Make it with: outboxd migrate"},
    {"PIPELINE_UNSTEADY", "warn",
     "Publishing failed and recovered so often that single lines are no longer written; "
     "the count is in the line.",
     "Look at the error that the line names, and at what brings it back."},
    {"SUMMARY", "info",
     "What the pipeline published, marked and set aside since the last summary, how many events "
     "wait (-1: not known) and the lag; once when there is nothing to do. log.summary_interval "
     "says how often.",
     ""},
    {"EVENT_SET_ASIDE", "warn",
     "An event that cannot be published was written to the dead-letter table, with its reason."
     " Many at once are summed up.",
     "See why: outboxd dead show with the event's id, or with the number that outboxd dead "
     "list shows. Mend the cause, then outboxd dead requeue NUMBER. What is requeued and not "
     "mended comes back as a new dead letter with a new number."},
    {"HEADERS_SHADOWED", "warn",
     "Headers of the row, or header_columns, have names that the envelope has, too: they were left "
     "out, since some consumers take the last header of a name.",
     "Rename them where they are written; outbox.emit refuses them."},
    {"EVENT_TOO_LARGE", "warn, error",
     "The columns of an event take more bytes than event_bytes_max, so it was refused by its "
     "sizes alone.",
     "Keep large bodies out of events, or raise the pipeline's event_bytes_max and the topic's"
     " max.message.bytes."},
    {"EVENT_UNREADABLE", "warn, error",
     "The server cannot read this row: every fetch with it failed, also of the row alone.",
     "Look at the row by its number and at the server's log: it is damaged, or its text would be "
     "more than 1 GB. The other rows are published. With capture = \"wal\" the first start stops "
     "only where not even the number and event id of a row can be read."},
    {"EVENT_UNROUTED", "warn, error", "No route matches the event, and pipelines.topic is empty.",
     "Add a route, or pipelines.topic as the topic of all other events, or on_unrouted = "
     "\"drop\" or \"dead_letter\"."},
    {"TOPIC_COLUMN_NULL", "warn, error", "A column of the topic template is NULL in this row.",
     "Add a route that does not use the column."},
    {"TOPIC_NAME_INVALID", "warn, error",
     "The topic template gives a name that Kafka does not accept: 1 to 249 characters of "
     "a-z A-Z 0-9 . _ -.",
     "Add a route that gives these events a topic of their own."},
    {"TOPICS_TOO_MANY", "warn",
     "One pipeline would write more than 2000 different topics within an hour. The events of those "
     "beyond the bound wait (or are set aside, by on_missing_topic), all others go on.",
     "The topic template seems to use a column with too many values: give these events a topic of "
     "their own by a route."},
    {"TOPIC_READY", "info",
     "A topic that was missing or denied can be written now. The events that waited for it are "
     "published; their number and how long it took are in the line.",
     ""},
    {"HELD_ROW_MENDED", "info",
     "A row that could not be published, and that held back the events of its topic, is mended"
     " or gone. The events behind it follow in their order.",
     ""},
    {"DEAD_LETTER_REFUSED", "warn",
     "An event cannot be published, and PostgreSQL refuses to store its dead letter. The event"
     " waits, and so do those behind it in its topic. All others go on.",
     "Mend what PostgreSQL names: a right on the dead-letter table, room on its disk, a "
     "constraint or trigger of yours. The relay tries again by itself."},
    {"WAITING_EVENTS_FULL", "warn",
     "Waiting events fill in_flight_events, or must be published before what follows them (rows "
     "from before the slot, or of a table that was renamed). So the pipeline reads nothing more. "
     "They wait in memory, for their topic or behind an event of it that cannot be published: no "
     "row keeps them (on_publish = \"keep\", messages = true, a row that is gone), or a million "
     "others wait already.",
     "Remove the cause that the line names: make the topic (outboxd check --create-topics), "
     "grant the right, or raise the topic's limit. An event that was read from the log cannot "
     "be corrected: set on_poison = \"dead_letter\" and restart."},
    {"EVENTS_WITHOUT_ROW", "warn",
     "Events wait for their topic and have no unpublished row that they could wait in: their own "
     "transaction deleted it (\"listen to yourself\"), or it was deleted or marked right after. "
     "They wait in memory, and nothing that is read behind them is marked before they are "
     "published. A restart meanwhile publishes that once more.",
     "Make the topic (outboxd check --create-topics), grant the right, or mend what the first line "
     "of that topic names."},
    {"PARTITIONS_CHANGED", "warn",
     "A topic has another number of partitions than before: keys move to other partitions, so the "
     "order of a key across the change is not kept.",
     "Let the consumers finish what was written before; make a new topic rather than adding "
     "partitions where the order of keys matters."},
    {"TEMPLATE_INVALID", "error",
     "The template of a topic or key names a column that the pipeline does not know, or "
     "has too many parts.",
     "Correct it: outboxd check names the file and the line."},
    {"HEADERS_INVALID", "warn, error",
     "The row's headers are not one JSON object of a bounded number of members.",
     "outbox.emit refuses such headers; correct the row, or what wrote it."},
    {"MESSAGE_MALFORMED", "warn",
     "A message in the WAL with the prefix outboxd.event was not written by "
     "outbox.emit_message. It is always a dead letter, with its place in the log, whatever "
     "on_poison says.",
     "Find out who writes it. outboxd migrate --guard-messages takes the right to call "
     "pg_logical_emit_message away from everybody else. outboxd dead discard deletes the "
     "letter; it cannot be requeued."},
    {"TEXT_NOT_UTF8", "warn, error",
     "A text of the event is not valid UTF-8, which a database in SQL_ASCII takes. The message "
     "names "
     "column and seq.",
     "Correct the row, and the program that writes it. on_poison = \"dead_letter\" sets it aside, "
     "with U+FFFD for what is not UTF-8."},
    {"MESSAGE_IGNORED", "warn",
     "A non-transactional message with the prefix outboxd.event was ignored; "
     "outbox.emit_message writes none. Said once.",
     "Find out who calls pg_logical_emit_message."},
    {"ROWS_SWEPT", "info",
     "Unpublished rows were found whose numbers lie below those already read, and are published: "
     "the numbers went back, or were drawn long before the INSERT, or somebody inserted or "
     "unmarked rows by hand. Said at most once a minute.",
     ""},
    {"ROWS_VANISHED", "warn",
     "Published rows were not there to be marked: somebody else deleted them.",
     "Leave deleting to retain or on_publish = \"delete\"."},
    {"MARKS_IGNORED", "error",
     "The relay's UPDATE or DELETE of published rows passed without an error and changed nothing: "
     "the rows are still there, with the same event ids. A trigger or rule of the table swallows "
     "it. Nothing more is published once in_flight_events of them wait.",
     "Drop or change the trigger or rule; the relay tries again each second."},
    {"MARKS_WITHOUT_EFFECT", "error",
     "Marks wrote nothing several times in a row, although the relay owns the table and the table "
     "is the right one; the relay connects again.",
     "If it comes back, look for a trigger, rule or row-level policy on outbox.publisher or "
     "outbox.position."},
    {"ROWS_REPLACED", "warn",
     "Published rows were not there to be marked: the table now holds other events under their "
     "numbers. Those were left as they are and will be published.",
     "Numbers are given out again after TRUNCATE ... RESTART IDENTITY, setval() or a restore: find "
     "out who did that."},
    {"MARK_REJECTED", "warn, error",
     "A trigger or a constraint refuses to mark or delete a published row. The other rows are "
     "marked; nothing more is sent meanwhile.",
     "Mend the function or the constraint that the message names, or let the relay's role pass. It "
     "goes on by itself; a restart before that publishes unmarked rows again."},
    {"PRUNE_REFUSED", "warn",
     "A trigger or a constraint refuses to delete published rows that are older than retain. They "
     "stay in the table, which grows; publishing goes on. Said once an hour.",
     "Mend the function or the constraint that the message names, let the relay's role pass, or "
     "set retain = \"forever\" and delete old rows yourself. The relay tries again twice a "
     "minute."},
    {"MARK_BLOCKED", "warn",
     "Published rows cannot be marked: another session holds a lock on the outbox table. The relay "
     "gives up in time to keep its lease, and tries again.",
     "The line names the session; end it, or wait: nothing is lost."},
    {"MARK_UNBLOCKED", "info", "The lock that kept rows from being marked is gone.", ""},
    {"FETCH_BLOCKED", "warn",
     "The outbox cannot be read: another session holds a lock on it that keeps readers out (ALTER "
     "TABLE, VACUUM FULL, LOCK TABLE). The relay goes on by itself.",
     "Look for the session in pg_locks."},
    {"HISTORY_CHANGED", "warn",
     "The server is not as this relay knew it: a standby that was promoted, a restored copy, or "
     "another table of that name. What was remembered about rows is forgotten, everything that is "
     "unpublished is read again. Events may be published twice; none is lost.",
     "Was it a fail-over or a restore? Then nothing is to be done."},
    {"OWNER_CHANGED", "info",
     "Another relay has published the table meanwhile: what this one remembered about rows is "
     "forgotten.",
     ""},
    {"OWNER_REPLACED", "warn",
     "While this relay published, the row in which it proves that it does was written by somebody "
     "else. It connects again and finds out what holds.",
     "Leave outbox.publisher and outbox.position to the relay."},
    {"LEASE_EXPIRED", "warn",
     "PostgreSQL was not reached within the lease, so another relay may publish now; "
     "this one takes its place in the queue again.",
     "If it repeats, look at the network and at the load of the database; raise "
     "pipelines.lease."},
    {"LOCK_HELD_BY_STRANGER", "warn",
     "A session whose role lacks the rights of this pipeline's relay holds the publisher's "
     "lock, or waits for it. While it holds the lock, no relay can publish; while it waits, "
     "none can take over from the present one. /readyz is 503 after a lease.",
     "SELECT pg_terminate_backend(pid) with the pid of the line. Then find out what that role "
     "does with advisory locks, or take CONNECT from it."},
    {"LEASE_BROKEN", "warn",
     "The publishing relay was silent for longer than its lease; its session was ended "
     "so that this one can take over.",
     "Look at that relay: was it stopped, paused or cut off?"},
    {"SINK_DID_NOT_SETTLE", "warn",
     "The brokers answer, but the producer did not report for five minutes what became of its "
     "records; it is made again. Duplicates are possible.",
     "If it repeats, look at the brokers' logs."},
    {"EVENTS_OVERTAKEN", "warn",
     "The broker refused a request, and later events of the same keys were written before those "
     "behind the refused one: their order is turned, nothing is lost.",
     "Keep events that the broker refuses out of the outbox; the line names the first event that "
     "was overtaken."},
    {"SINK_PURGED", "debug",
     "A record was taken back from the producer before it left; it is sent again.", ""},
    {"STDOUT_FAILED", "error", "sink = \"stdout\" cannot write.", "Look at what reads the output."},
};

static const LogCode KAFKA_CODES[] = {
    {"KAFKA_CONNECTED", "info",
     "The first broker answers, or one of another cluster than before; the line has the cluster's "
     "id, the brokers of the configuration, and how many the cluster has.",
     ""},
    {"KAFKA_UNREACHABLE", "warn",
     "No broker answers; the line has librdkafka's reason. The relay waits and goes on by itself.",
     "Check kafka.brokers, advertised.listeners, and that the brokers are up."},
    {"KAFKA_AUTHENTICATION", "warn", "The brokers refuse the relay's credentials.",
     "Check sasl.* and ssl.* in kafka.properties."},
    {"KAFKA_TLS", "warn", "The encrypted connection to a broker cannot be made.",
     "Check ssl.* in kafka.properties."},
    {"KAFKA_TOPIC_UNKNOWN", "warn",
     "A topic that events go to does not exist, or lost partitions. Its events wait (or are set "
     "aside, by on_missing_topic), all others go on.",
     "Create the topic, or: outboxd check --create-topics"},
    {"KAFKA_TOPIC_DENIED", "warn",
     "The relay's principal may not write the topic. Its events wait (or are set aside, by "
     "on_missing_topic), all others go on.",
     "Grant WRITE and DESCRIBE on the topic to the relay's principal."},
    {"KAFKA_DENIED", "warn",
     "The relay's principal may not write to the cluster as an idempotent producer.",
     "Grant IDEMPOTENT_WRITE on the cluster to the relay's principal (brokers before "
     "2.8)."},
    {"KAFKA_NO_ACKNOWLEDGEMENT", "warn",
     "Records are with the brokers, and no acknowledgement came for seconds.",
     "Look at the brokers: acks=all needs min.insync.replicas replicas in sync."},
    {"KAFKA_PRODUCER_FATAL", "warn", "The producer failed for good; a new one is made.",
     "Grant WRITE on the topics to the relay's principal (before Kafka 3.0 also "
     "IDEMPOTENT_WRITE on the cluster); else look at the brokers' logs."},
    {"KAFKA_PROPERTY", "error", "A property of kafka.properties is refused.",
     "The properties are librdkafka's: see its CONFIGURATION.md."},
    {"KAFKA_BATCH_BYTES", "info",
     "batch.size follows the least max.message.bytes of the topics that are written.", ""},
    {"KAFKA_ERROR", "warn",
     "Kafka answered with an error that is not known to outboxd; it is tried again.",
     "Look the name in the message up in Kafka's documentation."},
    {"KAFKA_EVENT", "debug", "Something that librdkafka deals with itself.", ""},
    {"KAFKA_LOG", "debug, error", "A line of librdkafka's own log.",
     "Look at the brokers' log and at kafka.properties; the line is librdkafka's own."},
    {"RECORD_TOO_LARGE", "warn, error", "The record is larger than its topic accepts.",
     "Raise the topic's max.message.bytes (and segment.bytes), or keep large bodies out "
     "of events."},
    {"RECORD_KEY_MISSING", "warn, error",
     "The record has no key, and its topic is compacted: it accepts only records with one.",
     "Give these events a key (an aggregate_id, or a route with a key of its own), or send them to "
     "a topic with cleanup.policy=delete."},
    {"RECORD_REFUSED", "warn, error", "The broker refused this record for what it is.",
     "A compacted topic needs a key; a topic or a policy of the cluster may also refuse "
     "timestamps or formats."},
    {"RECORD_TIMESTAMP_REFUSED", "warn, error", "The topic does not accept the record's timestamp.",
     "Set timestamp = \"publish\", or raise the topic's message.timestamp.*.max.ms."},
};

static const LogCode GROUP_CODES[] = {
    {"CONSUMER_GROUPS_RECOVERED", "info", "Consumer groups are seen again.", ""},
    {"CONSUMER_GROUPS_TOO_MANY", "warn",
     "monitor.consumer_groups matches more groups than are looked at.",
     "Narrow monitor.consumer_groups."},
    {"CONSUMER_GROUPS_PARTITIONS", "warn",
     "The topics have more partitions than are looked at for consumer groups.",
     "Nothing is wrong with publishing; the groups of the topics that are named are not watched."},
    {"CONSUMER_GROUPS_HELPER", "warn",
     "The helper process that asks Kafka for consumer groups ended; it is started again. "
     "Publishing does not depend on it.",
     "If it repeats, report it, with the version of librdkafka that outboxd version prints."},
    {"KAFKA_GROUP_DENIED", "warn", "The relay's principal may not see consumer groups.",
     "Grant DESCRIBE on the groups to the relay's principal: kafka-acls --add --allow-principal "
     "User:NAME --operation Describe --group NAME"},
    {"KAFKA_GROUP_UNAVAILABLE", "warn",
     "Kafka did not say where a consumer group stands; it is asked again.",
     "If it repeats, look at the brokers: the group's coordinator may be missing."},
};

static const LogCode COMMAND_CODES[] = {
    {"RELAY_SILENT", "command", "No relay answers at monitor.listen.",
     "If it does not run: outboxd run. If it runs on another machine, ask there. It "
     "cannot be asked when monitor.listen is off."},
    {"RELAY_ANSWER", "command", "What answers at monitor.listen is not outboxd.",
     "Another program has that port; set monitor.listen."},
    {"DATABASE_UNKNOWN", "command", "Which database to look into is not known.",
     "Give -c FILE or --dsn DSN."},
    {"DEAD_LETTER_TABLES", "command",
     "The pipelines of the configuration keep their dead letters in several tables.",
     "Name a pipeline: --pipeline NAME."},
    {"DEAD_LETTER_PIPELINE", "command",
     "The dead letter belongs to a pipeline that is not in the configuration, so the "
     "table that its event goes to is not known.",
     "Give the configuration of that relay: -c FILE."},
    {"DEAD_LETTER_NO_EVENT", "command",
     "The dead letter holds no event that could be published, such as a malformed "
     "message of the WAL.",
     "See it with outboxd dead show ID, then outboxd dead discard ID."},
    {"DEAD_LETTER_IGNORED", "command",
     "A dead letter cannot be requeued: the server says that the INSERT of the event, or the "
     "DELETE "
     "of the letter, touched no row. Nothing was changed.",
     "A trigger that returns NULL or a rule of that table swallows it: let it pass, or drop it."},
    {"DEAD_LETTER_NOT_WHOLE", "command",
     "The event could not be stored whole in its dead letter, so it cannot be requeued from it.",
     "If its row is still in the table, mend it there and set its published_at to NULL; then "
     "discard the dead letter."},
    {"DEAD_LETTER_COLUMN", "command", "The event has a value for which the table has no column.",
     "Name the column in pipelines.columns, or write the event anew from what outboxd "
     "dead show prints."},
};

const LogCodeGroup LOG_CODES_RELAY[] = {
    LOG_CODE_GROUP("The program", PROCESS_CODES),
    LOG_CODE_GROUP("Pipelines and events", PIPELINE_CODES),
    LOG_CODE_GROUP("Kafka", KAFKA_CODES),
    LOG_CODE_GROUP("Consumer groups", GROUP_CODES),
    LOG_CODE_GROUP("Sub-commands", COMMAND_CODES),
};
const size_t LOG_CODES_RELAY_COUNT = sizeof(LOG_CODES_RELAY) / sizeof(LOG_CODES_RELAY[0]);
