/* load: one loading of the configuration, shared by the files that read it (internal to the room,
 * except loaded_* for `outboxd config print`). */
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "config/interpolate.h"
#include "config/options.h"
#include "config/source.h"

enum { TOPIC_LENGTH_MAX = 249 }; /* of Kafka */

/* Whose word an option's value is. */
typedef struct Origin {
    const void *base; /* the Config, PipelineConfig or RouteConfig */
    const Option *option;
    char *place; /* "outboxd.conf:14", "environment OUTBOXD_NAME", "command line" */
    char *raw;   /* the text as written, when references were replaced in it; else NULL */
} Origin;

/* A text that came out of a reference, and how it was written. */
typedef struct Replaced {
    char *value;
    char *raw;
} Replaced;

typedef VEC(Replaced) ReplacedList;

typedef struct Load {
    Config *config;
    Problems *problems;
    Source *source; /* empty without a file */
    Origin *origins;
    size_t origin_count;
    StringList property_places; /* of each item of kafka.properties */
    ReplacedList items;         /* of lists */
    ReplacedList references;    /* each by itself, but for those of secrets */
    StringList secret_files;    /* files that hold a secret, each once */
    bool in_secret;             /* what is being read is one */
    const Option *full;         /* the list that was said to be too long last */
    char *const *environment;
    char *directory; /* of the file, for ${file:} */
} Load;

/** As config_load with a given environment (NAME=value, ends with NULL), and keeps the origins.
 * Free with load_free in any case; load->config is NULL after a failure. */
Status load_run(Load *load, const ConfigOverrides *overrides, char *const *environment,
                Problems *problems);
/** Releases everything but the configuration, which the caller frees. */
void load_free(Load *load);

/** Where the option's value came from: the place, or NULL for a default. Borrowed. */
const char *load_origin(const Load *load, const void *base, const Option *option);

/** Where the first option that is set in base, a group of a list, stands; or NULL. */
const char *load_first_origin(const Load *load, const void *base);

/** The option's text as it was written, when it holds references that were replaced; else NULL.
 * What a reference stands for may be a secret wherever it stands, so it is shown like this. */
const char *load_raw(const Load *load, const void *base, const Option *option);
/** Likewise for an item of a list. */
const char *load_item_raw(const Load *load, const char *item);

/** Writes the references in place of what they stood for into the texts of all problems from that
 * index on. */
void load_hide_references(const Load *load, Problems *problems, size_t from);

/* --- internal to the room --- */

/** Sets the option of base to its default. */
void value_set_default(Load *load, const Option *option, void *base);

/** Sets the option from text, as the file's strings and the environment give it; references are
 * replaced. Problems name place. */
void value_set_text(Load *load, const Option *option, void *base, const char *text,
                    const char *place);
/** Sets a number, for OPTION_INT; checks the range. */
void value_set_int(Load *load, const Option *option, void *base, int64_t value, const char *place);
void value_set_bool(Load *load, const Option *option, void *base, bool value, const char *place);
/** Adds an item to a list of strings; the first one from a new place replaces the default. */
void value_add_item(Load *load, const Option *option, void *base, const char *text,
                    const char *place);
/** Notes where the option's value came from. */
void load_note(Load *load, const Option *option, const void *base, const char *place);

/** Reads load->source into load->config. */
void file_read(Load *load);

/** Applies OUTBOXD_* variables. has_file: there is a file, so that OUTBOXD_PIPELINE_* do not count.
 */
void environment_read(Load *load, bool has_file);

void replaced_add(ReplacedList *list, const char *value, const char *raw);
void replaced_free(ReplacedList *list);

/** Notes that the file of that place holds a secret; other places are no files. */
void load_note_secret(Load *load, const char *place);
/** How references are replaced. */
Interpolation load_interpolation(Load *load);

/** Reads the connection string, puts the password into it, and makes what is shown of it. */
void rules_check_database(Load *load);

/** Checks a command that prints a secret: its words. "": there is none. */
void rules_check_command(Load *load, const char *path, const char *command);
/** Checks kafka.oauth_command and the properties that it needs. */
void rules_check_oauth(Load *load);

/** Where option `path` of base was set, or else the place of the group or of the pipeline, or the
 * file; the caller frees it. */
char *rules_place(const Load *load, OptionScope scope, const char *path, const void *base);
/** Adds an error at that place; remedy may be NULL. */
void rules_problem(Load *load, OptionScope scope, const char *path, const void *base,
                   const char *remedy, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/** Checks address, objective and groups. */
void rules_check_monitor(Load *load);

/** Warns of a pattern that looks like a regular expression; what names its option. */
void rules_check_pattern(Load *load, const char *place, const char *what, const char *pattern);
/** Warns of patterns of the routes, and of routes that can never match. */
void rules_check_patterns(Load *load, const PipelineConfig *pipeline);
/** Checks that the table is named with its schema. */
void rules_check_table(Load *load, const PipelineConfig *pipeline);

/** Checks the templates of the pipeline and of its routes, and that some topic is named. */
void rules_check_routes(Load *load, const PipelineConfig *pipeline);
/** Without topic or key in the file: those of the envelope, by the names that the table has; of
 * tables, those that the records carry. */
void rules_complete_templates(Load *load, PipelineConfig *pipeline);
/** Whether these characters may stand in the name of a topic. */
bool rules_topic_letters(Slice text);

/** Checks that no option is set that the capture has no use for, and the name of the slot. */
void rules_check_capture(Load *load, const PipelineConfig *pipeline);
/** What follows from the capture: slot and publication; of tables, also the table of positions and
 * that no row is marked. */
void rules_complete_capture(Load *load, PipelineConfig *pipeline);

/** Checks prefix and mappings of a pipeline with capture = "tables". */
void rules_check_mappings(Load *load, const PipelineConfig *pipeline);

/** Checks what options say together. */
void rules_check(Load *load);

/** Appends the computed defaults (source). */
void rules_complete(Config *config);
