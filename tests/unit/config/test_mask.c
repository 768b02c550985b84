#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "config/mask.h"

static void assert_dsn(const char *dsn, const char *expected)
{
    AUTO_TEXT masked = mask_dsn(dsn);
    cr_assert_str_eq(masked, expected);
}

static void assert_property(const char *property, const char *expected)
{
    AUTO_TEXT masked = mask_property(property);
    cr_assert_str_eq(masked, expected);
}

Test(mask, pairs_lose_passwords_and_keep_the_rest)
{
    assert_dsn("host=db password=s3cret user=relay", "host=db password=*** user=relay");
    assert_dsn("password = 's3 cr\\'et' host=db", "password = *** host=db");
    assert_dsn("password=s3\\ cret host=db", "password=*** host=db");
    assert_dsn("host=db sslpassword=x sslkey=/k", "host=db sslpassword=*** sslkey=/k");
    assert_dsn("pasword=x pwd=y", "pasword=*** ***");
    assert_dsn("host=db passfile=/home/me/.pgpass", "host=db passfile=/home/me/.pgpass");
    assert_dsn("password= host=db", "password= ***"); /* libpq: the password is "host=db" */
    assert_dsn("", "");
}

Test(mask, pairs_that_are_none_are_hidden)
{
    assert_dsn("host=db s3cret", "host=db ***");
    assert_dsn("s3cret", "***");
    assert_dsn("password='s3cret", "password=***");
    assert_dsn("S3CRET=x", "***");
    assert_dsn("%s3%c7%e7=x", "***");
    assert_dsn("password=a S3cret=b user=c", "password=*** ***");
    assert_dsn("password='a's3cret=b", "password=***");
}

Test(mask, uris_lose_the_password_of_the_authority)
{
    assert_dsn("postgresql://relay:s3cret@db:5432/shop", "postgresql://relay:***@db:5432/shop");
    assert_dsn("postgres://relay:s3cret@db", "postgres://relay:***@db");
    assert_dsn("postgresql://relay@db:5432/shop", "postgresql://relay@db:5432/shop");
    assert_dsn("postgresql://db:5432,db2:5433/shop?sslmode=require",
               "postgresql://db:5432,db2:5433/shop?sslmode=require");
    assert_dsn("postgresql://[::1]:5432/shop", "postgresql://[::1]:5432/shop");
    assert_dsn("postgresql://relay:s3cret", "postgresql://relay:***");
    assert_dsn("postgresql://:s3cret@db", "postgresql://:***@db");
}

Test(mask, uris_lose_secrets_of_the_query)
{
    assert_dsn("postgresql://db/shop?user=relay&password=s3cret&sslmode=require",
               "postgresql://db/shop?user=relay&password=***&sslmode=require");
    assert_dsn("postgresql://db/shop?pass%77ord=s3cret", "postgresql://db/shop?pass%77ord=***");
    assert_dsn("postgresql://db/shop?application_name=a@b",
               "postgresql://db/shop?application_name=a@b");
    assert_dsn("postgresql://db?password=s3@cret", "postgresql://db?password=***");
    assert_dsn("postgresql://db/shop?password=s3&cret&x", "postgresql://db/shop?password=***&***");
    assert_dsn("postgresql://db/shop?pasword=s3&pwd=cret", "postgresql://db/shop?pasword=***&***");
}

Test(mask, passwords_with_characters_that_should_have_been_escaped_do_not_leak)
{
    const char *dsns[] = {
        "postgresql://relay:s3cret@s3cret@db/shop",
        "postgresql://relay:s3cret/s3cret@db/shop",
        "postgresql://relay:s3cret?s3cret@db/shop",
        "postgresql://relay:s3cret@s3cret/s3cret@db/shop",
        "postgresql://relay:s3cret:s3cret@db/shop",
        "postgresql://relay:s3cret&s3cret@db/shop?x=y",
        "postgresql://relay:a/s3cret?s3cret@db/shop",
        "postgresql://relay:5432/s3cret?s3cret@db/shop",
        "postgresql://relay:5432/s3cret?x=s3cret@db/shop",
        "postgresql://db?pasword=x@s3cret/s3cret&user=relay",
        "postgresql://relay:a@s3cret?s3cret@db/shop",
        "postgresql://relay:a@s3cret?x=y&s3cret@db/shop",
    };
    for (size_t i = 0; i < sizeof(dsns) / sizeof(dsns[0]); i++) {
        AUTO_TEXT masked = mask_dsn(dsns[i]);
        cr_assert_null(strstr(masked, "s3cret"), "%s gave %s", dsns[i], masked);
    }
}

Test(mask, kafka_properties_are_judged_by_their_name)
{
    assert_property("sasl.password=s3cret", "sasl.password=***");
    assert_property("ssl.key.password=s3cret", "ssl.key.password=***");
    assert_property("ssl.keystore.password=s3cret", "ssl.keystore.password=***");
    assert_property("ssl.key.pem=-----BEGIN", "ssl.key.pem=***");
    assert_property("sasl.oauthbearer.client.secret=s3cret", "sasl.oauthbearer.client.secret=***");
    assert_property("sasl.oauthbearer.config=principal=x", "sasl.oauthbearer.config=***");
    assert_property("my.token=s3cret", "my.token=***");
    assert_property("compression.type=lz4", "compression.type=lz4");
    assert_property("sasl.username=relay", "sasl.username=relay");
    assert_property("s3cret", "***");
    assert_property("czNjcmV0Cg==", "***");
}

Test(mask, every_truncation_of_a_connection_string_keeps_the_secret)
{
    const char *dsns[] = {"host=db password='s3 cr\\'et' user=x",
                          "postgresql://relay:s3cret@db/shop?password=s3cret"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t length = 0; length <= strlen(dsns[i]); length++) {
            AUTO_TEXT dsn = x_strndup(dsns[i], length);
            AUTO_TEXT masked = mask_dsn(dsn);
            cr_assert_null(strstr(masked, "s3"), "%s gave %s", dsn, masked);
        }
    }
}
