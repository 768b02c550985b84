/* What references stood for: remembered, so that it is shown as it was written. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "config/lists.h"
#include "config/load.h"

enum { WORD_BYTES = 6 }; /* what is shorter is replaced as a whole word only */

void replaced_add(ReplacedList *list, const char *value, const char *raw)
{
    *vec_add(list) = (Replaced){.value = x_strdup(value), .raw = x_strdup(raw)};
}

void replaced_free(ReplacedList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        explicit_bzero(list->items[i].value, strlen(list->items[i].value));
        free(list->items[i].value);
        free(list->items[i].raw);
    }
    free(list->items);
    *list = (ReplacedList){0};
}

const char *load_raw(const Load *load, const void *base, const Option *option)
{
    for (size_t i = 0; i < load->origin_count; i++) {
        if (load->origins[i].base == base && load->origins[i].option == option) {
            return load->origins[i].raw;
        }
    }
    return NULL;
}

const char *load_item_raw(const Load *load, const char *item)
{
    for (size_t i = 0; i < load->items.count; i++) {
        if (strcmp(load->items.items[i].value, item) == 0) {
            return load->items.items[i].raw;
        }
    }
    return NULL;
}

static bool replaced_is_word(const char *text, const char *at, size_t length)
{
    return (at == text || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[length]);
}

static void replaced_hide(const Replaced *replaced, char **text)
{
    size_t length = strlen(replaced->value);
    if (length == 0 || *text == NULL || strstr(*text, replaced->value) == NULL) {
        return;
    }
    AUTO_BUFFER hidden = TEXT_EMPTY;
    text_add(&hidden, "");
    for (const char *c = *text; *c != '\0';) {
        if (strncmp(c, replaced->value, length) == 0 &&
            (length >= WORD_BYTES || replaced_is_word(*text, c, length))) {
            text_add(&hidden, replaced->raw);
            c += length;
        } else {
            text_add_char(&hidden, *c++);
        }
    }
    free(*text);
    *text = x_strdup(hidden.data);
}

void load_hide_references(const Load *load, Problems *problems, size_t from)
{
    for (size_t i = from; i < problems->count; i++) {
        for (size_t j = load->references.count; j > 0; j--) { /* the whole before its parts */
            replaced_hide(&load->references.items[j - 1], &problems->items[i].message);
            replaced_hide(&load->references.items[j - 1], &problems->items[i].remedy);
        }
    }
}

static void load_read_file(void *arg, const char *path)
{
    Load *load = arg;
    if (load->in_secret && !string_list_has(&load->secret_files, path)) {
        string_list_add(&load->secret_files, path);
    }
}

static void load_read_value(void *arg, const char *value, const char *reference)
{
    Load *load = arg;
    if (!load->in_secret) {
        replaced_add(&load->references, value, reference);
    }
}

Interpolation load_interpolation(Load *load)
{
    return (Interpolation){.environment = load->environment,
                           .directory = load->directory,
                           .arg = load,
                           .read_file = load_read_file,
                           .read_value = load_read_value};
}

void load_note_secret(Load *load, const char *place)
{
    const char *colon = strrchr(place, ':');
    AUTO_TEXT file = x_strndup(place, colon != NULL ? (size_t)(colon - place) : strlen(place));
    if (string_list_has(&load->source->files, file) &&
        !string_list_has(&load->secret_files, file)) {
        string_list_add(&load->secret_files, file);
    }
}
