/* OUTBOXD_* variables. They beat the file. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"
#include "config/load.h"
#include "config/nearest.h"

static const char PREFIX[] = "OUTBOXD_";
static const char PROPERTY[] = "OUTBOXD_KAFKA_PROPERTY_";
static const char PIPELINE[] = "OUTBOXD_PIPELINE_";

static bool environment_has(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static char property_letter(char c)
{
    if (c == '_') {
        return '.';
    }
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* OUTBOXD_KAFKA_PROPERTY_SASL_PASSWORD=x becomes "sasl.password=x" and replaces that of the file.
 */
static void environment_property(Load *load, const char *name, const char *value)
{
    const Option *option = option_find(SCOPE_CONFIG, "kafka.properties");
    AUTO_TEXT key = x_strdup(name + strlen(PROPERTY));
    for (char *c = key; *c != '\0'; c++) {
        *c = property_letter(*c);
    }
    AUTO_TEXT item = x_format("%s=%s", key, value);
    StringList *list = &load->config->kafka.properties;
    size_t length = strlen(key);
    for (size_t i = 0; i < list->count; i++) {
        if (strncmp(list->items[i], key, length) == 0 && list->items[i][length] == '=') {
            string_list_remove(list, i);
            string_list_remove(&load->property_places, i);
            i--;
        }
    }
    value_add_item(load, option, load->config, item, name);
}

static void environment_unknown(Load *load, const char *name)
{
    size_t count;
    const Option *options = options_all(&count);
    Nearest nearest = nearest_begin(name);
    AUTO_TEXT meant = NULL;
    for (size_t i = 0; i < count; i++) {
        AUTO_BUFFER known = TEXT_EMPTY;
        if ((options[i].flags & OPTION_NOT_BUILT) == 0 && option_environment(&options[i], &known) &&
            nearest_offer(&nearest, known.data)) {
            free(meant);
            meant = x_strdup(known.data);
        }
    }
    problems_add(load->problems, true, name, NULL,
                 "this environment variable belongs to no option and is ignored%s%s%s",
                 meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
}

static const Option *environment_option(const char *name)
{
    size_t count;
    const Option *options = options_all(&count);
    for (size_t i = 0; i < count; i++) {
        AUTO_BUFFER known = TEXT_EMPTY;
        if (option_environment(&options[i], &known) && strcmp(known.data, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

/* What no variable can say, under the names that somebody would give it. */
typedef struct FileOnly {
    const char *prefix;
    const char *path;
    const char *remedy;
} FileOnly;

static const FileOnly FILE_ONLY[] = {
    {"OUTBOXD_PIPELINE_ROUTES", "routes",
     "write the pipeline and its routes into a configuration file; without routes, "
     "OUTBOXD_PIPELINE_TOPIC says where all events go"},
    {"OUTBOXD_PIPELINE_MAPPINGS", "mappings", "write the pipeline into a configuration file"},
    {"OUTBOXD_PIPELINES", "pipelines",
     "write a configuration file; OUTBOXD_PIPELINE_* are the options of the one pipeline of a "
     "start "
     "without a file"},
    {"OUTBOXD_KAFKA_PROPERTIES", "kafka.properties",
     "give each property a variable, such as OUTBOXD_KAFKA_PROPERTY_COMPRESSION_TYPE=lz4"},
};

static const FileOnly *environment_file_only(const char *name)
{
    for (size_t i = 0; i < sizeof(FILE_ONLY) / sizeof(FILE_ONLY[0]); i++) {
        size_t length = strlen(FILE_ONLY[i].prefix);
        if (environment_has(name, FILE_ONLY[i].prefix) &&
            (name[length] == '\0' || (name[length] == '_' && environment_has(name, PIPELINE)))) {
            return &FILE_ONLY[i];
        }
    }
    return NULL;
}

static void environment_apply(Load *load, const char *name, const char *value, bool has_file)
{
    const Option *option = environment_option(name);
    const FileOnly *file_only = environment_file_only(name);
    if (file_only != NULL) {
        bool ignored = has_file && environment_has(name, PIPELINE);
        problems_add(load->problems, ignored, name,
                     ignored ? "set the option in the file" : file_only->remedy,
                     "%s\"%s\" cannot be given by an environment variable",
                     ignored ? "ignored: " : "", file_only->path);
    } else if (environment_has(name, PROPERTY) && name[strlen(PROPERTY)] != '\0') {
        environment_property(load, name, value);
    } else if (option == NULL) {
        environment_unknown(load, name);
    } else if ((option->flags & OPTION_NOT_BUILT) != 0) {
        problems_add(load->problems, false, name, option->example,
                     "\"%s\" is not built yet in version %s", option->path, OUTBOXD_VERSION);
    } else if (option->scope == SCOPE_PIPELINE && has_file) {
        problems_add(load->problems, true, name, "set the option in the file",
                     "ignored: %s* applies only without a configuration file", PIPELINE);
    } else {
        void *base = option->scope == SCOPE_PIPELINE ? (void *)&load->config->pipelines[0]
                                                     : (void *)load->config;
        value_set_text(load, option, base, value, name);
    }
}

static int environment_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void environment_read(Load *load, bool has_file)
{
    StringList names = {0}; /* sorted, so that messages and properties do not depend on chance */
    for (char *const *variable = load->environment; *variable != NULL; variable++) {
        if (environment_has(*variable, PREFIX) && strchr(*variable, '=') != NULL) {
            string_list_add(&names, *variable);
        }
    }
    if (names.count > 0) {
        qsort(names.items, names.count, sizeof(*names.items), environment_compare);
    }
    for (size_t i = 0; i < names.count; i++) {
        char *value = strchr(names.items[i], '=');
        *value++ = '\0';
        if (!environment_has(names.items[i], "OUTBOXD_FAILPOINT")) { /* base/failpoint.h */
            environment_apply(load, names.items[i], value, has_file);
        }
    }
    string_list_free(&names);
}
