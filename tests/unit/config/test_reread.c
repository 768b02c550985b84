/* Properties whose ${file:} is read again after loading. */
#include "config/reread.h"
#include "loading.h"

static Loading loading;
static Config *config;

static void begin(const char *properties, char *const *environment)
{
    AUTO_TEXT text = x_format("database: { dsn = \"host=db\"; };\n"
                              "kafka: { brokers = \"k:9092\"; properties = [ %s ]; };\n" PIPELINE,
                              properties);
    loading_begin(&loading);
    loading_write(&loading, "secret", "old\n");
    loading_run(&loading, text, NULL, environment);
    config = (Config *)loading_config(&loading);
}

static void assert_value(const char *key, const char *expected)
{
    AUTO_ERROR err = {0};
    AUTO_TEXT value = NULL;
    cr_assert_eq(reread_property(config, key, &value, &err), OK, "%s", error_message(&err));
    if (expected == NULL) {
        cr_assert_null(value);
    } else {
        cr_assert_str_eq(value, expected);
    }
}

Test(reread, a_file_is_what_it_is_now)
{
    begin("\"sasl.username=relay\", \"sasl.password=x${file:secret}\"", NULL);
    assert_value("sasl.password", "xold");
    loading_write(&loading, "secret", "new\n");
    assert_value("sasl.password", "xnew");
    assert_value("sasl.username", NULL);
    assert_value("sasl.pass", NULL);
    cr_assert_str_eq(reread_written(config, "sasl.password"), "x${file:secret}");
    loading_end(&loading);
}

Test(reread, the_environment_beats_the_file_here_too)
{
    static char variable[] = "OUTBOXD_KAFKA_PROPERTY_SASL_PASSWORD=plain";
    char *environment[] = {variable, NULL};
    begin("\"sasl.password=${file:secret}\"", environment);
    assert_value("sasl.password", NULL);
    loading_end(&loading);
}

Test(reread, a_file_that_is_gone_is_named_and_may_come_back)
{
    begin("\"sasl.password=${file:secret}\"", NULL);
    AUTO_TEXT path = x_format("%s/secret", loading.directory);
    cr_assert_eq(unlink(path), 0);
    AUTO_ERROR err = {0};
    AUTO_TEXT value = NULL;
    cr_assert_eq(reread_property(config, "sasl.password", &value, &err), FAILED);
    cr_assert_eq(err.class, ERROR_RETRY);
    cr_assert_eq(err.code, CODE_KAFKA_CREDENTIALS_UNREADABLE);
    cr_assert_not_null(strstr(error_message(&err), "secret"), "%s", error_message(&err));
    loading_write(&loading, "secret", "again");
    assert_value("sasl.password", "again");
    loading_end(&loading);
}
