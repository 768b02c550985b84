#include <sys/stat.h>

#include "config/source.h"
#include "loading.h"

Test(source, integers_that_libconfig_would_wrap_are_refused_where_they_stand)
{
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; batch_events = 4294967297; } );\n",
                    "main.conf:2: \"batch_events\" cannot be 4294967297: it does not fit into a "
                    "32-bit integer");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; batch_events = 99999999999; } );\n",
                    "main.conf:2: \"batch_events\" cannot be 99999999999: it does not fit into a "
                    "32-bit integer");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\";\n batch_events = 0x100000001; } );\n",
                    "main.conf:3: \"batch_events\" cannot be 0x100000001: it does not fit into a "
                    "32-bit integer");
    ASSERT_PROBLEMS(BASICS
                    "pipelines: ( { name = \"a\"; batch_events = 18446744073709551617L; } );\n",
                    "main.conf:2: \"batch_events\" cannot be 18446744073709551617L: it does not "
                    "fit into a 64-bit integer");
    ASSERT_PROBLEMS(
        BASICS "pipelines: ( { name = \"a\"; lease = 1; batch_events = 4294967297; } );\n",
        "main.conf:2: \"batch_events\" cannot be 4294967297: it does not fit into a 32-bit integer",
        "main.conf:2: \"pipelines.lease\" is a number, but must be a duration");
}

Test(source, a_64_bit_literal_is_judged_by_the_range_of_its_option)
{
    assert_loads(BASICS "pipelines: ( { name = \"a\"; batch_events = 5000L; } );\n");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; batch_events = 4294967297L; } );\n",
                    "main.conf:2: \"pipelines.batch_events\" is out of range: 4294967297");
    ASSERT_PROBLEMS(BASICS "pipelines: ( { name = \"a\"; batch_events = -2147483648; } );\n",
                    "main.conf:2: \"pipelines.batch_events\" is out of range: -2147483648");
}

Test(source, numbers_in_comments_strings_and_names_are_nobody_s_business)
{
    assert_loads("# 99999999999\n// 99999999999\n/* 99999999999\n \" 99999999999 */\n" BASICS
                 "pipelines: ( { name = \"a99999999999\"; topic = \"t99999999999\"\n"
                 " /* 99999999999 */ \"99999999999\"; source = \"\\\"99999999999\"; } );\n");
}

Test(source, places_inside_of_included_files_name_those_files)
{
    Loading loading;
    loading_begin(&loading);
    AUTO_TEXT sub = x_format("mkdir %s/sub", loading.directory);
    cr_assert_eq(system(sub), 0);
    loading_write(&loading, "sub/log.conf",
                  "// one\nlog: { levle = \"info\"; };\n"
                  "@include \"deep.conf\"\nlot = 3;\n");
    loading_write(&loading, "sub/deep.conf", "nam = \"x\";");
    loading_run(&loading, BASICS "  @include \"sub/log.conf\"\n" PIPELINE "moniter = 1;\n", NULL,
                NULL);
    const char *expected[] = {
        "sub/log.conf:2: unknown option \"log.levle\"; did you mean \"log.level\"?",
        "sub/deep.conf:1: unknown option \"nam\"; did you mean \"name\"?",
        "sub/log.conf:4: unknown option \"lot\"; did you mean \"log\"?",
        "main.conf:4: unknown option \"moniter\"; did you mean \"monitor\"?",
    };
    cr_assert_eq(loading.problems.count, 4);
    for (size_t i = 0; i < 4; i++) {
        AUTO_TEXT problem = loading_problem(&loading, i);
        cr_assert_str_eq(problem, expected[i]);
    }
    loading_end(&loading);
}

Test(source, an_include_that_cannot_be_read_is_named_where_it_is_asked_for)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE "@include \"nope.conf\"\n", NULL, NULL);
    cr_assert_eq(loading.problems.count, 1);
    AUTO_TEXT problem = loading_problem(&loading, 0);
    cr_assert_eq(strncmp(problem, "main.conf:3: cannot read \"", 26), 0, "%s", problem);
    loading_end(&loading);
}

Test(source, files_that_include_each_other_end)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "a.conf", "@include \"b.conf\"\n");
    loading_write(&loading, "b.conf", "@include \"a.conf\"\n");
    loading_run(&loading, BASICS PIPELINE "@include \"a.conf\"\n", NULL, NULL);
    cr_assert_eq(loading.problems.count, 1);
    cr_assert_str_eq(loading.problems.items[0].message, "includes are nested too deeply");
    loading_end(&loading);
}

Test(source, includes_in_comments_and_strings_are_none)
{
    assert_loads("/*\n@include \"nope\"\n*/\n//@include \"nope\"\n" BASICS PIPELINE);
}

Test(source, strings_of_a_list_are_blamed_on_their_own_lines)
{
    ASSERT_PROBLEMS("database: { dsn = \"host=db\"; };\n"
                    "kafka: { brokers = \"k\"; properties = [\n"
                    " \"acks=1\",\n"
                    " // comment\n"
                    " \"compression.type=\"\n"
                    "   \"lz4\",\n"
                    "\n"
                    " \"nonsense\"\n"
                    "\n"
                    " ]; };\n" PIPELINE,
                    "main.conf:3: Kafka property \"acks\" is refused: an event counts as published "
                    "only when all in-sync replicas have it",
                    "main.conf:8: item 3 of kafka.properties is not a key=value pair");
}

Test(source, groups_in_brackets_are_a_list)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "routes.conf", "{ event_type = \"b\"; topic = \"[ {\"; }\n");
    loading_run(&loading,
                BASICS "pipelines: [ # [ {\n"
                       "  // of two lines: [\n"
                       "  /* [ { */ {\n"
                       "    name = \"a\"; topic = \"]\"; header_columns = [\n"
                       " \"[{\" ]; routes = [ {\n"
                       "    event_type = \"a\"; topic = \"${{}\"; },\n"
                       "@include \"routes.conf\"\n"
                       " ]; } ];\n",
                NULL, NULL);
    /* the lines are those of the file, and what is in strings is what was written */
    static const char *const EXPECTED[] = {
        "main.conf:5: topic \"]\" contains a character that Kafka does not allow",
        "main.conf:7: topic template \"${{}\"",
        "routes.conf:1: topic \"[ {\" contains a character that Kafka does not allow",
    };
    for (size_t i = 0; i < 3; i++) {
        AUTO_TEXT problem = loading_problem(&loading, i);
        cr_expect_eq(strncmp(problem, EXPECTED[i], strlen(EXPECTED[i])), 0, "%s", problem);
    }
    loading_end(&loading);
}

Test(source, groups_in_brackets_are_nested_as_lists_are)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading,
                BASICS "pipelines: [{ name = \"a\"; capture = \"tables\"; topic_prefix = \"p\";\n"
                       "mappings = [ { table = \"s.t\"; key = [ \"id\" ];\n"
                       " mask_columns = [ { column = \"a\"; characters = 1; },\n"
                       "                  { column = \"b\"; characters = 2; } ];\n"
                       " truncate_columns = [ ]; columns = [ \"id\", \"a\", \"b\" ]; },\n"
                       "{ table = \"s.u\"; } ]; } ];\n",
                NULL, NULL);
    const TablesConfig *tables = &loading_config(&loading)->pipelines[0].tables;
    cr_assert_eq(tables->mapping_count, 2);
    cr_assert_eq(tables->mappings[0].mask_count, 2);
    cr_assert_str_eq(tables->mappings[0].masks[1].column, "b");
    cr_assert_eq(tables->mappings[0].cut_count, 0);
    cr_assert_eq(tables->mappings[0].columns.count, 3);
    loading_end(&loading);
}

Test(source, a_bracket_still_closes_only_its_own_kind)
{
    static const char *const BAD[] = {
        "pipelines: [ { name = \"a\"; } );\n", "pipelines: ( { name = \"a\"; } ];\n",
        "pipelines: [ [ { name = \"a\"; } ] ];\n",
        "pipelines: ( { name = \"a\"; routes = [ { topic = \"t\"; } ); } );\n",
        "pipelines: [ \"a\", { name = \"a\"; } ];\n"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        AUTO_TEXT text = x_format(BASICS "%s", BAD[i]);
        ASSERT_PROBLEMS(text, "main.conf:2: syntax error");
    }
    /* deeper than brackets are known by kind: nothing is turned */
    AUTO_BUFFER deep = TEXT_EMPTY;
    text_add(&deep, BASICS "x = ");
    for (size_t i = 0; i < 40; i++) {
        text_add(&deep, "(");
    }
    text_add(&deep, "[ { } ]");
    ASSERT_PROBLEMS(deep.data, "main.conf:2: syntax error");
}

Test(source, any_truncation_or_change_of_a_byte_is_survived)
{
    static const char TEXT[] =
        BASICS "@include \"x\"\n/* c */ pipelines: ( { name = \"a\\\"b\"\n"
               "\"c\"; lease = \"1s\"; batch_events = 12L; }\n"
               ", { name = \"d\"; routes = [ { topic = \"t\"; } ]; } ); # end\n";
    for (size_t length = 0; length <= sizeof(TEXT) - 1; length++) {
        Loading loading;
        loading_begin(&loading);
        AUTO_TEXT text = x_strndup(TEXT, length);
        if (length > 0) {
            text[length - 1] = "\"\\*/@\n{09x"[length % 10];
        }
        loading_run(&loading, text, NULL, NULL);
        cr_assert_eq(loading.status == OK, loading.problems.errors == 0);
        loading_end(&loading);
    }
}

static void assert_beyond(const char *text, const char *expected)
{
    Loading loading;
    loading_begin(&loading);
    loading_write(&loading, "self.conf", "@include \"twice.conf\"\n@include \"twice.conf\"\n");
    loading_write(&loading, "twice.conf", "# nothing\n");
    loading_run(&loading, text, NULL, NULL);
    cr_assert_eq(loading.problems.count, 1, "%zu: %s", loading.problems.count, expected);
    cr_assert_str_eq(loading.problems.items[0].message, expected);
    loading_end(&loading);
}

static char *many(const char *before, const char *piece, size_t count, const char *after)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, BASICS PIPELINE);
    text_add(&text, before);
    for (size_t i = 0; i < count; i++) {
        text_add(&text, piece);
    }
    text_add(&text, after);
    return x_strdup(text.data);
}

Test(source, what_is_far_too_much_ends_at_once, .timeout = 20)
{
    AUTO_TEXT files = many("", "@include \"self.conf\"\n", 60, "");
    AUTO_TEXT properties = many("x = [", "\"a=b\",", 50000, "\"c=d\" ];");
    AUTO_TEXT groups = many("x = (", "{},", 20000, "{});");
    AUTO_TEXT open = many("x = ", "(", 500000, "");
    AUTO_TEXT names = many("", "abc = 1;\n", 151, "");
    AUTO_TEXT name = many("", "abcdefgh", 10, " = 1;");
    AUTO_TEXT nested = many("x = ", "{ a = ", 149, "1");
    assert_beyond(files, "more than 100 files are included");
    assert_beyond(properties, "the configuration holds more than 20000 names and values");
    assert_beyond(groups, "the configuration holds more than 20000 names and values");
    assert_beyond(open, "the configuration holds more than 20000 names and values");
    assert_beyond(names, "one group holds more than 150 names");
    assert_beyond(name, "a name is longer than 63 characters");
    assert_beyond(nested, "syntax error");
}

Test(source, only_regular_files_are_read, .timeout = 20)
{
    assert_beyond("@include \"/dev/zero\"\n",
                  "cannot read \"/dev/zero\": it is a device, not a regular file");
    Loading loading;
    loading_begin(&loading);
    AUTO_TEXT fifo = x_format("%s/fifo", loading.directory);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    ConfigOverrides overrides = {.file = fifo};
    loading_run(&loading, NULL, &overrides, NULL);
    cr_assert_not_null(strstr(loading.problems.items[0].message, "it is a FIFO or pipe"));
    loading_end(&loading);
}
