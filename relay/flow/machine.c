/* The life of a pipeline, as a table. relay/flow/README.md has its picture.
 *
 * After a failed delivery the sink is purged: nothing may overtake what failed. When the source is
 * lost, it is not: the broker may have written what the sink holds, and only its report tells;
 * taken back, it would be sent twice. The source connects again in the meantime and takes the lock,
 * so that nobody else publishes, and waits for resume(). If the lock is not ours again within the
 * lease, the sink is held: nothing leaves it any more, nothing is given up. It goes on when the
 * lock is ours and the source's history proves that nobody else published; it is purged if somebody
 * did, or may have. A producer is replaced only when it is dead, never because it is slow.
 *
 * How to read it: the first rule of a state and an input counts whose guard holds. What may come
 * and changes nothing is a rule, too (KEPT), and so is what its sender promises never to send
 * (IMPOSSIBLE): test_machine.c looks that every state has a rule for every input. */
#include "flow/machine.h"

#include <assert.h>

#include "base/log.h"

#define S(name) (UINT32_C(1) << MACHINE_##name)
#define I(name) (UINT32_C(1) << INPUT_##name)

enum {
    WORKING = S(RUNNING) | S(STALLED),
    SETTLING_OURS = S(SETTLING_TO_RESEND) | S(SETTLING_TO_REREAD),
    SETTLING_LOST =
        S(SETTLING_UNLOCKED) | S(SETTLING_HELD) | S(SETTLING_LOCKED) | S(SETTLING_TAKEN),
    SETTLING = SETTLING_OURS | SETTLING_LOST,
    ENDING = S(ENDING_OURS) | S(ENDING_UNLOCKED) | S(ENDING_HELD) | S(ENDING_LOCKED) |
             S(ENDING_TAKEN) | S(ENDING_ALONE),
    DRAINING = S(DRAINING_SINK) | S(DRAINING_SOURCE),
    OVER = S(STOPPED) | S(FAILED),
    /* The lock is ours, and was never lost since the source became active. */
    PUBLISHER = WORKING | SETTLING_OURS | S(ENDING_OURS) | S(DRAINING_SINK),
    ALL_INPUTS = (1 << INPUT_COUNT) - 1,
};

static_assert(MACHINE_STATE_COUNT < 31 && INPUT_COUNT < 31, "sets of them are ints");

// clang-format off
#define GO(name) MACHINE_##name
#define STAY MACHINE_STATE_COUNT
#define STEP(from, inputs, guard, to, action, why) {from, inputs, RULE_STEP, GUARD_##guard, to, ACTION_##action, why}
#define KEPT(from, inputs, why) {from, inputs, RULE_KEPT, GUARD_ALWAYS, STAY, ACTION_NOTHING, why}
#define IMPOSSIBLE(from, inputs, why) {from, inputs, RULE_IMPOSSIBLE, GUARD_ALWAYS, STAY, ACTION_NOTHING, why}

static const Rule RULES[] = {
    /* Becoming the publisher. */
    STEP(S(STARTING) | S(STANDBY), I(LOCKED), ALWAYS, STAY, RESUME, "nothing is in flight"),
    STEP(S(STARTING) | S(STANDBY), I(ACTIVE), ALWAYS, GO(RUNNING), ACTIVATE, "it publishes from now on"),
    STEP(S(STARTING), I(STANDBY), ALWAYS, GO(STANDBY), STAND_BY, "another relay publishes"),
    KEPT(S(STANDBY), I(STANDBY), "it still does"),
    STEP(S(STARTING), I(SOURCE_LOST), ALWAYS, STAY, RESTART, "it tries again"),
    STEP(S(STANDBY), I(SOURCE_LOST), ALWAYS, GO(STARTING), RESTART, "it connects again"),
    STEP(S(STARTING) | S(STANDBY), I(SOURCE_FAILED) | I(FATAL), ALWAYS, GO(FAILED), END, "an operator must act"),
    STEP(S(STARTING) | S(STANDBY), I(STOP), ALWAYS, GO(DRAINING_SOURCE), DRAIN, "nothing is in flight"),
    KEPT(S(STARTING) | S(STANDBY), I(TROUBLE) | I(HEALED) | I(RESEND), "nothing is sent"),

    /* Publishing. */
    STEP(S(RUNNING), I(TROUBLE), ALWAYS, GO(STALLED), NOTHING, "something outside is wrong"),
    KEPT(S(STALLED), I(TROUBLE), "something outside is wrong already"),
    STEP(S(STALLED), I(HEALED), ALWAYS, GO(RUNNING), RECOVER, "it is corrected"),
    KEPT(S(RUNNING), I(HEALED), "nothing is wrong"),
    STEP(WORKING, I(RESEND), ALWAYS, GO(SETTLING_TO_RESEND), RESEND, "the sink gave events back"),
    STEP(WORKING, I(REREAD), ALWAYS, GO(SETTLING_TO_REREAD), REREAD, "parked events may go on"),
    STEP(WORKING, I(SOURCE_LOST), LEASE_OVER, GO(SETTLING_HELD), LOSE_AND_HOLD, "the lock is lost, and its lease over"),
    STEP(WORKING, I(SOURCE_LOST), ALWAYS, GO(SETTLING_UNLOCKED), LOSE_SOURCE, "the lock is lost"),
    STEP(WORKING, I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), FAIL, "an operator must act"),
    STEP(WORKING, I(FATAL), ALWAYS, GO(ENDING_OURS), FAIL, "an operator must act"),
    STEP(WORKING, I(STOP), ALWAYS, GO(DRAINING_SINK), STOP_SENDING, "it is asked to stop"),
    KEPT(PUBLISHER, I(ACTIVE), "a source that reads from the beginning says so again"),

    /* Settling with the lock in our hands. */
    STEP(S(SETTLING_TO_RESEND), I(SETTLED), WELL, GO(RUNNING), GO_ON, "all reports are in"),
    STEP(S(SETTLING_TO_RESEND), I(SETTLED), ALWAYS, GO(STALLED), GO_ON_SLOWLY, "all reports are in, and it failed"),
    STEP(S(SETTLING_TO_REREAD), I(SETTLED), UNTROUBLED, GO(RUNNING), READ_AGAIN, "all reports are in"),
    STEP(S(SETTLING_TO_REREAD), I(SETTLED), ALWAYS, GO(STALLED), READ_AGAIN, "all reports are in, and something is wrong"),

    /* Settling while the source connects: the lock decides. */
    STEP(S(SETTLING_UNLOCKED) | S(SETTLING_HELD), I(SETTLED), ALWAYS, GO(STARTING), RETURN, "all reports are in before the lock"),
    STEP(S(SETTLING_LOCKED), I(SETTLED), ALWAYS, GO(STARTING), RETURN_RESUME, "all reports are in, and the lock is ours"),
    STEP(S(SETTLING_TAKEN), I(SETTLED), ALWAYS, GO(STANDBY), RETURN_STANDBY, "all reports are in, and another relay publishes"),
    STEP(S(SETTLING_UNLOCKED), I(LOCKED), OTHERS, GO(SETTLING_LOCKED), TAKE_BACK, "somebody else published"),
    STEP(S(SETTLING_UNLOCKED), I(LOCKED), ALWAYS, GO(SETTLING_LOCKED), WAIT_LOCKED, "the lock is ours within the lease"),
    STEP(S(SETTLING_HELD), I(LOCKED), UNPROVEN, GO(SETTLING_LOCKED), TAKE_BACK, "somebody else may have published"),
    STEP(S(SETTLING_HELD), I(LOCKED), ALWAYS, GO(SETTLING_LOCKED), LET_GO, "nobody else published"),
    STEP(S(SETTLING_TAKEN), I(LOCKED), ALWAYS, GO(SETTLING_LOCKED), WAIT_LOCKED, "the other relay is gone"),
    STEP(S(SETTLING_UNLOCKED) | S(SETTLING_HELD) | S(SETTLING_LOCKED), I(STANDBY), ALWAYS, GO(SETTLING_TAKEN), PURGE, "another relay publishes"),

    /* The source is lost while it settles. */
    STEP(SETTLING_OURS | S(SETTLING_LOCKED), I(SOURCE_LOST), LEASE_OVER, GO(SETTLING_HELD), RESTART_HELD, "the lock is lost, and its lease over"),
    STEP(SETTLING_OURS | S(SETTLING_LOCKED), I(SOURCE_LOST), ALWAYS, GO(SETTLING_UNLOCKED), RESTART_LEASED, "the lock is lost"),
    STEP(S(SETTLING_UNLOCKED), I(SOURCE_LOST), LEASE_OVER, GO(SETTLING_HELD), RESTART_HELD, "the lease is over"),
    STEP(S(SETTLING_UNLOCKED) | S(SETTLING_TAKEN), I(SOURCE_LOST), ALWAYS, GO(SETTLING_UNLOCKED), RESTART_AGAIN, "it tries again"),
    STEP(S(SETTLING_HELD), I(SOURCE_LOST), ALWAYS, STAY, RESTART_AGAIN, "it tries again"),
    STEP(SETTLING_OURS | S(SETTLING_LOCKED), I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), BOUND_LEASE, "an operator must act"),
    STEP(S(SETTLING_UNLOCKED), I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), KEEP_LEASE, "an operator must act"),
    STEP(S(SETTLING_HELD), I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), PURGE, "an operator must act, and the lock is lost for good"),
    STEP(S(SETTLING_TAKEN), I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), LOOK, "an operator must act"),

    /* It ends while it settles. */
    STEP(SETTLING_OURS, I(STOP) | I(FATAL), ALWAYS, GO(ENDING_OURS), LOOK, "it ends once all reports are in"),
    STEP(S(SETTLING_UNLOCKED), I(STOP) | I(FATAL), ALWAYS, GO(ENDING_UNLOCKED), LOOK, "it ends once all reports are in"),
    STEP(S(SETTLING_HELD), I(STOP) | I(FATAL), ALWAYS, GO(ENDING_HELD), LOOK, "it ends once all reports are in"),
    STEP(S(SETTLING_LOCKED), I(STOP) | I(FATAL), ALWAYS, GO(ENDING_LOCKED), LOOK, "it ends once all reports are in"),
    STEP(S(SETTLING_TAKEN), I(STOP) | I(FATAL), ALWAYS, GO(ENDING_TAKEN), LOOK, "it ends once all reports are in"),

    /* Ending: as settling, but the source that is lost now is not started again. */
    STEP(S(ENDING_OURS) | S(ENDING_UNLOCKED) | S(ENDING_HELD) | S(ENDING_TAKEN), I(SETTLED), ALWAYS, GO(DRAINING_SOURCE), RETURN_DRAIN, "all reports are in"),
    STEP(S(ENDING_LOCKED), I(SETTLED), ALWAYS, GO(DRAINING_SOURCE), RETURN_DRAIN_RESUME, "all reports are in, and the lock is ours"),
    STEP(S(ENDING_ALONE), I(SETTLED), FATAL, GO(FAILED), RETURN_END, "all reports are in"),
    STEP(S(ENDING_ALONE), I(SETTLED), UNMARKED, GO(FAILED), RETURN_END_UNDONE, "nobody can mark what is published"),
    STEP(S(ENDING_ALONE), I(SETTLED), ALWAYS, GO(STOPPED), RETURN_END, "nothing is left to mark"),
    STEP(S(ENDING_UNLOCKED), I(LOCKED), OTHERS, GO(ENDING_LOCKED), TAKE_BACK, "somebody else published"),
    STEP(S(ENDING_UNLOCKED), I(LOCKED), ALWAYS, GO(ENDING_LOCKED), WAIT_LOCKED, "the lock is ours within the lease"),
    STEP(S(ENDING_HELD), I(LOCKED), UNPROVEN, GO(ENDING_LOCKED), TAKE_BACK, "somebody else may have published"),
    STEP(S(ENDING_HELD), I(LOCKED), ALWAYS, GO(ENDING_LOCKED), LET_GO, "nobody else published"),
    STEP(S(ENDING_TAKEN), I(LOCKED), ALWAYS, GO(ENDING_LOCKED), WAIT_LOCKED, "the other relay is gone"),
    STEP(S(ENDING_UNLOCKED) | S(ENDING_HELD) | S(ENDING_LOCKED), I(STANDBY), ALWAYS, GO(ENDING_TAKEN), PURGE, "another relay publishes"),
    STEP(S(ENDING_OURS) | S(ENDING_LOCKED), I(SOURCE_LOST) | I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), BOUND_LEASE, "nobody tries to get the lock back"),
    STEP(S(ENDING_UNLOCKED), I(SOURCE_LOST) | I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), KEEP_LEASE, "nobody tries to get the lock back"),
    STEP(S(ENDING_HELD), I(SOURCE_LOST) | I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), PURGE, "nobody tries to get the lock back"),
    STEP(S(ENDING_TAKEN), I(SOURCE_LOST) | I(SOURCE_FAILED), ALWAYS, GO(ENDING_ALONE), LOOK, "nobody tries to get the lock back"),
    KEPT(ENDING, I(STOP) | I(FATAL), "it ends already; the first fatal error is the reason"),

    /* What both have in common: the sink, and the bound of waiting for it. */
    STEP(S(SETTLING_HELD), I(RESEND), ALWAYS, GO(SETTLING_UNLOCKED), PURGE, "nothing may overtake what failed"),
    STEP(S(ENDING_HELD), I(RESEND), ALWAYS, GO(ENDING_UNLOCKED), PURGE, "nothing may overtake what failed"),
    STEP((SETTLING | ENDING | DRAINING) & ~(S(SETTLING_HELD) | S(ENDING_HELD)), I(RESEND), ALWAYS, STAY, PURGE, "nothing may overtake what failed"),
    STEP(S(SETTLING_UNLOCKED), I(TIME_UP), SINK_HOLDS, GO(SETTLING_HELD), HOLD, "the lease is over"),
    STEP(S(ENDING_UNLOCKED), I(TIME_UP), SINK_HOLDS, GO(ENDING_HELD), HOLD, "the lease is over"),
    STEP(S(SETTLING_UNLOCKED) | S(ENDING_UNLOCKED) | S(ENDING_ALONE), I(TIME_UP), PURGED, STAY, LOOK_AT_SINK, "it does not settle"),
    STEP(S(SETTLING_UNLOCKED) | S(ENDING_UNLOCKED) | S(ENDING_ALONE), I(TIME_UP), ALWAYS, STAY, PURGE, "the lease is over"),
    STEP(SETTLING_OURS | S(SETTLING_LOCKED) | S(SETTLING_TAKEN) | S(ENDING_OURS) | S(ENDING_LOCKED) | S(ENDING_TAKEN), I(TIME_UP), ALWAYS, STAY, LOOK_AT_SINK, "it does not settle"),
    KEPT(S(SETTLING_HELD) | S(ENDING_HELD), I(TIME_UP), "only the lock decides"),
    KEPT(SETTLING | ENDING | DRAINING, I(TROUBLE) | I(HEALED), "it waits for the sink in any case"),
    KEPT(S(SETTLING_TAKEN) | S(ENDING_TAKEN), I(STANDBY), "it still does"),

    /* Draining. */
    STEP(S(DRAINING_SINK), I(SETTLED), ALWAYS, GO(DRAINING_SOURCE), RETURN_DRAIN, "all reports are in"),
    STEP(S(DRAINING_SOURCE), I(SETTLED), ALWAYS, STAY, RETURN_DRAIN, "what came too late goes back"),
    STEP(S(DRAINING_SOURCE), I(LOCKED), ALWAYS, STAY, RESUME, "only to mark what is left"),
    KEPT(S(DRAINING_SOURCE), I(ACTIVE) | I(STANDBY), "it is about to close"),
    STEP(S(DRAINING_SOURCE), I(DRAINED), FATAL, GO(FAILED), END, "all is marked"),
    STEP(S(DRAINING_SOURCE), I(DRAINED), ALWAYS, GO(STOPPED), END, "all is marked"),
    STEP(DRAINING, I(SOURCE_LOST) | I(SOURCE_FAILED), FATAL, GO(FAILED), END, "nobody can mark any more"),
    STEP(DRAINING, I(SOURCE_LOST) | I(SOURCE_FAILED), UNMARKED, GO(FAILED), END_UNDONE, "nobody can mark what is published"),
    STEP(DRAINING, I(SOURCE_LOST) | I(SOURCE_FAILED), ALWAYS, GO(STOPPED), END, "nothing is left to mark"),
    KEPT(DRAINING, I(FATAL) | I(STOP), "it ends already; the first fatal error is the reason"),
    KEPT(DRAINING, I(TIME_UP), "only the reports tell what the broker has"),

    KEPT(OVER, ALL_INPUTS, "it is over"),

    /* What cannot be. */
    IMPOSSIBLE(PUBLISHER, I(LOCKED) | I(STANDBY), "the source reports lost first"),
    IMPOSSIBLE(S(SETTLING_LOCKED) | S(ENDING_LOCKED), I(LOCKED), "it reports standby, or lost, first"),
    IMPOSSIBLE(SETTLING_LOST | (ENDING & ~S(ENDING_OURS)), I(ACTIVE), "it follows resume() alone"),
    IMPOSSIBLE(S(ENDING_ALONE), I(LOCKED) | I(STANDBY) | I(SOURCE_LOST) | I(SOURCE_FAILED), "a lost source does nothing until start()"),
    IMPOSSIBLE(S(STARTING) | S(STANDBY) | WORKING, I(SETTLED) | I(TIME_UP), "nothing is waited for"),
    IMPOSSIBLE(S(STARTING) | S(STANDBY) | SETTLING | ENDING | DRAINING, I(REREAD), "only a pipeline that works asks for it"),
    IMPOSSIBLE(S(STARTING) | S(STANDBY) | WORKING | SETTLING | ENDING | S(DRAINING_SINK), I(DRAINED), "it follows drain() alone"),
};
// clang-format on

static const struct {
    const char *name;
    PipelineState shown;
} STATES[] = {
    [MACHINE_STARTING] = {"starting", PIPELINE_STARTING},
    [MACHINE_STANDBY] = {"standby", PIPELINE_STANDBY},
    [MACHINE_RUNNING] = {"running", PIPELINE_RUNNING},
    [MACHINE_STALLED] = {"stalled", PIPELINE_STALLED},
    [MACHINE_SETTLING_TO_RESEND] = {"settling to resend", PIPELINE_REWINDING},
    [MACHINE_SETTLING_TO_REREAD] = {"settling to reread", PIPELINE_REWINDING},
    [MACHINE_SETTLING_UNLOCKED] = {"settling unlocked", PIPELINE_REWINDING},
    [MACHINE_SETTLING_HELD] = {"settling held", PIPELINE_REWINDING},
    [MACHINE_SETTLING_LOCKED] = {"settling locked", PIPELINE_REWINDING},
    [MACHINE_SETTLING_TAKEN] = {"settling taken", PIPELINE_REWINDING},
    [MACHINE_ENDING_OURS] = {"ending ours", PIPELINE_REWINDING},
    [MACHINE_ENDING_UNLOCKED] = {"ending unlocked", PIPELINE_REWINDING},
    [MACHINE_ENDING_HELD] = {"ending held", PIPELINE_REWINDING},
    [MACHINE_ENDING_LOCKED] = {"ending locked", PIPELINE_REWINDING},
    [MACHINE_ENDING_TAKEN] = {"ending taken", PIPELINE_REWINDING},
    [MACHINE_ENDING_ALONE] = {"ending alone", PIPELINE_REWINDING},
    [MACHINE_DRAINING_SINK] = {"draining sink", PIPELINE_DRAINING},
    [MACHINE_DRAINING_SOURCE] = {"draining source", PIPELINE_DRAINING},
    [MACHINE_STOPPED] = {"stopped", PIPELINE_STOPPED},
    [MACHINE_FAILED] = {"failed", PIPELINE_FAILED},
};
static_assert(sizeof(STATES) / sizeof(STATES[0]) == MACHINE_STATE_COUNT, "each state is shown");

static const char *const INPUT_NAMES[] = {
    "locked",      "active",        "standby", "trouble", "healed",  "resend", "reread",
    "source lost", "source failed", "settled", "time up", "drained", "stop",   "fatal",
};
static_assert(sizeof(INPUT_NAMES) / sizeof(INPUT_NAMES[0]) == INPUT_COUNT, "each has a name");

PipelineState machine_shown(MachineState state)
{
    return STATES[state].shown;
}

const char *machine_state_name(MachineState state)
{
    return STATES[state].name;
}

const char *machine_input_name(Input input)
{
    return INPUT_NAMES[input];
}

const Rule *machine_rules(size_t *ret_count)
{
    *ret_count = sizeof(RULES) / sizeof(RULES[0]);
    return RULES;
}

void machine_init(Machine *machine, const char *name, const MachineOps *ops, void *arg)
{
    *machine = (Machine){.ops = ops, .arg = arg, .name = name, .since = clock_moment()};
}

static const Rule *machine_find(const Machine *machine, Input input)
{
    for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]); i++) {
        const Rule *rule = &RULES[i];
        if ((rule->from >> machine->state & 1) != 0 && (rule->inputs >> input & 1) != 0 &&
            (rule->guard == GUARD_ALWAYS || machine->ops->guard(machine->arg, rule->guard))) {
            return rule;
        }
    }
    return NULL;
}

/* The table is wrong, or a source or sink broke its promise. Tests end here. A relay in production
 * says so and stays as it is: to end it would repeat events and, since the same happens again, help
 * nobody. */
static void machine_refuse(Machine *machine, Input input)
{
    if (log_limit_take(&machine->refused, clock_monotonic_us())) {
        log_write(LOG_ERROR, machine->name, CODE_PIPELINE_STATE,
                  LOG_FIELDS(log_text("from", machine_state_name(machine->state)),
                             log_text("input", machine_input_name(input))),
                  "this input is not expected in this state; it is ignored");
    }
#ifdef OUTBOXD_FAILPOINTS
    assert(0 && "an input that is impossible in this state");
#endif
}

void machine_sum_up(Machine *machine, int64_t now_us, bool at_once)
{
    int64_t refused = log_limit_due(&machine->refused, now_us, at_once);
    if (refused > 0) {
        log_write(LOG_ERROR, machine->name, CODE_PIPELINE_STATE,
                  LOG_FIELDS(log_text("state", machine_state_name(machine->state)),
                             log_number("inputs", refused)),
                  "more inputs were not expected in their state; they were ignored");
    }
}

void machine_input(Machine *machine, Input input)
{
    const Rule *rule = machine_find(machine, input);
    if (rule == NULL || rule->kind == RULE_IMPOSSIBLE) {
        machine_refuse(machine, input);
        return;
    }
    if (rule->kind != RULE_STEP) {
        return;
    }
    MachineState before = machine->state;
    MachineState state = rule->to != STAY ? rule->to : before;
    bool shows = machine_shown(state) != machine_shown(before);
    machine->state = state;
    if (shows) {
        machine->since = clock_moment();
    }
    if (state != before) {
        log_write(LOG_DEBUG, machine->name, CODE_PIPELINE_STATE,
                  LOG_FIELDS(log_text("from", machine_state_name(before)),
                             log_text("to", machine_state_name(state)),
                             log_text("input", machine_input_name(input))),
                  "%s", rule->why);
    }
    machine->ops->act(machine->arg, rule->action);
    if (shows) {
        machine->ops->changed(machine->arg);
    }
}

void machine_brake(Machine *machine, Brake brake, bool on)
{
    machine->brakes = on ? machine->brakes | brake : machine->brakes & ~(unsigned)brake;
}

static bool machine_is_in(const Machine *machine, unsigned states)
{
    return (states >> machine->state & 1) != 0;
}

bool machine_waits(const Machine *machine)
{
    return machine_is_in(machine, SETTLING | ENDING | DRAINING);
}

bool machine_waits_for_sink(const Machine *machine)
{
    return machine_is_in(machine,
                         SETTLING_OURS | S(SETTLING_LOCKED) | S(ENDING_OURS) | S(ENDING_LOCKED));
}

bool machine_is_ending(const Machine *machine)
{
    return machine_is_in(machine, ENDING | DRAINING | OVER);
}

bool machine_is_over(const Machine *machine)
{
    return machine_is_in(machine, OVER);
}
