/* outboxd dead list|show|requeue|discard
 *
 * Works on the dead-letter table itself; a relay need not run. Each requeue and each discard is one
 * transaction that locks its row: of two people who do the same, the second is told so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/memory.h"
#include "command/command_help.h"
#include "command/overrides.h"
#include "command/screen.h"
#include "config/config.h"
#include "dead/dead_print.h"
#include "dead/dead_store.h"
#include "pg/result.h"

enum { LIMIT_DEFAULT = 50, NAMED_MAX = 20 };

typedef struct DeadOptions {
    ConfigOverrides overrides;
    DeadFilter filter;
    int64_t limit;
    bool all;
    bool yes;
    bool json;
    char **ids;
    int id_count;
} DeadOptions;

/* A positive bigint in digits. */
static bool id_valid(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length <= 18 && strspn(text, "0123456789") == length;
}

static int dead_check_ids(const CommandLine *line, const DeadOptions *options, bool show)
{
    if (options->filter.code != NULL && options->id_count > 0) {
        return command_refuse(line->command, "--code applies to list and --all, not to ids");
    }
    for (int i = 0; i < options->id_count; i++) { /* show takes the id of an event, too */
        bool numeric = strspn(options->ids[i], "0123456789") == strlen(options->ids[i]);
        if (!id_valid(options->ids[i]) && (!show || numeric)) {
            AUTO_BUFFER id = TEXT_EMPTY;
            text_add_shown(&id, options->ids[i], false);
            return command_refuse(line->command,
                                  "an id is a number, as outboxd dead list shows it, not '%s'",
                                  text_string(&id));
        }
    }
    return EXIT_OK;
}

static void dead_complain(const char *id, const Error *err)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, "outboxd dead: ");
    if (id != NULL) {
        text_printf(&text, "%s: ", id);
    }
    screen_add(&text, false, COLOUR_NONE, error_message(err));
    if (error_own_hint(err)[0] != '\0') {
        text_add(&text, "\n  remedy  ");
        screen_add(&text, false, COLOUR_NONE, error_own_hint(err));
    }
    text_add_char(&text, '\n');
    (void)fputs(text_string(&text), stderr);
}

static int dead_fail(const char *id, const Error *err)
{
    dead_complain(id, err);
    return err->exit_code == EXIT_CONFIG ? EXIT_CONFIG : EXIT_POSTGRES;
}

static int dead_gone(const char *id, bool once_there)
{
    (void)fprintf(stderr, "outboxd dead: %s: no such dead letter%s\n", id,
                  once_there ? " any more" : "");
    return EXIT_CONFIG;
}

static int worse(int a, int b)
{
    return a > b ? a : b;
}

static int dead_list(const DeadStore *store, const DeadOptions *options)
{
    AUTO_ERROR err = {0};
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO(PGresult, pg_session_free_result) rows = NULL;
    int64_t total = 0;
    if (dead_store_list(store, &options->filter, options->limit, &rows, &total, &err) != OK) {
        return dead_fail(NULL, &err);
    }
    if (options->json) {
        dead_print_list_json(rows, total, &out);
    } else {
        dead_print_list(rows, total, screen_wants_colour(stdout), isatty(STDOUT_FILENO) != 1, &out);
    }
    return screen_write("outboxd dead", &out, EXIT_OK, NULL);
}

static int dead_show(const DeadStore *store, const DeadOptions *options)
{
    int code = EXIT_OK;
    AUTO_BUFFER out = TEXT_EMPTY;
    for (int i = 0; i < options->id_count; i++) {
        AUTO_ERROR err = {0};
        AUTO(PGresult, pg_session_free_result) row = NULL;
        if (dead_store_find(store, options->ids[i], false, &row, &err) != OK) {
            return dead_fail(options->ids[i], &err);
        }
        if (PQntuples(row) == 0) {
            code = worse(code, dead_gone(options->ids[i], false));
        } else if (options->json) {
            dead_print_row_json(row, &out);
        } else {
            text_add(&out, out.length > 0 ? "\n" : "");
            dead_print_row(row, screen_wants_colour(stdout), &out);
        }
    }
    return screen_write("outboxd dead", &out, code, NULL);
}

/* What happened to one, at once: a run over many may be interrupted. */
static void dead_tell(const DeadOptions *options, const char *verb, const char *more,
                      const PGresult *row)
{
    AUTO_BUFFER line = TEXT_EMPTY;
    if (options->json) {
        dead_print_brief_json(row, 0, &line);
        line.length--; /* the closing brace */
        text_printf(&line, ",\"outcome\":\"%s\"}", verb);
    } else {
        text_printf(&line, "%s ", verb);
        dead_print_name(row, 0, &line);
        text_add(&line, more);
    }
    (void)puts(text_string(&line));
    (void)fflush(stdout);
}

/* One id; *ret_stop: nothing further can succeed. */
static int dead_requeue(DeadStore *store, const DeadOptions *options, const char *id,
                        bool *ret_stop)
{
    AUTO_ERROR err = {0};
    AUTO(PGresult, pg_session_free_result) row = NULL;
    DeadOutcome outcome = DEAD_GONE;
    if (dead_store_requeue(store, id, &outcome, &row, &err) != OK) {
        *ret_stop = true;
        return dead_fail(id, &err);
    }
    switch (outcome) {
    case DEAD_REQUEUED:
        dead_tell(options, "requeued", "", row);
        return EXIT_OK;
    case DEAD_ASKED:
        dead_tell(options, "requeued", "; the relay reads its row again", row);
        return EXIT_OK;
    case DEAD_REPLACED:
        dead_tell(options, "requeued", "; its old row was replaced", row);
        return EXIT_OK;
    case DEAD_REFUSED:
        return dead_fail(id, &err);
    case DEAD_GONE:
        break;
    }
    return dead_gone(id, true);
}

static int dead_discard(const DeadStore *store, const DeadOptions *options, const char *id,
                        bool *ret_stop)
{
    AUTO_ERROR err = {0};
    AUTO(PGresult, pg_session_free_result) row = NULL;
    if (dead_store_discard(store, id, &row, &err) != OK) {
        *ret_stop = true;
        return dead_fail(id, &err);
    }
    if (PQntuples(row) == 0) {
        return dead_gone(id, true);
    }
    dead_tell(options, "discarded", "", row);
    return EXIT_OK;
}

/* True: go on. Names what would go, as far as that is readable. */
static bool dead_confirm(const DeadStore *store, const DeadOptions *options, int count, char **ids,
                         int *ret_code)
{
    if (options->yes) {
        return true;
    }
    for (int i = 0; i < count && i < NAMED_MAX; i++) {
        AUTO_ERROR err = {0};
        AUTO(PGresult, pg_session_free_result) row = NULL;
        AUTO_BUFFER line = TEXT_EMPTY;
        if (dead_store_find(store, ids[i], false, &row, &err) != OK) {
            *ret_code = dead_fail(ids[i], &err);
            return false;
        }
        if (PQntuples(row) == 1) {
            dead_print_name(row, 0, &line);
            (void)fprintf(stderr, "  %s\n", text_string(&line));
        }
    }
    if (count > NAMED_MAX) {
        (void)fprintf(stderr, "  and %d more\n", count - NAMED_MAX);
    }
    (void)fprintf(stderr, "Delete %s permanently? No other copy of these events exists. [y/N] ",
                  count == 1 ? "this dead letter" : "these dead letters");
    if (isatty(STDIN_FILENO) != 1) {
        (void)fputs("\n"
                    "nothing was discarded: nobody can answer without a terminal; add --yes\n",
                    stderr);
        *ret_code = EXIT_CONFIG;
        return false;
    }
    char answer[16] = "";
    bool yes = fgets(answer, sizeof(answer), stdin) != NULL && (*answer == 'y' || *answer == 'Y');
    if (!yes) {
        (void)fputs("nothing was discarded\n", stderr);
        *ret_code = EXIT_CONFIG;
    }
    return yes;
}

static int dead_change(DeadStore *store, const DeadOptions *options, bool requeue, int count,
                       char **ids)
{
    int code = EXIT_OK;
    bool stop = false;
    if (!requeue && count > 0 && !dead_confirm(store, options, count, ids, &code)) {
        return code;
    }
    int done = 0;
    for (int i = 0; i < count && !stop; i++) {
        int one = requeue ? dead_requeue(store, options, ids[i], &stop)
                          : dead_discard(store, options, ids[i], &stop);
        done += one == EXIT_OK;
        code = worse(code, one);
    }
    if (requeue && done > 0) { /* that it was requeued is not yet that it was published */
        (void)fprintf(stderr,
                      "An event that still cannot be published becomes a new dead letter with a "
                      "new id: see outboxd dead list, or EVENT_SET_ASIDE in the relay's log.\n");
    }
    return code;
}

/* The ids of all that match now; what is set aside meanwhile is left alone. */
static int dead_change_all(DeadStore *store, const DeadOptions *options, bool requeue)
{
    AUTO_ERROR err = {0};
    AUTO(PGresult, pg_session_free_result) rows = NULL;
    int64_t total = 0;
    if (dead_store_list(store, &options->filter, 0, &rows, &total, &err) != OK) {
        return dead_fail(NULL, &err);
    }
    int count = PQntuples(rows);
    if (count == 0 && !options->json) {
        (void)puts("no dead letters");
    }
    char **ids = x_calloc((size_t)count + 1, sizeof(ids[0]));
    for (int i = 0; i < count; i++) {
        ids[i] = (char *)pg_value(rows, i, DEAD_ID); /* read alone */
    }
    int code = dead_change(store, options, requeue, count, ids);
    free((void *)ids);
    return code;
}

static int dead_run(const char *verb, const DeadOptions *options, const Config *config)
{
    AUTO_ERROR err = {0};
    DeadStore store;
    if (dead_store_open(config, options->filter.pipeline, &store, &err) != OK) {
        return dead_fail(NULL, &err);
    }
    int code = EXIT_OK;
    bool requeue = strcmp(verb, "requeue") == 0;
    if (strcmp(verb, "list") == 0) {
        code = dead_list(&store, options);
    } else if (strcmp(verb, "show") == 0) {
        code = dead_show(&store, options);
    } else if (options->all) {
        code = dead_change_all(&store, options, requeue);
    } else {
        code = dead_change(&store, options, requeue, options->id_count, options->ids);
    }
    dead_store_close(&store);
    return code;
}

enum { DEAD_LIST, DEAD_SHOW, DEAD_REQUEUE, DEAD_DISCARD, DEAD_FORMS };
static const CommandForm FORMS[DEAD_FORMS] = {
    [DEAD_LIST] = {.verb = "list",
                   .plural = "ids",
                   .help = "lists dead letters, newest first: when, what and why"},
    [DEAD_SHOW] =
        {.verb = "show",
         .argument = "ID",
         .plural = "ids",
         .least = 1,
         .most = SIZE_MAX,
         .help =
             "shows everything that is stored: the event, its record, the reason and the remedy. "
             "ID is the number that list shows, or the event id, as in the relay's log"},
    [DEAD_REQUEUE] =
        {.verb = "requeue",
         .argument = "ID",
         .plural = "ids",
         .least = 1,
         .most = SIZE_MAX,
         .or_flag = "all",
         .help = "publishes the events again through the outbox. Fix the cause first. In "
                 "one transaction, the command inserts the event as a new row of the "
                 "pipeline's table, with the same event id and every column as it was "
                 "stored, and deletes the dead letter. The event gets a new number, so it "
                 "is published after newer events of its key. If it fails again, it "
                 "becomes a new dead letter with a new id, and its attempts count from 1. "
                 "For a change of a table (capture = \"tables\"), the command asks the relay "
                 "to read the row of its key again. The relay publishes the row as it is "
                 "then, and deletes the dead letter"},
    [DEAD_DISCARD] = {.verb = "discard",
                      .argument = "ID",
                      .plural = "ids",
                      .least = 1,
                      .most = SIZE_MAX,
                      .or_flag = "all",
                      .help = "deletes the events permanently. It asks first"},
};

static int dead_command(CommandLine *line)
{
    DeadOptions *options = line->options;
    options->ids = line->words;
    options->id_count = (int)line->word_count;
    int code = dead_check_ids(line, options, line->form == &FORMS[DEAD_SHOW]);
    if (code != EXIT_OK) {
        return code;
    }
    overrides_without_brokers(&options->overrides);
    Config *config = NULL;
    if (overrides_load(&options->overrides, false, &config) != OK) {
        return EXIT_CONFIG;
    }
    code = dead_run(line->form->verb, options, config);
    config_free(&config);
    return code;
}

static const Flag FLAGS[] = {
    {FLAG_CONFIG(DeadOptions, overrides)},
    {FLAG_DSN(DeadOptions, overrides)},
    {.name = "pipeline",
     .value = "NAME",
     FLAG_TEXT(DeadOptions, filter.pipeline),
     .help = "only dead letters of this pipeline"},
    {.name = "code",
     .value = "CODE",
     FLAG_TEXT(DeadOptions, filter.code),
     .forms = COMMAND_FORM(DEAD_LIST) | COMMAND_FORM(DEAD_REQUEUE) | COMMAND_FORM(DEAD_DISCARD),
     .help = "only dead letters with this code, such as RECORD_TOO_LARGE"},
    {.name = "limit",
     .value = "N",
     FLAG_COUNT(DeadOptions, limit),
     .least = 1,
     .forms = COMMAND_FORM(DEAD_LIST),
     .help = "list at most N (default 50)"},
    {.name = "all",
     FLAG_SWITCH(DeadOptions, all),
     .forms = COMMAND_FORM(DEAD_REQUEUE) | COMMAND_FORM(DEAD_DISCARD),
     .help = "all dead letters that match, lowest id first"},
    {.name = "yes",
     FLAG_SWITCH(DeadOptions, yes),
     .unsaid = COMMAND_FORM(DEAD_LIST) | COMMAND_FORM(DEAD_SHOW) | COMMAND_FORM(DEAD_REQUEUE),
     .help = "do not ask before discarding"},
    {.name = "json", FLAG_SWITCH(DeadOptions, json), .help = "print JSON instead of text"},
    {0}};
static const CommandExit EXITS[] = {
    {EXIT_OK, "done"},
    {EXIT_CONFIG, "usage or configuration error, an id that does "
                  "not exist, or an event that cannot be requeued"},
    {EXIT_POSTGRES, "PostgreSQL cannot be reached, or refuses a statement"},
    {0}};
static const DeadOptions DEFAULTS = {.limit = LIMIT_DEFAULT};

const Command COMMAND_DEAD = {
    .name = "dead",
    .summary = "shows, requeues or discards dead letters",
    .about =
        "Dead letters are events that could not be published and were stored in outbox.dead_letter "
        "instead (on_poison, on_unrouted, on_missing_topic = \"dead_letter\").",
    .notes = "The role needs the privileges of outbox_relay.",
    .forms = FORMS,
    .form_count = DEAD_FORMS,
    .flags = FLAGS,
    .exits = EXITS,
    .options_size = sizeof(DeadOptions),
    .defaults = &DEFAULTS,
    .run = dead_command,
};
