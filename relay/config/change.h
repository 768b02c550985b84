/* change: what differs between two configurations, and what that asks of a relay that runs.
 *
 * Everything comes from the option table: which options there are, and by their flags what a reload
 * does for each (options.h, OPTION_RELOADABLE and OPTION_FIXED). */
#pragma once

#include "base/text.h"
#include "config/config.h"

/* In the order of how much happens. */
typedef enum Change {
    CHANGE_NONE,
    CHANGE_LIVE,   /* the pipeline goes on with other values */
    CHANGE_RENEWS, /* the pipeline starts anew */
} Change;

/** The greatest change of the options of the file itself whose path begins with prefix ("kafka.";
 * "" all). Of a connection string the password alone is no new database: CHANGE_LIVE. names (or
 * NULL): each that differs is appended, separated by blanks. */
Change change_of_config(const Config *from, const Config *to, const char *prefix, Text *names);

/** The same of a pipeline, with its routes. A column on which nothing rested so far, so that it may
 * be absent, needs a start: CHANGE_RENEWS. Names that are there already are not appended again. */
Change change_of_pipeline(const PipelineConfig *from, const PipelineConfig *to, Text *names);

/** Gives `to` the values of `from` that no reload changes, and appends the names of those that
 * differed. Brokers and properties are among them when kafka.oauth_command comes or goes: a client
 * would log in by the new properties, and without the token that they speak of. */
void change_keep_fixed(const Config *from, Config *to, Text *names);

/** Gives `to`, on the loop's thread, the values of `from` that change while a pipeline goes on. The
 * texts of before are freed: who reads them is made anew first. */
void change_apply(PipelineConfig *to, const PipelineConfig *from);

/** Gives `to` the connection strings of `from`. */
void change_password(Config *to, const Config *from);

/** Gives `to` the values of `from` for a producer that is made from now on. */
void change_kafka(Config *to, const Config *from);
