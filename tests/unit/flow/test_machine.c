/* The table of the machine, walked completely. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "flow/machine.h"

/* What each input does in each state, once more and without the table's shorthand: S something is
 * done, k it may come and changes nothing, - its sender promises not to. In the order of the enums.
 */
// clang-format off
static const char *const EXPECTED[MACHINE_STATE_COUNT] = {
    /* locked active standby trouble healed resend reread lost failed settled time-up drained stop fatal */
    [MACHINE_STARTING] = "SSSkkk-SS---SS",
    [MACHINE_STANDBY] = "SSkkkk-SS---SS",
    [MACHINE_RUNNING] = "-k-SkSSSS---SS",
    [MACHINE_STALLED] = "-k-kSSSSS---SS",
    [MACHINE_SETTLING_TO_RESEND] = "-k-kkS-SSSS-SS",
    [MACHINE_SETTLING_TO_REREAD] = "-k-kkS-SSSS-SS",
    [MACHINE_SETTLING_UNLOCKED] = "S-SkkS-SSSS-SS",
    [MACHINE_SETTLING_HELD] = "S-SkkS-SSSk-SS",
    [MACHINE_SETTLING_LOCKED] = "--SkkS-SSSS-SS",
    [MACHINE_SETTLING_TAKEN] = "S-kkkS-SSSS-SS",
    [MACHINE_ENDING_OURS] = "-k-kkS-SSSS-kk",
    [MACHINE_ENDING_UNLOCKED] = "S-SkkS-SSSS-kk",
    [MACHINE_ENDING_HELD] = "S-SkkS-SSSk-kk",
    [MACHINE_ENDING_LOCKED] = "--SkkS-SSSS-kk",
    [MACHINE_ENDING_TAKEN] = "S-kkkS-SSSS-kk",
    [MACHINE_ENDING_ALONE] = "---kkS---SS-kk",
    [MACHINE_DRAINING_SINK] = "-k-kkS-SSSk-kk",
    [MACHINE_DRAINING_SOURCE] = "SkkkkS-SSSkSkk",
    [MACHINE_STOPPED] = "kkkkkkkkkkkkkk",
    [MACHINE_FAILED] = "kkkkkkkkkkkkkk",
};
// clang-format on

static const Rule *rules;
static size_t rule_count;

static struct {
    Guard holds; /* the only guard that does */
    size_t acts;
    Action acted;
    size_t changes;
} seen;

static bool on_guard(const void *arg, Guard guard)
{
    (void)arg;
    cr_assert_neq(guard, GUARD_ALWAYS, "nobody has to ask");
    return guard == seen.holds;
}

static void on_act(void *arg, Action action)
{
    (void)arg;
    seen.acts++;
    seen.acted = action;
}

static void on_changed(void *arg)
{
    (void)arg;
    seen.changes++;
}

static const MachineOps OPS = {.guard = on_guard, .act = on_act, .changed = on_changed};

static void given_table(void)
{
    rules = machine_rules(&rule_count);
    memset(&seen, 0, sizeof(seen));
}

TestSuite(machine, .init = given_table);

static bool applies(const Rule *rule, MachineState state, Input input)
{
    return (rule->from >> state & 1) != 0 && (rule->inputs >> input & 1) != 0;
}

#define EACH_PAIR(state, input)                                                                    \
    for (MachineState state = 0; state < MACHINE_STATE_COUNT; state++)                             \
        for (Input input = 0; input < INPUT_COUNT; input++)

Test(machine, every_state_answers_every_input_once_and_on_purpose)
{
    static const char KINDS[] = {[RULE_STEP] = 'S', [RULE_KEPT] = 'k', [RULE_IMPOSSIBLE] = '-'};
    EACH_PAIR(state, input)
    {
        size_t last = 0;
        for (size_t i = 0; i < rule_count; i++) {
            if (!applies(&rules[i], state, input)) {
                continue;
            }
            cr_assert_eq(last, 0, "'%s' in '%s' has rules behind the one that always holds",
                         machine_input_name(input), machine_state_name(state));
            cr_assert_str_not_empty(rules[i].why);
            cr_assert_eq(KINDS[rules[i].kind], EXPECTED[state][input], "'%s' in '%s'",
                         machine_input_name(input), machine_state_name(state));
            last += rules[i].guard == GUARD_ALWAYS;
        }
        cr_assert_eq(last, 1, "'%s' in '%s' is not thought of", machine_input_name(input),
                     machine_state_name(state));
    }
}

Test(machine, no_rule_guard_or_action_is_dead)
{
    bool guards[GUARD_COUNT] = {false};
    bool actions[ACTION_COUNT] = {false};
    for (size_t i = 0; i < rule_count; i++) {
        cr_assert_neq(rules[i].from, 0);
        cr_assert_neq(rules[i].inputs, 0);
        guards[rules[i].guard] = actions[rules[i].action] = true;
        bool stays = rules[i].to == MACHINE_STATE_COUNT;
        cr_assert(stays || rules[i].kind == RULE_STEP);
    }
    for (Guard guard = 0; guard < GUARD_COUNT; guard++) {
        cr_expect(guards[guard], "guard %d is asked by nobody", guard);
    }
    for (Action action = 0; action < ACTION_COUNT; action++) {
        cr_expect(actions[action], "action %d is done by nobody", action);
    }
}

/* The states that one step leads to. */
static uint32_t next_states(MachineState state)
{
    uint32_t next = 0;
    for (size_t i = 0; i < rule_count; i++) {
        if ((rules[i].from >> state & 1) != 0 && rules[i].to != MACHINE_STATE_COUNT) {
            next |= UINT32_C(1) << rules[i].to;
        }
    }
    return next;
}

static uint32_t reached_from(MachineState state)
{
    uint32_t reached = UINT32_C(1) << state;
    for (uint32_t before = 0; before != reached;) {
        before = reached;
        for (MachineState at = 0; at < MACHINE_STATE_COUNT; at++) {
            reached |= (reached >> at & 1) != 0 ? next_states(at) : 0;
        }
    }
    return reached;
}

Test(machine, every_state_is_reached_and_comes_to_an_end)
{
    const uint32_t over = UINT32_C(1) << MACHINE_STOPPED | UINT32_C(1) << MACHINE_FAILED;
    cr_assert_eq(reached_from(MACHINE_STARTING), (UINT32_C(1) << MACHINE_STATE_COUNT) - 1);
    for (MachineState state = 0; state < MACHINE_STATE_COUNT; state++) {
        if ((over >> state & 1) != 0) {
            cr_assert_eq(next_states(state), 0, "what is over stays so");
            continue;
        }
        cr_assert_neq(next_states(state) & ~(UINT32_C(1) << state), 0, "'%s' is never left",
                      machine_state_name(state));
        cr_assert_eq(reached_from(state) & over, over, "'%s' cannot stop, or cannot fail",
                     machine_state_name(state));
    }
}

/* Nothing but `ended` follows, so what waits must be left by a report or a lost source. */
Test(machine, every_state_that_waits_is_left_when_all_reports_are_in)
{
    for (MachineState state = 0; state < MACHINE_STATE_COUNT; state++) {
        Machine machine;
        machine_init(&machine, "orders", &OPS, NULL);
        machine.state = state;
        if (!machine_waits(&machine)) {
            continue;
        }
        machine_input(&machine, INPUT_SETTLED);
        cr_assert(machine.state != state || state == MACHINE_DRAINING_SOURCE);
        cr_assert_eq(seen.acts, 1);
        seen.acts = 0;
    }
}

Test(machine, each_rule_leads_where_it_says)
{
    EACH_PAIR(state, input)
    {
        for (size_t i = 0; i < rule_count; i++) {
            const Rule *rule = &rules[i];
            if (!applies(rule, state, input) || rule->kind == RULE_IMPOSSIBLE) {
                continue;
            }
            Machine machine;
            machine_init(&machine, "orders", &OPS, NULL);
            machine.state = state;
            memset(&seen, 0, sizeof(seen));
            seen.holds = rule->guard;
            machine_input(&machine, input);
            MachineState to = rule->to == MACHINE_STATE_COUNT ? state : rule->to;
            cr_assert_eq(machine.state, to, "'%s' in '%s' led to '%s'", machine_input_name(input),
                         machine_state_name(state), machine_state_name(machine.state));
            cr_assert_eq(seen.acts, rule->kind == RULE_STEP);
            cr_assert_eq(seen.acted, rule->action);
            cr_assert_eq(seen.changes, machine_shown(state) != machine_shown(to));
        }
    }
}

Test(machine, what_cannot_be_is_an_assertion, .signal = SIGABRT)
{
    Machine machine;
    machine_init(&machine, "orders", &OPS, NULL);
    machine.state = MACHINE_RUNNING;
    machine_input(&machine, INPUT_LOCKED);
}

Test(machine, people_are_shown_the_states_that_they_know)
{
    static const MachineState REWINDING[] = {
        MACHINE_SETTLING_TO_RESEND, MACHINE_SETTLING_TO_REREAD, MACHINE_SETTLING_UNLOCKED,
        MACHINE_SETTLING_HELD,      MACHINE_SETTLING_LOCKED,    MACHINE_SETTLING_TAKEN,
        MACHINE_ENDING_OURS,        MACHINE_ENDING_UNLOCKED,    MACHINE_ENDING_HELD,
        MACHINE_ENDING_LOCKED,      MACHINE_ENDING_TAKEN,       MACHINE_ENDING_ALONE,
    };
    size_t rewinding = 0;
    uint32_t shown = 0;
    for (MachineState state = 0; state < MACHINE_STATE_COUNT; state++) {
        shown |= UINT32_C(1) << machine_shown(state);
        rewinding += machine_shown(state) == PIPELINE_REWINDING;
    }
    for (size_t i = 0; i < sizeof(REWINDING) / sizeof(REWINDING[0]); i++) {
        cr_assert_eq(machine_shown(REWINDING[i]), PIPELINE_REWINDING);
    }
    cr_assert_eq(rewinding, sizeof(REWINDING) / sizeof(REWINDING[0]));
    cr_assert_eq(shown | UINT32_C(1) << PIPELINE_PAUSED, (UINT32_C(1) << PIPELINE_STATE_COUNT) - 1);
}

Test(machine, it_works_only_while_no_brake_is_on)
{
    Machine machine;
    machine_init(&machine, "orders", &OPS, NULL);
    cr_assert_not(machine_works(&machine), "it does not publish yet");
    machine.state = MACHINE_STALLED;
    cr_assert(machine_works(&machine));
    static const Brake BRAKES[] = {BRAKE_PAUSED, BRAKE_UNKNOWN, BRAKE_BROKEN, BRAKE_REJECTED};
    for (size_t i = 0; i < sizeof(BRAKES) / sizeof(BRAKES[0]); i++) {
        machine_brake(&machine, BRAKES[i], true);
        cr_assert_not(machine_works(&machine));
        machine_brake(&machine, BRAKE_PAUSED, true);
        machine_brake(&machine, BRAKES[i], false);
        cr_assert_eq(machine_works(&machine), BRAKES[i] == BRAKE_PAUSED);
        machine_brake(&machine, BRAKE_PAUSED, false);
    }
    cr_assert(machine_works(&machine));
}
