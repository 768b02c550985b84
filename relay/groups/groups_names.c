#include "groups/groups_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/lists.h"
#include "groups/groups_ask.h"

enum { FOREIGN_ROUNDS = 20 };

struct GroupsNames {
    const StringList *patterns;
    StringList list; /* of this round */
    size_t left_out;
    StringList foreign; /* matched groups that consume nothing of ours; asked again later */
    int foreign_rounds;
    bool list_failed;
    Error glob_error;
};

GroupsNames *groups_names_new(const StringList *patterns)
{
    GroupsNames *names = x_calloc(1, sizeof(*names));
    names->patterns = patterns;
    return names;
}

void groups_names_free(GroupsNames **names)
{
    string_list_free(&(*names)->list);
    string_list_free(&(*names)->foreign);
    error_clear(&(*names)->glob_error);
    free(*names);
    *names = NULL;
}

bool groups_names_has_outright(const GroupsNames *names, const char *group)
{
    const StringList *patterns = names->patterns;
    for (size_t i = 0; i < patterns->count; i++) {
        if (groups_is_name(patterns->items[i]) && strcmp(patterns->items[i], group) == 0) {
            return true;
        }
    }
    return false;
}

/* When more groups match than are asked: those that are known to consume our topics first, then
 * those of which nothing is known, so that in some rounds all have had their turn. */
static void names_choose(GroupsNames *names, const StringList *found,
                         bool (*is_ours)(const void *arg, const char *group), const void *arg)
{
    bool many = names->list.count + found->count > GROUPS_ASKED_MAX;
    if (!many || ++names->foreign_rounds > FOREIGN_ROUNDS) {
        string_list_free(&names->foreign);
        names->foreign_rounds = 0;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < found->count; i++) {
            const char *name = found->items[i];
            bool ours = is_ours(arg, name);
            if (ours != (pass == 0) || string_list_has(&names->list, name) ||
                (!ours && string_list_has(&names->foreign, name))) {
                continue;
            }
            if (names->list.count < GROUPS_ASKED_MAX) {
                string_list_add(&names->list, name);
            } else {
                names->left_out++;
            }
        }
    }
}

void groups_names_find(GroupsNames *names, rd_kafka_t *rk,
                       bool (*is_ours)(const void *arg, const char *group), const void *arg,
                       Error *err)
{
    const StringList *patterns = names->patterns;
    string_list_free(&names->list);
    names->left_out = 0;
    bool globs = false;
    for (size_t i = 0; i < patterns->count; i++) {
        if (!groups_is_name(patterns->items[i])) {
            globs = true;
        } else if (!string_list_has(&names->list, patterns->items[i])) {
            string_list_add(&names->list, patterns->items[i]);
        }
    }
    StringList found = {0};
    names->list_failed = globs && groups_list(rk, patterns, &found, err) != OK;
    names_choose(names, &found, is_ours, arg);
    error_clear(&names->glob_error);
    if (globs && !names->list_failed) {
        (void)groups_check_globs(rk, patterns, &found, &names->glob_error);
    }
    string_list_free(&found);
}

const StringList *groups_names_list(const GroupsNames *names)
{
    return &names->list;
}

bool groups_names_may_lack(const GroupsNames *names, const char *group)
{
    return names->list_failed && !string_list_has(&names->list, group);
}

const Error *groups_names_glob_error(const GroupsNames *names)
{
    return &names->glob_error;
}

void groups_names_note_foreign(GroupsNames *names, const char *group)
{
    if (!string_list_has(&names->foreign, group)) {
        string_list_add(&names->foreign, group);
    }
    names->left_out = 0;
}

void groups_names_forget_foreign(GroupsNames *names)
{
    string_list_free(&names->foreign);
}

size_t groups_names_left_out(const GroupsNames *names)
{
    return names->left_out;
}

void groups_names_none_left_out(GroupsNames *names)
{
    names->left_out = 0;
}
