/* Bounds: a server, or what stands in between, may tell of anything. */
#include <criterion/criterion.h>
#include <string.h>

#include "relation_rig.h"
#include "stub/libpq.h"

static size_t relation_bytes(void)
{
    return told.relations.stranger_count * sizeof(*told.relations.strangers) +
           told.relations.type_count * 2 * sizeof(uint32_t);
}

Test(relation, tables_of_others_are_forgotten_in_their_turn_and_stay_others)
{
    BuildColumn column = {"id", INT8};
    for (uint32_t id = 1; id <= RELATIONS_STRANGERS_MAX + 10; id++) {
        if (id != OUTBOX) {
            relations_put(&told.relations,
                          &(PgOutputRelation){.id = id + 100000,
                                              .schema = SLICE_LITERAL("public"),
                                              .name = SLICE_LITERAL("other")},
                          &told.err);
        }
    }
    cr_assert_eq(told.relations.count, 0);
    cr_assert_eq(told.relations.stranger_count, RELATIONS_STRANGERS_MAX);
    cr_assert_leq(relation_bytes(), 300000);
    bool known = false;
    cr_assert_null(relations_find(&told.relations, 100001, &known));
    cr_assert(known, "forgotten, and no violation of the protocol");
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK);
    cr_assert_not_null(relations_find(&told.relations, OUTBOX, &known), "ours is never forgotten");
    cr_assert_eq(told_put(300, "public", "another", &column, 1), OK);
    relations_reset(&told.relations);
    cr_assert_null(relations_find(&told.relations, 100001, &known));
    cr_assert_not(known, "a new stream");
}

Test(relation, more_tables_of_ours_than_anybody_has_are_a_violation_of_the_protocol)
{
    Status status = OK;
    uint32_t id = 1;
    for (; status == OK && id <= RELATIONS_MAX + 1; id++) { /* all by the name */
        status = told_put(id + 100000, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS);
    }
    cr_assert_eq(status, FAILED);
    cr_assert_eq(id, RELATIONS_MAX + 2);
    cr_assert_eq(told.err.code, CODE_PG_PROTOCOL);
    cr_assert_eq(told.err.class, ERROR_RETRY);
    cr_assert_not_null(strstr(error_message(&told.err), "more than 16384 tables"), "%s",
                       error_message(&told.err));
    cr_assert_eq(told_put(100001, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), OK, "told again");
}

Test(relation, types_that_are_not_converted_are_not_kept_and_the_others_are_bounded)
{
    for (uint32_t id = 1; id <= 1000000; id += 7) {
        told_put_type(id + 20000, "public", "mood");
    }
    cr_assert_eq(told.relations.type_count, 0);
    told_put_type(20000, "", "bool");
    cr_assert_eq(told.relations.type_count, 1);
    told_put_type(20000, "public", "mood"); /* made anew */
    cr_assert_eq(told.relations.type_count, 0);
    for (uint32_t id = 1; id <= RELATIONS_TYPES_MAX; id++) {
        told_put_type(id + 20000, "", "bool");
    }
    PgOutputType type = {.id = 10, .schema = SLICE_LITERAL(""), .name = SLICE_LITERAL("bool")};
    cr_assert_eq(relations_put_type(&told.relations, &type, &told.err), FAILED);
    cr_assert_eq(told.err.code, CODE_PG_PROTOCOL);
}

Test(relation, more_partitions_than_are_kept_are_a_violation_of_the_protocol)
{
    Text members = TEXT_EMPTY;
    for (uint32_t oid = TREE_MEMBERS_MAX + 5; oid > 0; oid--) {
        text_printf(&members, "%s%u,%u", members.length > 0 ? "," : "", oid + 50000, oid + 50000);
    }
    PGresult *row = stub_result("", "members", members.data, NULL);
    (void)tree_read(&told.tree, row, 0, false);
    cr_assert(told.tree.full);
    cr_assert_eq(told.tree.members.count, TREE_MEMBERS_MAX);
    cr_assert(tree_has(&told.tree, 50000 + TREE_MEMBERS_MAX / 2));
    cr_assert_eq(told_put(OUTBOX, "outbox", "event", ENVELOPE, ENVELOPE_COLUMNS), FAILED);
    cr_assert_eq(told.err.code, CODE_PG_PROTOCOL);
    PQclear(row);
    text_free(&members);
}

Test(relation, strangers_that_were_asked_about_are_bounded)
{
    PGresult *row = stub_result("", "members", STUB_NULL, "stranger", "t", NULL);
    for (uint32_t oid = 1; oid <= TREE_STRANGERS_MAX + 3; oid++) {
        cr_assert_not(tree_read(&told.tree, row, oid + 60000, false));
    }
    cr_assert_eq(told.tree.strangers.count, TREE_STRANGERS_MAX);
    cr_assert_not(tree_has_stranger(&told.tree, 60001), "it is asked about again");
    cr_assert(tree_has_stranger(&told.tree, 60000 + TREE_STRANGERS_MAX + 3));
    PQclear(row);
    row = stub_result("", "members", "60100", "stranger", STUB_NULL, NULL);
    (void)tree_read(&told.tree, row, 0, false);
    cr_assert(tree_has(&told.tree, 60100));
    cr_assert_not(tree_has_stranger(&told.tree, 60100));
    PQclear(row);
}
