/* Sets one option: interpolation, syntax, range. */
#include "config/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/interpolate.h"
#include "config/lists.h"
#include "config/load.h"
#include "config/mask.h"
#include "config/nearest.h"
#include "config/template.h"
#include "config/units.h"

static void *value_field(const Option *option, void *base)
{
    return (char *)base + option->offset;
}

static void value_problem(Load *load, const Option *option, const char *place, const char *remedy,
                          const char *message)
{
    problems_add(load->problems, false, place, remedy, "\"%s%s\" %s",
                 option_scope_prefix(option->scope), option->path, message);
}

void load_note(Load *load, const Option *option, const void *base, const char *place)
{
    for (size_t i = 0; i < load->origin_count; i++) {
        Origin *origin = &load->origins[i];
        if (origin->base == base && origin->option == option) {
            free(origin->place);
            free(origin->raw);
            origin->place = x_strdup(place);
            origin->raw = NULL;
            return;
        }
    }
    load->origins = x_realloc(load->origins, (load->origin_count + 1) * sizeof(*load->origins));
    load->origins[load->origin_count++] =
        (Origin){.base = base, .option = option, .place = x_strdup(place)};
}

const char *load_origin(const Load *load, const void *base, const Option *option)
{
    for (size_t i = 0; i < load->origin_count; i++) {
        if (load->origins[i].base == base && load->origins[i].option == option) {
            return load->origins[i].place;
        }
    }
    return NULL;
}

const char *load_first_origin(const Load *load, const void *base)
{
    for (size_t i = 0; i < load->origin_count; i++) {
        if (load->origins[i].base == base) {
            return load->origins[i].place;
        }
    }
    return NULL;
}

/* Of the option that was noted last. */
static void value_note_raw(Load *load, const Option *option, const void *base, const char *raw)
{
    for (size_t i = 0; i < load->origin_count; i++) {
        Origin *origin = &load->origins[i];
        if (origin->base == base && origin->option == option) {
            free(origin->raw);
            origin->raw = x_strdup(raw);
        }
    }
}

static void value_add_number(Text *text, const Option *option, int64_t value)
{
    if (option->type == OPTION_DURATION) {
        units_add_duration(text, value);
    } else if (option->type == OPTION_SIZE) {
        units_add_size(text, value);
    } else {
        text_printf(text, "%" PRId64, value);
    }
}

void value_add_range(Text *text, const Option *option)
{
    value_add_number(text, option, option->min);
    text_add(text, " to ");
    value_add_number(text, option, option->max);
    if ((option->flags & OPTION_FOREVER) != 0) {
        text_add(text, ", or forever");
    }
}

static void value_set_number(Load *load, const Option *option, void *base, int64_t value,
                             const char *place)
{
    if (value < option->min || value > option->max) {
        AUTO_BUFFER range = TEXT_EMPTY;
        text_add(&range, "give a value from ");
        value_add_range(&range, option);
        AUTO_BUFFER message = TEXT_EMPTY;
        text_add(&message, "is out of range: ");
        value_add_number(&message, option, value);
        value_problem(load, option, place, text_string(&range), text_string(&message));
        return;
    }
    *(int64_t *)value_field(option, base) = value;
}

void value_set_int(Load *load, const Option *option, void *base, int64_t value, const char *place)
{
    load_note(load, option, base, place);
    value_set_number(load, option, base, value, place);
}

void value_set_bool(Load *load, const Option *option, void *base, bool value, const char *place)
{
    load_note(load, option, base, place);
    option_switch(option, base, value);
}

static void value_set_unit_text(Load *load, const Option *option, void *base, const char *text,
                                const char *place)
{
    if ((option->flags & OPTION_FOREVER) != 0 && strcmp(text, "forever") == 0) {
        *(int64_t *)value_field(option, base) = DURATION_FOREVER;
        return;
    }
    int64_t value;
    const char *reason;
    bool duration = option->type == OPTION_DURATION;
    bool parsed = duration ? units_parse_duration(text, &value, &reason)
                           : units_parse_size(text, &value, &reason);
    if (!parsed) {
        AUTO_TEXT message = x_format("cannot be \"%s\": %s", text, reason);
        AUTO_TEXT remedy = x_format("write a %s such as %s", option_type_name(option->type),
                                    duration ? "\"250ms\", \"5s\", \"10min\", \"1h\" or \"7d\""
                                             : "\"64KiB\", \"4MiB\" or \"1MB\"");
        value_problem(load, option, place, remedy, message);
        return;
    }
    value_set_number(load, option, base, value, place);
}

static void value_set_enum(Load *load, const Option *option, void *base, const char *text,
                           const char *place)
{
    Nearest nearest = nearest_begin(text);
    const char *meant = NULL;
    for (const OptionChoice *choice = option->choices; choice->name != NULL; choice++) {
        if (strcmp(choice->name, text) == 0) {
            if (choice->not_built) {
                problems_add(load->problems, false, place, NULL,
                             "%s = \"%s\" is not built yet in version %s", option->path, text,
                             OUTBOXD_VERSION);
                return;
            }
            memcpy(value_field(option, base), &choice->value, sizeof(choice->value));
            return;
        }
        if (nearest_offer(&nearest, choice->name)) {
            meant = choice->name;
        }
    }
    AUTO_BUFFER remedy = TEXT_EMPTY;
    text_add(&remedy, "write one of ");
    option_add_choices(option, false, &remedy);
    AUTO_TEXT message = x_format("cannot be \"%s\"%s%s%s", text, meant ? "; did you mean \"" : "",
                                 meant ? meant : "", meant ? "\"?" : "");
    value_problem(load, option, place, text_string(&remedy), message);
}

/* A string of the choices' letters as the bits that they stand for. */
static void value_set_letters(Load *load, const Option *option, void *base, const char *text,
                              const char *place)
{
    unsigned bits = 0;
    for (const char *c = text; *c != '\0'; c++) {
        const OptionChoice *choice = option->choices;
        while (choice->name != NULL && *choice->name != *c) {
            choice++;
        }
        bool twice = choice->name != NULL && (bits & (unsigned)choice->value) != 0;
        if (choice->name == NULL || twice) {
            AUTO_BUFFER remedy = TEXT_EMPTY;
            text_add(&remedy, "write each letter once, of ");
            option_add_choices(option, false, &remedy);
            AUTO_TEXT message = x_format("cannot be \"%s\": \"%c\" %s", text, *c,
                                         twice ? "is there twice" : "is none of its letters");
            value_problem(load, option, place, text_string(&remedy), message);
            return;
        }
        bits |= (unsigned)choice->value;
    }
    if (bits == 0) {
        value_problem(load, option, place, NULL, "must not be empty");
    }
    *(unsigned *)value_field(option, base) = bits;
}

static bool value_is_name(const char *text)
{
    return *text != '\0' &&
           text[strspn(
               text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

/* What is wrong with a string of that option, or NULL; freed by the caller. */
static char *value_string_problem(const Option *option, const char *text)
{
    if ((option->flags & OPTION_REQUIRED) != 0 && *text == '\0') {
        return x_strdup("must not be empty");
    }
    if (option->max > 0 && strlen(text) > (size_t)option->max) {
        return x_format("is longer than %" PRId64 " bytes", option->max);
    }
    if ((option->flags & OPTION_NAME) != 0 && !value_is_name(text)) {
        return x_format("cannot be \"%s\": only letters, digits, '.', '_' and '-'", text);
    }
    if (option->type == OPTION_GLOB && glob_problem(text) != NULL) {
        return x_format("cannot be \"%s\": %s", text, glob_problem(text));
    }
    return NULL;
}

static void value_set_string(Load *load, const Option *option, void *base, const char *text,
                             const char *place)
{
    AUTO_TEXT problem = value_string_problem(option, text);
    if (problem != NULL) {
        value_problem(load, option, place, NULL, problem);
    }
    char **field = value_field(option, base);
    free(*field);
    *field = x_strdup(text);
}

/* What a property is read from again; the last one of its name counts. */
static void value_note_property(Load *load, const char *text, Slice key, const char *place)
{
    StringList *written = &load->config->kafka.written;
    string_list_add(&load->property_places, place);
    for (size_t i = 0; i < written->count; i++) {
        if (strncmp(written->items[i], text, key.length + 1) == 0) {
            string_list_remove(written, i--);
        }
    }
    if (strstr(text, "${file:") != NULL) {
        string_list_add(written, text);
    }
}

void value_add_item(Load *load, const Option *option, void *base, const char *text,
                    const char *place)
{
    AUTO_TEXT value = NULL;
    AUTO_TEXT message = NULL;
    const StringList *list = value_field(option, base);
    if (list->count >= LIST_ITEMS_MAX) {
        if (load->full != option) {
            AUTO_TEXT many = x_format("has more than %d items", LIST_ITEMS_MAX);
            value_problem(load, option, place, NULL, many);
        }
        load->full = option;
        return;
    }
    Interpolation how = load_interpolation(load);
    Slice key = {.data = text, .length = strcspn(text, "=")};
    load->in_secret = (option->flags & OPTION_SECRET) != 0 && mask_is_secret(key);
    Status read = interpolate(&how, text, &value, &message);
    bool secret = load->in_secret;
    load->in_secret = false;
    if (read != OK) {
        problems_add(load->problems, false, place, NULL, "%s", message);
        return;
    }
    if (strcmp(text, value) != 0) {
        replaced_add(&load->items, value, text);
    } else if (secret) {
        load_note_secret(load, place);
    }
    if (option->max > 0 && strlen(value) > (size_t)option->max) {
        value_problem(load, option, place, NULL, "has an item that is too long");
        return;
    }
    string_list_add(value_field(option, base), value);
    if (value_field(option, base) == &load->config->kafka.properties) {
        value_note_property(load, text, key, place);
    }
}

static void value_set_list_text(Load *load, const Option *option, void *base, const char *text,
                                const char *place)
{
    string_list_free(value_field(option, base));
    AUTO_TEXT copy = x_strdup(text);
    for (char *rest = copy, *item; (item = strsep(&rest, ",")) != NULL;) {
        item += strspn(item, " \t");
        item[strcspn(item, " \t")] = '\0';
        if (*item != '\0') {
            value_add_item(load, option, base, item, place);
        }
    }
}

static void value_set_other_text(Load *load, const Option *option, void *base, const char *text,
                                 const char *place)
{
    if (option->type == OPTION_BOOL) {
        bool yes = strcasecmp(text, "true") == 0;
        if (!yes && strcasecmp(text, "false") != 0) {
            AUTO_TEXT message = x_format("cannot be \"%s\"", text);
            value_problem(load, option, place, "write true or false", message);
            return;
        }
        option_switch(option, base, yes);
        return;
    }
    char *end;
    long long number = strtoll(text, &end, 10); /* saturates: then it is out of range */
    if (end == text || *end != '\0') {
        AUTO_TEXT message = x_format("cannot be \"%s\"", text);
        value_problem(load, option, place, "write a whole number", message);
        return;
    }
    value_set_number(load, option, base, number, place);
}

void value_set_text(Load *load, const Option *option, void *base, const char *text,
                    const char *place)
{
    AUTO_TEXT value = NULL;
    AUTO_TEXT message = NULL;
    load_note(load, option, base, place);
    if (option->type == OPTION_STRING_LIST) {
        value_set_list_text(load, option, base, text, place);
        return;
    }
    if ((option->flags & OPTION_DSN) != 0) {
        value_set_string(load, option, base, text, place);
        return;
    }
    Interpolation how = load_interpolation(load);
    how.keep_escapes = option->type == OPTION_TEMPLATE;
    load->in_secret = (option->flags & OPTION_SECRET) != 0;
    Status read = interpolate(&how, text, &value, &message);
    load->in_secret = false;
    if (read != OK) {
        problems_add(load->problems, false, place, NULL, "%s", message);
        return;
    }
    if (strcmp(text, value) != 0) {
        value_note_raw(load, option, base, text);
        if ((option->flags & OPTION_SECRET) == 0) {
            replaced_add(&load->references, value, text);
        }
    } else if ((option->flags & OPTION_SECRET) != 0 && *value != '\0') {
        load_note_secret(load, place);
    }
    switch (option->type) {
    case OPTION_DURATION:
    case OPTION_SIZE:
        value_set_unit_text(load, option, base, value, place);
        break;
    case OPTION_ENUM:
        value_set_enum(load, option, base, value, place);
        break;
    case OPTION_LETTERS:
        value_set_letters(load, option, base, value, place);
        break;
    case OPTION_BOOL:
    case OPTION_INT:
        value_set_other_text(load, option, base, value, place);
        break;
    default:
        value_set_string(load, option, base, value, place);
        break;
    }
}

/* Defaults are trusted: they take the same way as users' text, so that a bad one shows in the
 * tests. What has none stays NULL (route patterns) or empty. */
void value_set_default(Load *load, const Option *option, void *base)
{
    if ((option->flags & OPTION_NOT_BUILT) != 0 || option->type == OPTION_GROUPS) {
        return;
    }
    if (option->fallback == NULL) {
        bool string = option->type == OPTION_STRING || option->type == OPTION_TEMPLATE;
        if (string && option->scope != SCOPE_ROUTE) {
            *(char **)value_field(option, base) = x_strdup("");
        }
        return;
    }
    if (*option->fallback == '\0') {
        *(char **)value_field(option, base) = x_strdup("");
        return;
    }
    value_set_text(load, option, base, option->fallback, "default");
    load->origin_count--; /* a default is no origin */
    free(load->origins[load->origin_count].place);
    free(load->origins[load->origin_count].raw);
}
