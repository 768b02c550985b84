/* machine: what a pipeline is doing, what it waits for, and what each input does then.
 *
 * The table in machine.c is the whole truth about that: every state and every input, with guard,
 * target, action and reason. Guards and actions are names here; the pipeline gives them meaning
 * (MachineOps), so that a test can walk the table without one, and tests/support/machine.py can
 * draw it. What a rewind waits for, and what follows it, is a state and nothing else: which lock
 * the source has, whether the sink is held, whether the pipeline ends afterwards.
 *
 * What people are shown (PipelineState) is coarser; machine_shown() is the one place that says how.
 * Owns nothing. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/log_limit.h"
#include "flow/pipeline.h"

typedef enum MachineState {
    MACHINE_STARTING,
    MACHINE_STANDBY,
    MACHINE_RUNNING,
    MACHINE_STALLED,
    /* The lock is ours, and stays ours: what the sink holds settles, then it goes on. */
    MACHINE_SETTLING_TO_RESEND,
    MACHINE_SETTLING_TO_REREAD,
    /* The source was lost and connects again while what the sink holds settles. */
    MACHINE_SETTLING_UNLOCKED, /* whose the lock is is not known; within the lease, or purged */
    MACHINE_SETTLING_HELD,     /* the lease is over: nothing leaves the sink */
    MACHINE_SETTLING_LOCKED,   /* the lock is ours again */
    MACHINE_SETTLING_TAKEN,    /* another relay publishes */
    /* The same, and it ends then: the lock is still ours, or as above, or no source is left. */
    MACHINE_ENDING_OURS,
    MACHINE_ENDING_UNLOCKED,
    MACHINE_ENDING_HELD,
    MACHINE_ENDING_LOCKED,
    MACHINE_ENDING_TAKEN,
    MACHINE_ENDING_ALONE, /* the source is lost, and is not started again */
    MACHINE_DRAINING_SINK,
    MACHINE_DRAINING_SOURCE, /* it marks what is left, closes, and says so */
    MACHINE_STOPPED,
    MACHINE_FAILED,
    MACHINE_STATE_COUNT
} MachineState;

typedef enum Input {
    INPUT_LOCKED,        /* the source holds the lock and waits for resume() */
    INPUT_ACTIVE,        /* the source became the publisher */
    INPUT_STANDBY,       /* somebody else is */
    INPUT_TROUBLE,       /* the sink cannot go on for now */
    INPUT_HEALED,        /* it can again */
    INPUT_RESEND,        /* events came back from the sink: send them again, in order */
    INPUT_REREAD,        /* events that were parked may go on */
    INPUT_SOURCE_LOST,   /* connections to PostgreSQL are gone */
    INPUT_SOURCE_FAILED, /* and a human must act before they can be made again */
    INPUT_SETTLED,       /* the sink holds nothing any more */
    INPUT_TIME_UP,       /* the bound of waiting for that is over: the lease, or a while */
    INPUT_DRAINED,       /* the source marked everything and closed */
    INPUT_STOP,          /* drain */
    INPUT_FATAL,         /* a human must act, and the source is fine */
    INPUT_COUNT
} Input;

typedef enum Guard {
    GUARD_ALWAYS,     /* the last rule of a state and an input */
    GUARD_UNTROUBLED, /* nothing is wrong */
    GUARD_WELL,       /* nothing is wrong, or nothing is open whose report could say so */
    GUARD_FATAL,      /* what is wrong ends the pipeline */
    GUARD_UNMARKED,   /* rows are, or may be, published and are not marked */
    GUARD_PURGED,     /* what the sink held is being taken back */
    GUARD_SINK_HOLDS, /* the sink can be held: it is not purged, and knows how */
    GUARD_LEASE_OVER, /* the same, and the lease was over when the source was lost */
    GUARD_OTHERS,     /* the history proves that somebody else published, or is another */
    GUARD_UNPROVEN,   /* the history does not prove that nobody else published */
    GUARD_COUNT
} Guard;

typedef enum Action {
    ACTION_NOTHING,
    ACTION_RESUME,       /* the source reads on */
    ACTION_ACTIVATE,     /* the outbox is ours */
    ACTION_STAND_BY,     /* nothing is held for anybody */
    ACTION_RECOVER,      /* what was wrong is over */
    ACTION_STOP_SENDING, /* what was not sent stays unpublished */
    ACTION_DRAIN,        /* the source marks what it still knows */
    ACTION_LOOK,         /* whether it has settled already */
    /* Settling begins. */
    ACTION_RESEND,        /* the sink is purged: nothing may overtake what failed */
    ACTION_REREAD,        /* nothing is wrong with what the sink holds */
    ACTION_FAIL,          /* the sink is purged, and it ends */
    ACTION_LOSE_SOURCE,   /* what the sink holds may leave within the lease */
    ACTION_LOSE_AND_HOLD, /* the lease is over */
    /* The source connects again. */
    ACTION_RESTART,
    ACTION_RESTART_LEASED, /* the lock was ours: its lease begins to end */
    ACTION_RESTART_AGAIN,  /* it was not: the end of the lease stays where it is */
    ACTION_RESTART_HELD,   /* the lease is over */
    /* The source will not come back. */
    ACTION_BOUND_LEASE, /* the lock was ours: its lease begins to end */
    ACTION_KEEP_LEASE,  /* it was not: the end of the lease stays where it is */
    /* The sink, while it settles. */
    ACTION_PURGE, /* what has not left yet comes back */
    ACTION_HOLD,  /* nothing leaves, nothing is given up */
    ACTION_LOOK_AT_SINK,
    /* The lock is ours again: only what the sink holds is waited for. */
    ACTION_WAIT_LOCKED,
    ACTION_LET_GO,    /* and what was held goes on */
    ACTION_TAKE_BACK, /* and what was not sent yet comes back */
    /* Everything has settled. */
    ACTION_GO_ON,               /* what is not published is sent from memory */
    ACTION_GO_ON_SLOWLY,        /* the same, after a back-off */
    ACTION_READ_AGAIN,          /* the source reads from the beginning */
    ACTION_RETURN,              /* every batch goes back to the source */
    ACTION_RETURN_RESUME,       /* the same, and it reads on */
    ACTION_RETURN_STANDBY,      /* the same, and nothing is held for anybody */
    ACTION_RETURN_DRAIN,        /* the same, and the source marks what is settled */
    ACTION_RETURN_DRAIN_RESUME, /* the same, with the lock that waits */
    ACTION_RETURN_END,
    ACTION_RETURN_END_UNDONE, /* not everything that is published could be marked */
    ACTION_END,
    ACTION_END_UNDONE,
    ACTION_COUNT
} Action;

typedef enum RuleKind {
    RULE_STEP,       /* something is done */
    RULE_KEPT,       /* it may come, and changes nothing, on purpose */
    RULE_IMPOSSIBLE, /* who could send it promises not to */
} RuleKind;

/* Of the rules of a state and an input the first counts whose guard holds. */
typedef struct Rule {
    uint32_t from;   /* set of states: 1 << state */
    uint32_t inputs; /* set of inputs */
    RuleKind kind;
    Guard guard;
    MachineState to; /* MACHINE_STATE_COUNT: it stays */
    Action action;
    const char *why;
} Rule;

/* Why nothing is read or sent although it is RUNNING or STALLED: a set. */
typedef enum Brake {
    BRAKE_PAUSED = 1,   /* by a human */
    BRAKE_UNKNOWN = 2,  /* whether it is paused is not known yet */
    BRAKE_BROKEN = 4,   /* a precondition does not hold */
    BRAKE_REJECTED = 8, /* the server refuses marks for what a row is */
} Brake;

typedef struct MachineOps {
    bool (*guard)(const void *arg, Guard guard);
    void (*act)(void *arg, Action action);
    /* The shown state is another one. */
    void (*changed)(void *arg);
} MachineOps;

typedef struct Machine {
    const MachineOps *ops;
    void *arg;
    const char *name; /* of the pipeline, for the log */
    MachineState state;
    Moment since; /* of what is shown */
    unsigned brakes;
    Moment paused_since; /* since when this process knows */
    bool begun;          /* it published, or stood by */
    bool stop_asked;
    bool ended_reported;
    LogLimit refused; /* lines about impossible inputs */
} Machine;

void machine_init(Machine *machine, const char *name, const MachineOps *ops, void *arg);

/** Finds the rule, enters its state, acts, and tells when another state is shown. Actions may lead
 * to further inputs. */
void machine_input(Machine *machine, Input input);

/** How people are told of it. */
PipelineState machine_shown(MachineState state);

/** The state's own name, for logs at debug level and pictures. */
const char *machine_state_name(MachineState state);
const char *machine_input_name(Input input);

/** Logs how many such lines were held back, when it is time to (or at_once). */
void machine_sum_up(Machine *machine, int64_t now_us, bool at_once);

void machine_brake(Machine *machine, Brake brake, bool on);

/** RUNNING or STALLED: what comes from the source may be sent. */
static inline bool machine_goes(const Machine *machine)
{
    return machine->state == MACHINE_RUNNING || machine->state == MACHINE_STALLED;
}

/** It goes, and nobody keeps it from working. */
static inline bool machine_works(const Machine *machine)
{
    return machine_goes(machine) && machine->brakes == 0;
}

/** What the sink holds is waited for, or what came too late to be sent. */
bool machine_waits(const Machine *machine);

/** It waits for the sink, and the lock is ours: only the destination can be the reason. */
bool machine_waits_for_sink(const Machine *machine);

/** It ends, or has ended. */
bool machine_is_ending(const Machine *machine);

/** STOPPED or FAILED. */
bool machine_is_over(const Machine *machine);

/** The rules of the table: for tests. */
const Rule *machine_rules(size_t *ret_count);
