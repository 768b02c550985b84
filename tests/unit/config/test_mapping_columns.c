#include "loading.h"

/* One mapping, whose options are on line 3. */
#define ONE(options)                                                                               \
    BASICS "pipelines: ( { name = \"a\"; capture = \"tables\"; topic_prefix = \"shop\";\n"         \
           "mappings = ( { table = \"public.item\"; " options " } ); } );\n"
#define MASK(column) "mask_columns = [ { column = \"" column "\"; characters = 4; } ]; "
#define CUT(column)  "truncate_columns = [ { column = \"" column "\"; characters = 4; } ]; "
#define HASH(column) "hash_columns = [ \"" column "\" ]; hash_salt = \"s\"; "

Test(mapping_columns, columns_are_chosen_or_left_out)
{
    assert_loads(ONE("columns = [ \"id\", \"name\" ];"));
    assert_loads(ONE("exclude_columns = [ \"note\" ];"));
    ASSERT_PROBLEMS(ONE("columns = [ \"id\" ]; exclude_columns = [ \"note\" ];"),
                    "main.conf:3: \"public.item\" has both columns and exclude_columns");
}

Test(mapping_columns, a_column_is_named_once_in_a_list)
{
    ASSERT_PROBLEMS(ONE("columns = [ \"id\", \"id\" ];"),
                    "main.conf:3: columns of \"public.item\" names column \"id\" twice");
    ASSERT_PROBLEMS(ONE("key = [ \"\" ];"),
                    "main.conf:3: key of \"public.item\" names a column without a name");
    ASSERT_PROBLEMS(ONE("mask_columns = ( { column = \"a\"; characters = 1; },\n"
                        "{ column = \"a\"; characters = 2; } );"),
                    "main.conf:3: mask_columns of \"public.item\" names column \"a\" twice");
}

Test(mapping_columns, a_value_is_changed_in_one_way)
{
    assert_loads(ONE(MASK("a") CUT("b") HASH("c")));
    ASSERT_PROBLEMS(ONE(MASK("a") CUT("a")), "main.conf:3: column \"a\" of \"public.item\" is in "
                                             "both mask_columns and truncate_columns");
    ASSERT_PROBLEMS(ONE(MASK("a") HASH("a")), "main.conf:3: column \"a\" of \"public.item\" is in "
                                              "both mask_columns and hash_columns");
    ASSERT_PROBLEMS(ONE(CUT("a") HASH("a")), "main.conf:3: column \"a\" of \"public.item\" is in "
                                             "both truncate_columns and hash_columns");
}

Test(mapping_columns, a_key_has_the_values_of_the_row)
{
    static const char KEY[] = "main.conf:3: key column \"id\" of \"public.item\" is in ";
    static const struct {
        const char *options;
        const char *list;
    } CASES[] = {
        {MASK("id"), "mask_columns"},
        {CUT("id"), "truncate_columns"},
        {HASH("id"), "hash_columns"},
        {"exclude_columns = [ \"id\" ];", "exclude_columns"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO_TEXT text = x_format(ONE("key = [ \"no\", \"id\" ]; %s"), CASES[i].options);
        AUTO_TEXT problem =
            x_format("%s%s: records could not be told apart by it", KEY, CASES[i].list);
        ASSERT_PROBLEMS(text, problem);
    }
    ASSERT_PROBLEMS(ONE("key = [ \"id\" ]; columns = [ \"name\" ];"),
                    "main.conf:3: key column \"id\" of \"public.item\" is not among its columns");
    assert_loads(ONE("key = [ \"id\" ]; columns = [ \"name\", \"id\" ];" MASK("name")));
}

Test(mapping_columns, hashes_have_a_salt)
{
    static const char MISSING[] =
        "main.conf:3: hash_columns of \"public.item\" need hash_salt: without one, whoever guesses "
        "a value can prove it";
    ASSERT_PROBLEMS(ONE("hash_columns = [ \"a\" ];"), MISSING);
    ASSERT_PROBLEMS(ONE("hash_columns = [ \"a\" ]; hash_salt = \"\";"), MISSING);
    ASSERT_PROBLEMS(ONE("hash_salt = \"s\";"), "main.conf:3: hash_salt of \"public.item\" has no "
                                               "effect without hash_columns");
}

Test(mapping_columns, a_length_is_a_number_of_a_column)
{
    static const char IN[] = " in mask 1 of mapping 1 of pipeline \"a\"";
    AUTO_TEXT no_column = x_format("main.conf:3: no \"column\"%s", IN);
    AUTO_TEXT no_length = x_format("main.conf:3: no \"characters\"%s", IN);
    ASSERT_PROBLEMS(ONE("mask_columns = [ { characters = 4; } ];"), no_column);
    ASSERT_PROBLEMS(ONE("mask_columns = [ { column = \"a\"; } ];"), no_length);
    ASSERT_PROBLEMS(ONE("mask_columns = [ \"a\" ];"),
                    "main.conf:3: \"pipelines.mappings.mask_columns\" is an array [ ], but must be "
                    "a list of groups");
    ASSERT_PROBLEMS(ONE("truncate_columns = [ { column = \"a\"; characters = 65537; } ];"),
                    "main.conf:3: \"pipelines.mappings.truncate_columns.characters\" is out of "
                    "range: 65537");
    ASSERT_PROBLEMS(ONE("truncate_columns = [ { column = \"a\"; characters = -1; } ];"),
                    "main.conf:3: \"pipelines.mappings.truncate_columns.characters\" is out of "
                    "range: -1");
    ASSERT_PROBLEMS(ONE("mask_columns = [ { column = \"a\"; characters = \"4\"; } ];"),
                    "main.conf:3: \"pipelines.mappings.mask_columns.characters\" is a string, but "
                    "must be a whole number");
    ASSERT_PROBLEMS(ONE("mask_columns = [ { column = \"a\"; characters = 0; length = 1; } ];"),
                    "main.conf:3: unknown option \"length\" in mask 1 of mapping 1 of pipeline "
                    "\"a\"");
    assert_loads(ONE("truncate_columns = [ { column = \"a\"; characters = 65536; } ];"));
}
