/* command: what a sub-command is, as one table: the ways to call it, its flags, which of them go
 * together, its exit codes. Parsing, usage, `outboxd help` and COMMANDS.md come from it.
 *
 * A flag is one entry in the table of its command and one member of the struct that the command
 * reads; the type of the member is checked by the compiler. Every command takes --help (-h), which
 * stands in no table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

typedef enum FlagKind {
    FLAG_KIND_SWITCH,  /* bool: true when it is given */
    FLAG_KIND_TEXT,    /* const char *: argv's own */
    FLAG_KIND_COUNT,   /* int64_t: from least to most */
    FLAG_KIND_SECONDS, /* double: 0.1 to 3600; the value is optional, and 1 without */
    FLAG_KIND_CHOICE,  /* int: index in choices, of which the first is the default */
    FLAG_KIND_LIST,    /* StringList: one more each time */
} FlagKind;

typedef struct Flag {
    const char *name; /* without the dashes; NULL ends a table */
    char letter;      /* of its short form; 0: none */
    FlagKind kind;
    size_t offset;              /* of its member */
    const char *value;          /* what stands for its value in texts, such as "FILE" */
    const char *noun;           /* COUNT: what it is no valid one of; NULL: "number" */
    int64_t least;              /* COUNT */
    int64_t most;               /* COUNT; 0: INT64_MAX */
    const size_t *most_of;      /* COUNT: where most stands, or NULL */
    const char *const *choices; /* CHOICE: ends with NULL */
    const char *(*valid)(const char *value); /* TEXT, LIST: what it takes instead of value; NULL:
                                                it is good. Or NULL: all are */
    unsigned forms;    /* COMMAND_FORM bits of the forms that take it; 0: all */
    unsigned unsaid;   /* of which these do not show it in their usage: it changes nothing there */
    int group;         /* flags of one group exclude each other; 0: of none */
    const char *needs; /* a flag without which it has no meaning, or NULL */
    const char *why;   /* of needs, for people, or NULL */
    const char *help;
} Flag;

#define FLAG_INTO(options, member, type)                                                           \
    (offsetof(options, member) +                                                                   \
     0 * sizeof(                                                                                   \
             char[__builtin_types_compatible_p(__typeof__(((options *)0)->member), type) ? 1       \
                                                                                         : -1]))
#define FLAG_SWITCH(o, member)  .kind = FLAG_KIND_SWITCH, .offset = FLAG_INTO(o, member, bool)
#define FLAG_TEXT(o, member)    .kind = FLAG_KIND_TEXT, .offset = FLAG_INTO(o, member, const char *)
#define FLAG_COUNT(o, member)   .kind = FLAG_KIND_COUNT, .offset = FLAG_INTO(o, member, int64_t)
#define FLAG_SECONDS(o, member) .kind = FLAG_KIND_SECONDS, .offset = FLAG_INTO(o, member, double)
#define FLAG_CHOICE(o, member)  .kind = FLAG_KIND_CHOICE, .offset = FLAG_INTO(o, member, int)
#define FLAG_LIST(o, member)    .kind = FLAG_KIND_LIST, .offset = FLAG_INTO(o, member, StringList)

/* Flags that several commands share; each reads them into a ConfigOverrides. */
#define FLAG_CONFIG(o, member)                                                                     \
    .name = "config", .letter = 'c', .value = "FILE", FLAG_TEXT(o, member.file),                   \
    .help = "configuration file (default " CONFIG_DEFAULT_FILE ", if it exists)"
#define FLAG_DSN(o, member)                                                                        \
    .name = "dsn", .value = "DSN", FLAG_TEXT(o, member.dsn),                                       \
    .help = "connection string or URI of the database; overrides file and environment"
#define FLAG_BROKERS(o, member)                                                                    \
    .name = "brokers", .value = "LIST", FLAG_TEXT(o, member.brokers),                              \
    .help = "Kafka brokers as host:port, separated by commas; overrides file and environment"

/* One way to call a command: by a verb, by a flag, or (neither) the plain one. */
typedef struct CommandForm {
    const char *verb;     /* the first argument, or NULL */
    const char *flag;     /* the flag that asks for it, or NULL */
    const char *argument; /* "ID"; NULL: it takes no arguments */
    const char *plural;   /* "ids" */
    size_t least;         /* so many arguments, unless or_flag stands for them */
    size_t most;
    const char *or_flag; /* a flag that stands for the arguments, or NULL */
    const char *help;    /* what it does; NULL: the command says it */
} CommandForm;

/* Items of a table. */
#define COMMAND_COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

#define COMMAND_FORM(index)     (1U << (index))

/* Two flags that exclude each other for a reason of their own. */
typedef struct FlagRule {
    const char *first; /* NULL ends a table */
    const char *second;
    const char *text; /* the whole error */
} FlagRule;

typedef struct CommandExit {
    int code;
    const char *meaning; /* NULL ends a table */
} CommandExit;

struct CommandLine;

typedef struct Command {
    const char *name;
    const char *summary; /* one line for `outboxd help` */
    const char *about;   /* paragraphs, a blank line between them */
    const char *notes;   /* likewise, at the end; or NULL */
    const CommandForm *forms;
    size_t form_count;
    const Flag *flags;        /* or NULL */
    const FlagRule *rules;    /* or NULL */
    const CommandExit *exits; /* or NULL */
    const char *stray;        /* what a stray argument may have meant, or NULL */
    size_t options_size;      /* of the struct that the flags are read into */
    const void *defaults;     /* of that struct; NULL: zero bytes */
    int (*run)(struct CommandLine *line);
} Command;

/* A command line that was read. Texts and words are argv's own; lists belong to it. */
typedef struct CommandLine {
    const Command *command;
    const CommandForm *form;
    void *options; /* the command's struct */
    char **words;  /* arguments after the verb */
    size_t word_count;
    uint64_t given; /* bit i: flags[i]; a choice of the default is not given */
    bool help;      /* --help: nothing else was looked at */
    char *unknown;  /* name of a flag that it does not have and that is like none; or NULL */
} CommandLine;

void command_line_free(CommandLine *line);

/** Whether the flag of that name, which the command has, was given. */
bool command_line_has(const CommandLine *line, const char *name);
