#include "loading.h"

/* Each on a line of its own, from line 3 on. */
#define MAPPINGS(mappings)                                                                         \
    BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; topic_prefix = \"shop\";\n"         \
           "mappings = ( " mappings " ); } );\n"
#define ONE(options) MAPPINGS("{ table = \"public.item\"; " options " }")

static void assert_remedy(const char *text, const char *remedy)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, text, NULL, NULL);
    cr_assert_geq(loading.problems.count, 1);
    cr_assert_not_null(strstr(loading.problems.items[0].remedy, remedy), "%s",
                       loading.problems.items[0].remedy);
    loading_end(&loading);
}

Test(mapping_rules, prefix_and_mappings_are_required)
{
    static const char NEITHER[] =
        BASICS "pipelines: ( { name = \"a\";\n capture = \"tables\"; } );\n";
    ASSERT_PROBLEMS(
        NEITHER, "main.conf:3: pipeline \"a\" has no topic_prefix: capture = \"tables\" needs it",
        "main.conf:3: pipeline \"a\" has no mappings: capture = \"tables\" would publish "
        "nothing");
    assert_remedy(NEITHER, "add topic_prefix = \"shop\";");
    static const char *const EMPTY[] = {"( )", "[ ]"};
    for (size_t i = 0; i < 2; i++) {
        AUTO_TEXT text = x_format(BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; "
                                         "topic_prefix = \"p\"; mappings = %s; } );\n",
                                  EMPTY[i]);
        ASSERT_PROBLEMS(text, "main.conf:2: pipeline \"a\" has no mappings: capture = \"tables\" "
                              "would publish nothing");
    }
    ASSERT_PROBLEMS(MAPPINGS("{ topic = \"x\"; }"),
                    "main.conf:3: no \"table\" in mapping 1 of pipeline \"a\"");
    ASSERT_PROBLEMS(MAPPINGS("{ table = \"s.t\"; }, 7"),
                    "main.conf:3: \"mappings\" holds a number, but must hold groups");
    ASSERT_PROBLEMS(
        ONE("column = [ \"a\" ];"),
        "main.conf:3: unknown option \"column\" in mapping 1 of pipeline \"a\"; did you "
        "mean \"columns\"?");
}

Test(mapping_rules, a_prefix_is_a_part_of_a_topic)
{
    static const struct {
        const char *prefix;
        const char *problem;
    } BAD[] = {
        {"a b", "cannot be \"a b\": only letters, digits, '.', '_' and '-'"},
        {"", "cannot be \"\": only letters, digits, '.', '_' and '-'"},
    };
    for (size_t i = 0; i < 2; i++) {
        AUTO_TEXT text = x_format(BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; "
                                         "topic_prefix = \"%s\"; mappings = ( { table = \"s.t\"; } "
                                         "); } );\n",
                                  BAD[i].prefix);
        AUTO_TEXT problem = x_format("main.conf:2: \"pipelines.topic_prefix\" %s", BAD[i].problem);
        ASSERT_PROBLEMS(text, problem);
    }
    for (int length = 100; length <= 101; length++) {
        AUTO_TEXT text = x_format(BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; "
                                         "topic_prefix = \"%0*d\"; mappings = ( { table = \"s.t\"; "
                                         "} ); } );\n",
                                  length, 0);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.problems.count, length == 100 ? 0 : 1);
        loading_end(&loading);
    }
}

Test(mapping_rules, a_table_is_named_with_its_schema)
{
    static const char *const GOOD[] = {"public.item",
                                       "public.*",
                                       "*.*",
                                       "Public.Item",
                                       "tenant_[0-9].x?",
                                       "\\\"My Schema\\\".item",
                                       "a.\\\"b.c\\\"",
                                       "a.\\\"x\\\"\\\"y\\\"",
                                       "a.\\\"*\\\""};
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        AUTO_TEXT text = x_format(MAPPINGS("{ table = \"%s\"; }"), GOOD[i]);
        assert_loads(text);
    }
    static const char FORM[] = "it is not written as schema.table";
    static const char *const BAD[][2] = {
        {"item", FORM},
        {".item", FORM},
        {"public.", FORM},
        {"a.b.c", FORM},
        {"public item.x", FORM},
        {"public.\\\"item", FORM},
        {"public.\\\"\\\"", FORM},
        {"public.\\\"a\\\"b", FORM},
        {"public.a\\\"b", FORM},
        {"public.[a", "\"[\" has no closing \"]\""},
        {"[a.item", "\"[\" has no closing \"]\""},
        {"public.a\\\\*", "a backslash is no part of a pattern"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        AUTO_TEXT text = x_format(MAPPINGS("{ table = \"%s\"; }"), BAD[i][0]);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.problems.count, 1, "%s", BAD[i][0]);
        AUTO_TEXT problem = loading_problem(&loading, 0);
        cr_assert_not_null(strstr(problem, "main.conf:3: \""), "%s", problem);
        cr_assert_not_null(strstr(problem, " cannot be the table of a mapping: "), "%s", problem);
        cr_assert_not_null(strstr(problem, BAD[i][1]), "%s", problem);
        loading_end(&loading);
    }
    ASSERT_PROBLEMS(MAPPINGS("{ table = \"\"; }"),
                    "main.conf:3: \"pipelines.mappings.table\" must not be empty");
}

Test(mapping_rules, a_table_is_mapped_once)
{
    static const char *const SAME[][2] = {{"public.item", "public.item"},
                                          {"public.item", "PUBLIC.Item"},
                                          {"public.item", "\\\"public\\\".item"},
                                          {"public.*", "Public.*"}};
    for (size_t i = 0; i < sizeof(SAME) / sizeof(SAME[0]); i++) {
        AUTO_TEXT text =
            x_format(MAPPINGS("{ table = \"%s\"; },\n{ table = \"%s\"; }"), SAME[i][0], SAME[i][1]);
        Loading loading;
        loading_begin(&loading);
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.problems.count, 1, "%s", SAME[i][1]);
        AUTO_TEXT problem = loading_problem(&loading, 0);
        cr_assert_eq(strncmp(problem, "main.conf:4: table \"", 20), 0, "%s", problem);
        cr_assert_not_null(strstr(problem, " is mapped already at "), "%s", problem);
        cr_assert_not_null(strstr(problem, "main.conf:3"), "%s", problem);
        loading_end(&loading);
    }
    assert_loads(MAPPINGS("{ table = \"public.item\"; }, { table = \"public.\\\"Item\\\"\"; }"));
    assert_loads(MAPPINGS("{ table = \"public.*\"; }, { table = \"public.\\\"*\\\"\"; }"));
}

Test(mapping_rules, a_topic_is_made_of_what_is_known)
{
    assert_loads(ONE("topic = \"${prefix}_${database}-${schema}.${table}\";"));
    ASSERT_PROBLEMS(ONE("topic = \"${tabel}\";"),
                    "main.conf:3: topic template \"${tabel}\": there is no ${tabel}; did you mean "
                    "${table}?");
    ASSERT_PROBLEMS(ONE("topic = \"x.${id}\";"),
                    "main.conf:3: topic template \"x.${id}\": there is no ${id}");
    ASSERT_PROBLEMS(ONE("topic = \"x.${table\";"),
                    "main.conf:3: topic template \"x.${table\": \"${\" has no closing \"}\"");
    ASSERT_PROBLEMS(ONE("topic = \"x.$table\";"),
                    "main.conf:3: topic \"x.$table\" contains a character that Kafka does not "
                    "allow");
    ASSERT_PROBLEMS(ONE("topic = \"$${x}\";"),
                    "main.conf:3: topic \"$${x}\" contains a character that Kafka does not allow");
    ASSERT_PROBLEMS(ONE("topic = \"\";"),
                    "main.conf:3: \"pipelines.mappings.topic\" must not be empty");
    ASSERT_PROBLEMS(ONE("topic = \"..\";"), "main.conf:3: topic \"..\" can never be the name of a "
                                            "topic: Kafka does not allow it");
    /* the prefix counts, and of a name that is not known one character */
    AUTO_TEXT fits = x_format(ONE("topic = \"${prefix}%0244d${table}\";"), 0);
    assert_loads(fits);
    AUTO_TEXT beyond = x_format(ONE("topic = \"${prefix}%0245d${table}\";"), 0);
    AUTO_TEXT problem = x_format("main.conf:3: topic \"${prefix}%0245d${table}\" can never be the "
                                 "name of a topic: it is longer than 249 bytes",
                                 0);
    ASSERT_PROBLEMS(beyond, problem);
}

Test(mapping_rules, the_tables_of_a_pattern_share_a_topic_only_with_keys_of_their_own)
{
    static const char SHARED[] = MAPPINGS("{ table = \"public.stock_*\"; topic = \"stock\"; }");
    ASSERT_PROBLEMS(SHARED, "main.conf:3: the tables of \"public.stock_*\" share the topic "
                            "\"stock\": rows of different tables could have the same key");
    assert_remedy(SHARED, "add key_table = true, or key");
    ASSERT_PROBLEMS(MAPPINGS("{ table = \"t_?.item\"; topic = \"${prefix}.${table}\"; }"),
                    "main.conf:3: the tables of \"t_?.item\" share the topic "
                    "\"${prefix}.${table}\": rows of different tables could have the same key");
    assert_loads(MAPPINGS("{ table = \"public.stock_*\"; topic = \"stock\"; key_table = true; }"));
    assert_loads(MAPPINGS("{ table = \"public.stock_*\"; topic = \"stock\"; key = [ \"id\" ]; }"));
    assert_loads(MAPPINGS("{ table = \"public.stock_*\"; topic = \"stock.${table}\"; }"));
    assert_loads(MAPPINGS("{ table = \"t_?.item\"; topic = \"item.${schema}\"; }"));
    assert_loads(MAPPINGS("{ table = \"public.\\\"stock_*\\\"\"; topic = \"stock\"; }"));
}

#define TWO(first, second)                                                                         \
    MAPPINGS("{ table = \"a.x\"; " first " },\n{ table = \"b.x\"; " second " }")

Test(mapping_rules, two_mappings_share_a_topic_only_with_keys_of_their_own)
{
    static const char SHARED[] = TWO("topic = \"t\";", "topic = \"t\";");
    ASSERT_PROBLEMS(SHARED, "main.conf:4: \"a.x\" and \"b.x\" share the topic \"t\": their rows "
                            "could have the same key");
    assert_remedy(SHARED, "add key_table = true to one of them");
    ASSERT_PROBLEMS(
        TWO("topic = \"shop.x\";", "topic = \"${prefix}.${table}\";"),
        "main.conf:4: \"a.x\" and \"b.x\" share the topic \"${prefix}.${table}\": their "
        "rows could have the same key");
    ASSERT_PROBLEMS(TWO("topic = \"${database}\";", "topic = \"${database}\"; key = [ \"id\" ];"),
                    "main.conf:4: \"a.x\" and \"b.x\" share the topic \"${database}\": their rows "
                    "could have the same key");
    ASSERT_PROBLEMS(TWO("topic = \"t\"; key = [ \"id\" ];", "topic = \"t\"; key = [ \"id\" ];"),
                    "main.conf:4: \"a.x\" and \"b.x\" share the topic \"t\": their rows could have "
                    "the same key");
    assert_loads(TWO("topic = \"t\"; key = [ \"id\" ];", "topic = \"t\"; key = [ \"no\" ];"));
    assert_loads(TWO("topic = \"t\"; key_table = true;", "topic = \"t\";"));
    assert_loads(TWO("topic = \"${schema}\";", "topic = \"${schema}\";"));
    assert_loads(TWO("", ""));
}

Test(mapping_rules, operations_are_letters)
{
    assert_loads(ONE("operations = \"tduc\";"));
    ASSERT_PROBLEMS(ONE("operations = \"cux\";"),
                    "main.conf:3: \"pipelines.mappings.operations\" cannot be \"cux\": \"x\" is "
                    "none of its letters");
    ASSERT_PROBLEMS(ONE("operations = \"cuc\";"),
                    "main.conf:3: \"pipelines.mappings.operations\" cannot be \"cuc\": \"c\" is "
                    "there twice");
    ASSERT_PROBLEMS(ONE("operations = \"\";"),
                    "main.conf:3: \"pipelines.mappings.operations\" must not be empty");
    assert_remedy(ONE("operations = \"C\";"),
                  "write each letter once, of \"c\" | \"u\" | \"d\" | \"t\"");
}
