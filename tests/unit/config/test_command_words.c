#include "config/command_words.h"
#include "config/lists.h"
#include "loading.h"

/* The words, with '|' between them; the reason when it is none. */
static void assert_words(const char *command, const char *expected)
{
    StringList words = {0};
    const char *reason = NULL;
    AUTO_BUFFER shown = TEXT_EMPTY;
    if (command_words_split(command, &words, &reason)) {
        for (size_t i = 0; i < words.count; i++) {
            text_printf(&shown, "%s%s", i > 0 ? "|" : "", words.items[i]);
        }
    } else {
        text_printf(&shown, "! %s", reason);
    }
    cr_assert_str_eq(text_string(&shown), expected, "%s gives %s", command, text_string(&shown));
    string_list_free(&words);
}

Test(command_words, blanks_separate_and_quotes_keep_them)
{
    assert_words("/bin/x", "/bin/x");
    assert_words("  /bin/x \t a  b\n", "/bin/x|a|b");
    assert_words("/bin/x 'a b' \"c  d\"", "/bin/x|a b|c  d");
    assert_words("/bin/x --user='out boxd' pre\"a b\"'c'post",
                 "/bin/x|--user=out boxd|prea bcpost");
    assert_words("/bin/x '' \"\"", "/bin/x||");
    assert_words("/bin/x \"it's\" '\"'", "/bin/x|it's|\"");
}

Test(command_words, nothing_is_expanded)
{
    assert_words("/bin/x $HOME `id` $(id) * ~ \\n a;b | > &",
                 "/bin/x|$HOME|`id`|$(id)|*|~|\\n|a;b|||>|&");
}

Test(command_words, what_is_no_command_is_refused)
{
    assert_words("", "! it is empty");
    assert_words(" \t\n", "! it is empty");
    assert_words("/bin/x 'a", "! a quote is not closed");
    assert_words("/bin/x \"a'", "! a quote is not closed");
    assert_words("aws rds", "! its first word is not an absolute path");
    assert_words("./x", "! its first word is not an absolute path");
    assert_words("''", "! its first word is not an absolute path");
}

#define WITH_DATABASE(text)                                                                        \
    "database: { dsn = \"host=db\"; " text " }; kafka: { brokers = \"k:9092\"; };\n" PIPELINE
#define WITH_KAFKA(text)                                                                           \
    "database: { dsn = \"host=db\"; }; kafka: { brokers = \"k:9092\"; " text " };\n" PIPELINE

Test(token_rules, a_password_has_one_source)
{
    assert_loads(WITH_DATABASE("password_command = \"/bin/x\";"));
    ASSERT_PROBLEMS(WITH_DATABASE("password_command = \"/bin/x\"; password = \"s\";"),
                    "main.conf:1: database.password and database.password_command are both given");
    ASSERT_PROBLEMS(
        WITH_DATABASE("password_command = \"/bin/x\"; password_file = \"s\";"),
        "main.conf:1: database.password_file and database.password_command are both given");
    ASSERT_PROBLEMS("database: { dsn = \"host=db password=s\"; password_command = \"/bin/x\"; };\n"
                    "kafka: { brokers = \"k:9092\"; };\n" PIPELINE,
                    "main.conf:1: both database.password_command and database.dsn give a "
                    "password");
}

Test(token_rules, a_command_is_an_absolute_path_and_words)
{
    ASSERT_PROBLEMS(
        WITH_DATABASE("password_command = \"aws rds\";"),
        "main.conf:1: database.password_command is not a command: its first word is not "
        "an absolute path");
    ASSERT_PROBLEMS(
        WITH_DATABASE("password_command = \"/bin/x 'a\";"),
        "main.conf:1: database.password_command is not a command: a quote is not closed");
}

Test(token_rules, oauth_needs_its_mechanism_and_is_alone)
{
    assert_loads(WITH_KAFKA("oauth_command = \"/bin/x\"; properties = [ "
                            "\"security.protocol=SASL_SSL\", \"sasl.mechanisms=OAUTHBEARER\" ];"));
    assert_loads(WITH_KAFKA("oauth_command = \"/bin/x\"; properties = [ "
                            "\"security.protocol=sasl_plaintext\", "
                            "\"sasl.mechanism=OAUTHBEARER\" ];"));
    ASSERT_PROBLEMS(WITH_KAFKA("oauth_command = \"x\";"),
                    "main.conf:1: kafka.oauth_command is not a command: its first word is not an "
                    "absolute path",
                    "main.conf:1: kafka.oauth_command needs security.protocol=sasl_ssl (or "
                    "sasl_plaintext)",
                    "main.conf:1: kafka.oauth_command needs sasl.mechanisms=OAUTHBEARER");
    ASSERT_PROBLEMS(
        WITH_KAFKA("oauth_command = \"/bin/x\"; properties = [ \"security.protocol=ssl\", "
                   "\"sasl.mechanisms=PLAIN\" ];"),
        "main.conf:1: kafka.oauth_command needs security.protocol=sasl_ssl (or sasl_plaintext)",
        "main.conf:1: kafka.oauth_command needs sasl.mechanisms=OAUTHBEARER");
    ASSERT_PROBLEMS(
        WITH_KAFKA("oauth_command = \"/bin/x\"; properties = [ \"security.protocol=sasl_ssl\", "
                   "\"sasl.mechanisms=OAUTHBEARER\", \"sasl.oauthbearer.method=oidc\" ];"),
        "main.conf:1: kafka.oauth_command and sasl.oauthbearer.method=oidc are both given");
}

Test(token_rules, the_environment_gives_a_command)
{
    Loading loading;
    loading_begin(&loading);
    loading_run(&loading, BASICS PIPELINE, NULL,
                LOADING_ENVIRONMENT("OUTBOXD_DATABASE_PASSWORD_COMMAND=/bin/x 'a b'",
                                    "OUTBOXD_DATABASE_PASSWORD_LIFETIME=90s"));
    const Config *config = loading_config(&loading);
    cr_assert_str_eq(config->database.password_command, "/bin/x 'a b'");
    cr_assert_eq(config->database.password_lifetime_ms, 90000);
    cr_assert_eq(config->database.password_timeout_ms, 30000);
    loading_end(&loading);
}
