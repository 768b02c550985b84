#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/timestamp.h"
#include "token/token_output.h"

#define NOW_US INT64_C(1764370000000000) /* 2025-11-28T22:46:40Z */
#define SECOND INT64_C(1000000)

static TokenContent read_ok(const char *text)
{
    TokenContent content = {0};
    AUTO_ERROR err = {0};
    Status status = token_output_read(text, strlen(text), NOW_US, &content, &err);
    cr_assert_eq(status, OK, "%s: %s", text, error_message(&err));
    return content;
}

static void assert_secret(const char *text, const char *secret)
{
    TokenContent content = read_ok(text);
    cr_assert_str_eq(content.secret, secret);
    cr_assert_eq(content.expires_us, 0);
    token_content_free(&content);
}

static void assert_life(const char *text, int64_t expires_us)
{
    TokenContent content = read_ok(text);
    cr_assert_str_eq(content.secret, "s3");
    cr_assert_eq(content.expires_us, expires_us, "%s: %lld", text, (long long)content.expires_us);
    token_content_free(&content);
}

static void assert_invalid(const char *text, size_t length, const char *message)
{
    TokenContent content = {0};
    AUTO_ERROR err = {0};
    cr_assert_eq(token_output_read(text, length, NOW_US, &content, &err), FAILED, "%s", text);
    cr_assert_eq(err.code, CODE_TOKEN_OUTPUT_INVALID);
    cr_assert_null(content.secret);
    cr_assert_not_null(strstr(error_message(&err), message), "%s: %s", text, error_message(&err));
    cr_assert_null(strstr(error_message(&err), "hush"), "%s", error_message(&err));
}
#define ASSERT_INVALID(text, message) assert_invalid(text, strlen(text), message)

Test(token_output, a_secret_alone_is_one_line_without_the_space_around_it)
{
    assert_secret("s3", "s3");
    assert_secret("\n  s3 \r\n\n", "s3");
    assert_secret("with a blank", "with a blank");
    assert_secret("qu'o\"ted\\$", "qu'o\"ted\\$");
    assert_secret("[1]", "[1]");
}

Test(token_output, what_is_no_secret_is_refused_and_not_repeated)
{
    ASSERT_INVALID("", "printed nothing");
    ASSERT_INVALID(" \r\n\t", "printed nothing");
    ASSERT_INVALID("hush\nhush", "several lines");
    ASSERT_INVALID("hush\rhush", "several lines");
    assert_invalid("hu\0sh", 5, "a NUL byte");
    ASSERT_INVALID("{hush}", "begins as a JSON object");
    ASSERT_INVALID("{\"token\": \"hush\"", "begins as a JSON object");
    ASSERT_INVALID("{\"token\": \"hush\"} hush", "begins as a JSON object");
    ASSERT_INVALID("{\"token\": \"hush\", \"token\": \"hush\"}", "begins as a JSON object");
    ASSERT_INVALID("{\"tokens\": \"hush\"}", "without token");
    ASSERT_INVALID("{\"token\": null}", "without token");
    ASSERT_INVALID("{\"token\": \"\"}", "token is not a text");
    ASSERT_INVALID("{\"password\": 7}", "password is not a text");
    ASSERT_INVALID("{\"token\": \"hush\\nhush\"}", "token is not a text");
    ASSERT_INVALID("{\"token\": \"hush\", \"password\": \"hush\"}", "more than one");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_in\": \"soon\"}", "expires_in");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_in\": -1}", "expires_in");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_in\": 1e18}", "expires_in");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_at\": \"2026-11-28 09:12:44\"}", "its zone");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_on\": \"tomorrow\"}", "expires_on");
    ASSERT_INVALID("{\"token\": \"hush\", \"expires_on\": true}", "expires_on");
    ASSERT_INVALID("{\"token\": \"hush\", \"extensions\": [1]}", "extensions");
    ASSERT_INVALID("{\"token\": \"hush\", \"extensions\": {\"a\": 1}}", "extension");
}

Test(token_output, truncated_json_is_no_secret_at_any_byte)
{
    static const char WHOLE[] =
        "{\"token\": \"hush\", \"expires_in\": 60, \"extensions\": {\"a\": \"b\"}}";
    for (size_t length = 1; length < strlen(WHOLE); length++) {
        assert_invalid(WHOLE, length, "printed");
    }
}

Test(token_output, each_usual_name_is_known)
{
    assert_secret("{\"token\": \"s3\"}", "s3");
    assert_secret("{\"password\": \"s3\", \"x\": [1]}", "s3");
    assert_secret("{\"access_token\": \"s3\", \"token_type\": \"Bearer\"}", "s3");
    assert_secret(" {\"accessToken\": \"s3\"}\n", "s3");
}

Test(token_output, a_life_is_told_in_seconds_or_by_its_end)
{
    assert_life("{\"token\": \"s3\", \"expires_in\": 60}", NOW_US + 60 * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_in\": \"86399\"}", NOW_US + 86399 * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_at\": 1764373600}", INT64_C(1764373600) * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_on\": \"1764373600\"}",
                INT64_C(1764373600) * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_at\": 1764373600123}", INT64_C(1764373600123000));
    assert_life("{\"token\": \"s3\", \"expires_at\": \"2025-11-28T23:46:40Z\"}",
                INT64_C(1764373600) * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_at\": \"2025-11-29t00:46:40.123456789+01:00\"}",
                INT64_C(1764373600123456));
    assert_life("{\"token\": \"s3\", \"expires_in\": 60, \"expires_at\": 1764373600}",
                NOW_US + 60 * SECOND);
    assert_life("{\"token\": \"s3\", \"expires_in\": null}", 0);
}

/* {"alg":"none"} . {"sub":"relay","exp":1764373600} */
#define JWT "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSIsImV4cCI6MTc2NDM3MzYwMH0."

Test(token_output, a_jwt_says_its_end_and_its_principal)
{
    TokenContent content = read_ok(JWT "\n");
    cr_assert_str_eq(content.secret, JWT);
    cr_assert_str_eq(content.principal, "relay");
    cr_assert_eq(content.expires_us, INT64_C(1764373600) * SECOND);
    token_content_free(&content);

    content = read_ok("{\"token\": \"" JWT "\", \"expires_in\": 5, \"principal\": \"p\"}");
    cr_assert_str_eq(content.principal, "p");
    cr_assert_eq(content.expires_us, NOW_US + 5 * SECOND);
    token_content_free(&content);
}

Test(token_output, what_only_looks_like_a_jwt_is_a_secret_as_any_other)
{
    assert_secret("a.b.c", "a.b.c");
    assert_secret("a.!!.c", "a.!!.c");
    assert_secret("..", "..");
    assert_secret("a.e30.c", "a.e30.c");
}

Test(token_output, extensions_are_names_and_texts)
{
    TokenContent content =
        read_ok("{\"token\": \"s3\", \"extensions\": {\"logicalCluster\": \"lkc-1\"}}");
    cr_assert_eq(content.extensions.count, 2);
    cr_assert_str_eq(content.extensions.items[0], "logicalCluster");
    cr_assert_str_eq(content.extensions.items[1], "lkc-1");
    token_content_free(&content);
}
