# shellcheck shell=bash
# servers.sh - a private PostgreSQL, and a broker: the embedded one or Apache Kafka. Sourced by packaging/quickstart.
#
# Both listen on a free port of 127.0.0.1 only, keep their files below DIR and end when the script ends.

password() {
    od -An -tx1 -N16 /dev/urandom | tr -d ' \n'
}

# sql USER [psql options]: runs SQL of standard input or -c in the shop; result without decoration.
sql() {
    local user=$1
    shift
    "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PGPORT" -U "$user" -d "${DATABASE:-shop}" "$@"
}

postgres_answers() {
    DATABASE=postgres sql postgres -c 'SELECT 1' >/dev/null 2>&1 || ! running "$POSTGRES"
}

# The server refuses to run as root.
postgres_user() {
    local name
    AS_SERVER=()
    ((EUID == 0)) || return 0
    for name in postgres nobody; do
        if id "$name" >/dev/null 2>&1; then
            AS_SERVER=(setpriv "--reuid=$name" "--regid=$(id -g "$name")" --init-groups --pdeathsig INT --)
            chown "$name" "$DIR/postgresql" "$DIR/postgres.password"
            return 0
        fi
    done
    return 1
}

postgres_start() {
    local log=$DIR/postgresql.log
    for ((attempt = 1; attempt <= PORT_ATTEMPTS; attempt++)); do
        PGPORT=$(free_port) || fail 'no free port between 20000 and 32000' 'stop what uses them'
        : >"$log"
        start postgresql INT "$log" "${AS_SERVER[@]}" "$PGBIN/postgres" -D "$DIR/postgresql" \
            -c listen_addresses=127.0.0.1 -c port="$PGPORT" -c unix_socket_directories= -c shared_buffers=64MB \
            -c max_connections=40 -c logging_collector=off -c log_destination=stderr
        POSTGRES=$STARTED
        if wait_until 30 postgres_answers && running "$POSTGRES"; then
            return 0
        fi
        stop "$POSTGRES"
        grep -q 'could not bind' "$log" || return 1
    done
    return 1
}

step_postgresql() {
    local log=$DIR/postgresql.log
    step_begin postgresql 'creating a private server'
    PGBIN=$(postgres_bin)
    SHOP_PASSWORD=$(password) RELAY_PASSWORD=$(password) POSTGRES_PASSWORD=$(password)
    mkdir "$DIR/postgresql"
    (umask 077 && echo "$POSTGRES_PASSWORD" >"$DIR/postgres.password" &&
        printf '127.0.0.1:*:*:%s:%s\n' postgres "$POSTGRES_PASSWORD" shop "$SHOP_PASSWORD" relay "$RELAY_PASSWORD" \
            >"$DIR/passwords")
    export PGPASSFILE=$DIR/passwords
    postgres_user || fail 'PostgreSQL refuses to run as root, and there is no user postgres' 'run it as another user'
    quietly "$log" "${AS_SERVER[@]}" "$PGBIN/initdb" -D "$DIR/postgresql" -U postgres -A scram-sha-256 \
        --pwfile="$DIR/postgres.password" -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions ||
        fail 'initdb did not succeed' "is there space below ${TMPDIR:-/tmp}? TMPDIR chooses another place" "$log"
    postgres_start || fail 'the server did not start' "see the log" "$log"
    DATABASE=postgres sql postgres -c 'CREATE DATABASE shop' >>"$log" 2>&1 ||
        fail 'cannot create the database' 'see the log' "$log"
    step_end "$(sql postgres -c 'SHOW server_version' | cut -d' ' -f1), private, port $PGPORT"
}

broker_said_where() {
    grep -q '^bootstrap .' "$DIR/broker.out" || ! running "$BROKER"
}

step_broker_embedded() {
    step_begin broker 'starting the embedded one'
    : >"$DIR/broker.out"
    start broker TERM "$DIR/broker.out" "$BUILD/packaging/demo/outboxd-demo-broker" --partitions "$PARTITIONS" \
        --topic "$TOPIC"
    # It answers a waiting consumer when the wait is over, not when a record comes: so wait briefly.
    BROKER=$STARTED FETCH_WAIT_MS=1
    if ! wait_until 10 broker_said_where || ! running "$BROKER"; then
        fail 'the embedded broker did not start' 'try --kafka' "$DIR/broker.out"
    fi
    BROKERS=$(sed -n 's/^bootstrap //p' "$DIR/broker.out")
    BROKER_LOG=$DIR/broker.out
    step_end "embedded, 1 node, port ${BROKERS##*:} (use --kafka for Apache Kafka)"
}

# Kafka's jars, once for all: the tests use the same directory.
step_kafka_jars() {
    local target=$CACHE/kafka-$KAFKA_VERSION log=$DIR/maven.log scratch
    [[ ! -d $target ]] || return 0
    step_begin kafka "downloading $KAFKA_VERSION to $CACHE"
    mkdir -p "$CACHE"
    scratch=$(mktemp -d "$CACHE/.kafka-$KAFKA_VERSION-XXXXXX") ||
        fail "cannot write to $CACHE" 'OUTBOXD_CACHE chooses another place'
    LEFTOVERS+=("$scratch")
    chmod 755 "$scratch"
    quietly "$log" env MAVEN_OPTS=-XX:-UsePerfData mvn -B -ntp -q -f "$REPO/tests/support/maven/kafka.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        "-DoutputDirectory=$scratch" "-Dkafka.version=$KAFKA_VERSION" ||
        fail 'Maven could not download Kafka' 'is there a way to the internet? Behind a proxy: ~/.m2/settings.xml' "$log"
    mv -T "$scratch" "$target" 2>/dev/null || [[ -d $target ]] || fail "cannot create $target" "remove $target" "$log"
    step_end "$KAFKA_VERSION, $(find "$target" -name '*.jar' | wc -l) jars, $(du -sm "$target" | cut -f1) MB, kept in $CACHE"
}

kafka_configure() {
    BROKERS=127.0.0.1:$1
    cat >"$DIR/kafka.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$DIR/kafka
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
    cat >"$DIR/kafka-log4j2.yaml" <<'END'
Configuration:
  status: WARN
  Appenders:
    Console: { name: OUT, target: SYSTEM_OUT, PatternLayout: { pattern: "%d{ISO8601} %p %c{1} %m%n" } }
  Loggers:
    Root: { level: WARN, AppenderRef: { ref: OUT } }
END
}

kafka_topics_or_end() {
    local ended='' topics
    setsid setpriv --pdeathsig TERM "$BUILD/packaging/demo/outboxd-demo-topics" --brokers "$BROKERS" \
        --partitions "$PARTITIONS" --topic "$TOPIC" --wait 60 </dev/null >>"$1" 2>&1 {SCREEN}>&- &
    topics=$!
    started "$topics" 'topic creation' TERM
    wait -n -p ended "$topics" "$BROKER" && [[ $ended == "$topics" ]]
}

step_broker_kafka() {
    local log=$DIR/kafka.log java=(java -Xmx512m -XX:+UseSerialGC -XX:-UsePerfData
        "-Dlog4j2.configurationFile=$DIR/kafka-log4j2.yaml" -cp "$CACHE/kafka-$KAFKA_VERSION/*") port
    step_begin broker "starting Apache Kafka $KAFKA_VERSION"
    # shellcheck disable=SC2034 # for packaging/quickstart
    BROKER_LOG=$log FETCH_WAIT_MS=100
    for ((attempt = 1; attempt <= PORT_ATTEMPTS; attempt++)); do
        rm -rf "$DIR/kafka"
        : >"$log"
        port=$(free_port)
        kafka_configure "$port" "$(free_port)"
        quietly "$log" "${java[@]}" kafka.tools.StorageTool format -t "$(password | cut -c -22)" \
            -c "$DIR/kafka.properties" || fail 'the storage could not be formatted' 'see the log' "$log"
        start kafka TERM "$log" "${java[@]}" kafka.Kafka "$DIR/kafka.properties"
        BROKER=$STARTED
        if kafka_topics_or_end "$log"; then
            step_end "Apache Kafka $KAFKA_VERSION, 1 node, port $port"
            return
        fi
        stop "$BROKER"
        grep -q 'Address already in use' "$log" || break
    done
    fail 'Kafka did not start' 'is there 1 GB of memory free? java -version must say 17 or newer' "$log"
}
