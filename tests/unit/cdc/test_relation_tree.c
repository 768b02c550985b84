/* Leaves: what the server says of them is a row of tree_add_query(), made here by hand. */
#include <criterion/criterion.h>
#include <string.h>

#include "relation_rig.h"
#include "stub/given_schema.h"
#include "stub/libpq.h"

enum { LEAF = 16401, STRANGER = 16500 };

static bool must_ask(uint32_t id, const char *name, const BuildColumn *columns, size_t count)
{
    text_clear(&told.bytes);
    build_relation(&told.bytes, id, "parts", name, columns, count);
    PgOutputReader reader = {.protocol = 1};
    PgOutput message;
    Slice slice = {.data = told.bytes.data, .length = told.bytes.length};
    cr_assert_eq(pgoutput_read(&reader, slice, &message, &told.err), OK, "%s",
                 error_message(&told.err));
    told.table.schema = given_schema_of(&told.pipeline);
    return relations_must_ask(&told.relations, &message.relation);
}

static bool is_ours(uint32_t id)
{
    bool known = false;
    const Relation *relation = relations_find(&told.relations, id, &known);
    cr_assert(known);
    return relation != NULL;
}

static bool answer(const char *members, bool divided, const char *generated, bool stranger,
                   uint32_t asked, bool fits)
{
    PGresult *result =
        stub_result(NULL, "members", members != NULL ? members : STUB_NULL, "divided",
                    divided ? "t" : "f", "generated", generated != NULL ? generated : STUB_NULL,
                    "stranger", stranger ? "t" : "f", NULL);
    bool detached = tree_read(&told.tree, result, asked, fits);
    PQclear(result);
    return detached;
}

static void given_no_other_columns(void)
{
    given_columns_needed(told.pipeline.outbox.columns);
    told.pipeline.outbox.header_columns.count = 0;
}

Test(relation, a_relation_of_ours_without_a_column_that_is_used_is_asked_about)
{
    cr_assert(must_ask(OUTBOX, "event", ENVELOPE, ENVELOPE_COLUMNS));
    given_no_other_columns();
    cr_assert_not(must_ask(OUTBOX, "event", ENVELOPE, ENVELOPE_COLUMNS));
}

Test(relation, a_leaf_is_the_outbox_whatever_its_name_and_order_of_columns)
{
    given_no_other_columns();
    BuildColumn turned[ENVELOPE_COLUMNS];
    for (size_t i = 0; i < ENVELOPE_COLUMNS; i++) {
        turned[i] = ENVELOPE[ENVELOPE_COLUMNS - 1 - i];
    }
    answer("16401,16402", true, NULL, false, 0, false);
    cr_assert_not(must_ask(LEAF, "event_2026_01", turned, ENVELOPE_COLUMNS));
    cr_assert_eq(told_put(LEAF, "parts", "event_2026_01", turned, ENVELOPE_COLUMNS), OK);
    cr_assert(is_ours(LEAF));
}

Test(relation, an_unknown_relation_is_asked_about_once_unless_it_could_be_ours)
{
    static const BuildColumn INVOICE[] = {{"id", INT8}, {"total", INT4}};
    given_no_other_columns();
    cr_assert(must_ask(STRANGER, "invoice", INVOICE, 2));
    cr_assert(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS));
    answer(NULL, true, NULL, true, STRANGER, false);
    cr_assert_not(must_ask(STRANGER, "invoice", INVOICE, 2));
    cr_assert_eq(told_put(STRANGER, "public", "invoice", INVOICE, 2), OK);
    cr_assert_not(is_ours(STRANGER));
    answer(NULL, true, NULL, true, LEAF, true);
    cr_assert(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS), "it may be attached by now");
    answer("16401", true, NULL, true, LEAF, true);
    cr_assert_not(must_ask(LEAF, "event_1", ENVELOPE, ENVELOPE_COLUMNS));
}

Test(relation, a_leaf_that_was_detached_is_ours_still)
{
    answer("16401", true, NULL, false, 0, false);
    answer(NULL, true, NULL, false, 0, false);
    cr_assert(tree_has(&told.tree, LEAF), "it was a part while we looked");
    tree_release(&told.tree);
    cr_assert(answer(NULL, true, NULL, false, LEAF, true),
              "nothing else brings it into the stream");
    cr_assert(tree_has(&told.tree, LEAF));
}

Test(relation, a_relation_that_the_publication_names_otherwise_is_none_of_ours)
{
    cr_assert_not(answer(NULL, true, NULL, true, LEAF, true));
    cr_assert_not(tree_has(&told.tree, LEAF));
    cr_assert_not(answer(NULL, false, NULL, false, LEAF, true), "the outbox has no parts");
    cr_assert_not(answer(NULL, true, NULL, false, LEAF, false), "it lacks what an event needs");
    cr_assert_not(tree_has(&told.tree, LEAF));
    cr_assert(tree_has_stranger(&told.tree, LEAF));
}

Test(relation, a_generated_column_that_is_used_and_not_sent_stops)
{
    answer(NULL, false, "\ntenant\nother\n", false, 0, false);
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), FAILED);
    cr_assert_eq(told.err.code, CODE_COLUMN_GENERATED);
    cr_assert_eq(told.err.class, ERROR_FATAL);
    cr_assert_not_null(strstr(error_message(&told.err), "'tenant'"), "%s",
                       error_message(&told.err));
    told_put_with("tenant", TEXT); /* from 18 on it may be sent */
    answer(NULL, false, "\nten\nother\n", false, 0, false);
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
}

Test(relation, a_list_of_members_that_is_none_is_survived)
{
    answer("x", true, NULL, false, 0, false);
    answer(",", true, NULL, false, 0, false);
    answer("16401,", true, NULL, false, 0, false);
    cr_assert(tree_has(&told.tree, LEAF));
    cr_assert_eq(told.tree.members.count, 1);
}
