# shellcheck shell=bash
# steps.sh - what packaging/quickstart needs to be a good guest: steps that say how long they took,
# failures that say why, processes that never outlive it. Sourced, not run.
#
# Everything it starts is in PROCESSES, everything it writes below DIR; cleanup() ends and removes both.

STEP='start'            # the step that is running, for messages
STEP_BEGAN=0            # microseconds
DIR=''                  # our directory below TMPDIR, once it exists
LEFTOVERS=()            # other paths to remove at the end
PROCESSES=()            # pids, in the order they started
declare -A NAME_OF=()   # pid -> what it is
declare -A SIGNAL_OF=() # pid -> the signal that ends it quickly
CURRENT=''              # pid of the tool a step is waiting for, a session of its own
UNINTERRUPTIBLE=''      # pid of a tool that must end by itself
KEEP_LOGS=''            # set: a failure leaves the directory with the logs
STOP_SECONDS=5          # patience with one process at the end, before SIGKILL

exec {SCREEN}>&1        # standard output, also where a command has redirected it

if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
    TERMINAL=yes
else
    TERMINAL=''
fi
# shellcheck disable=SC2034 # for packaging/quickstart
if [[ -n $TERMINAL && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' RED=$'\e[1;31m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' DIM='' PLAIN=''
fi

# Ends what a terminal shows as not finished, so that the next line begins at the left.
line_clear() {
    [[ -z $TERMINAL ]] || printf '\r\e[K'
}

# step_begin NAME WHAT: a terminal shows WHAT until the step ends.
step_begin() {
    STEP=$1
    STEP_BEGAN=${EPOCHREALTIME/./}
    [[ -z $TERMINAL ]] || printf '\r\e[K  %-11s %s%s ...%s' "$STEP" "$DIM" "$2" "$PLAIN"
}

# step_end RESULT [untimed]: one line, with the duration of the step unless nothing was done.
step_end() {
    local us=$((${EPOCHREALTIME/./} - STEP_BEGAN)) took
    line_clear
    if [[ ${2:-} == untimed ]]; then
        printf '  %-11s %s\n' "$STEP" "$1"
        return
    fi
    if ((us < 95000)); then
        took=$(printf '0.%02d s' $(((us + 5000) / 10000)))
    else
        us=$((us + 50000))
        took="$((us / 1000000)).$((us / 100000 % 10)) s"
    fi
    printf '  %-11s %-70s %8s\n' "$STEP" "$1" "$took"
}

# The end of a log, indented; long lines are folded because the reason is often at their end.
log_tail() {
    tail -n 12 "$1" | cut -c -1200 | fold -s -w 110 | sed 's/^/    /'
}

# fail WHY REMEDY [LOG]: the answer first, then the evidence, then what to do. Does not return.
fail() {
    local why=$1 remedy=$2 log=${3:-}
    line_clear
    {
        printf '\n%sstopped at step "%s":%s %s\n' "$RED" "$STEP" "$PLAIN" "$why"
        if [[ -n $log && -s $log ]]; then
            printf '  the end of its log:\n'
            log_tail "$log"
        fi
        printf '  remedy: %s\n' "$remedy"
    } >&2
    if [[ -n $KEEP_LOGS && -n $DIR ]]; then
        printf '  logs kept in %s\n' "$DIR" >&2
        DIR_KEPT=yes
    fi
    exit 1
}

# plural 3 view: "3 views".
plural() {
    printf '%d %s' "$1" "$2"
    (($1 == 1)) || printf s
}

# free_port: a port of 127.0.0.1 that nobody listens on, below the range of outgoing connections.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + SRANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

# start NAME SIGNAL LOG COMMAND...: a process in the background that ends when we do, in a session of its
# own (Ctrl-C is for us to handle). STARTED is its pid.
start() {
    local name=$1 signal=$2 log=$3
    shift 3
    setsid setpriv --pdeathsig "$signal" "$@" </dev/null >>"$log" 2>&1 {SCREEN}>&- &
    STARTED=$!
    started "$STARTED" "$name" "$signal"
}

started() {
    PROCESSES+=("$1")
    NAME_OF[$1]=$2
    SIGNAL_OF[$1]=$3
}

running() {
    kill -0 "$1" 2>/dev/null
}

# end_process PID: asks, waits, insists. PostgreSQL (SIGINT) is asked again because it does not listen in its first
# moments; the relay would take a second SIGTERM for impatience.
end_process() {
    local pid=$1 tries=$((STOP_SECONDS * 50)) i
    [[ -n ${NAME_OF[$pid]:-} ]] || return 0
    for ((i = 0; i < tries; i++)); do
        running "$pid" || break
        if ((i == 0)) || { [[ ${SIGNAL_OF[$pid]} == INT ]] && ((i % 25 == 0)); }; then
            kill -s "${SIGNAL_OF[$pid]}" "$pid" 2>/dev/null
        fi
        sleep 0.02
    done
    running "$pid" && kill -s KILL "$pid" 2>/dev/null
    unset "NAME_OF[$pid]" "SIGNAL_OF[$pid]"
    return 0
}

# stop PID: ends it; returns its exit code.
stop() {
    end_process "$1"
    wait "$1" 2>/dev/null
}

# quietly LOG COMMAND...: runs a tool whose output matters only when it fails; Ctrl-C ends it with all that it
# started.
quietly() {
    local log=$1 code
    shift
    setsid setpriv --pdeathsig TERM "$@" </dev/null >>"$log" 2>&1 {SCREEN}>&- &
    CURRENT=$!
    wait "$CURRENT"
    code=$?
    CURRENT=''
    return "$code"
}

# wait_until SECONDS COMMAND...: polls COMMAND every 20 ms until it succeeds or time is up.
wait_until() {
    local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000))
    shift
    until "$@"; do
        ((${EPOCHREALTIME/./} < deadline)) || return 1
        sleep 0.02
    done
}

# Ends every process, last started first, and removes every file.
cleanup() {
    local code=$? i
    trap '' INT TERM HUP PIPE
    trap - EXIT
    line_clear 2>/dev/null
    if [[ -n $UNINTERRUPTIBLE ]]; then
        printf 'the installation of packages must not be cut off; waiting for its end\n' >&2
        while running "$UNINTERRUPTIBLE"; do
            sleep 0.2
        done
    fi
    # Without `wait`: where a signal came during one for the same process, a second one may never return (bash 5.2).
    if [[ -n $CURRENT ]]; then
        kill -s TERM -- "-$CURRENT" 2>/dev/null
        for ((i = 0; i < STOP_SECONDS * 50; i++)); do
            running "$CURRENT" || break
            sleep 0.02
        done
        kill -s KILL -- "-$CURRENT" 2>/dev/null
    fi
    for ((i = ${#PROCESSES[@]} - 1; i >= 0; i--)); do
        end_process "${PROCESSES[i]}"
    done
    if [[ -n $DIR && -z ${DIR_KEPT:-} ]]; then
        LEFTOVERS+=("$DIR")
    fi
    for _ in {1..20}; do # a server that was just killed may still write
        rm -rf -- "${LEFTOVERS[@]}" 2>/dev/null && break
        sleep 0.1
    done
    exit "$code"
}
