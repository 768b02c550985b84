#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "token/token_mask.h"

static void assert_shown(const char *said, const char *expected)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    token_mask_said(slice_of(said), slice_of("hush-hush"),
                    slice_of("abc\n  \"x\": \"second\"\r\nthird one\n"), &out);
    cr_assert_str_eq(text_string(&out), expected);
}

Test(token_mask, texts_for_people_are_one_line)
{
    assert_shown("", "");
    assert_shown("cannot reach\n  the server\r\n", "cannot reach the server");
    assert_shown("\x1b[31mred", "?[31mred");
}

Test(token_mask, what_equals_a_secret_is_hidden_wherever_it_stands)
{
    assert_shown("password=hush-hush, again: xhush-hushx", "password=***, again: x***x");
    assert_shown("abc is too short to be one", "abc is too short to be one");
    assert_shown("printed third one, and \"x\": \"second\"!", "printed ***, and ***!");
}

Test(token_mask, what_looks_like_a_token_is_hidden)
{
    assert_shown("got eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSJ9.c2ln!", "got ***!");
    assert_shown("key 0123456789abcdef0123456789abcdef.", "key ***");
    assert_shown("X-Amz-Signed=5e1c68c2944d7b6664d9212d0be045562c79ce456a4bcf86",
                 "X-Amz-Signed=***");
    assert_shown("AbCdEfGhIjKlMnOpQrStUvWxYz0123+/AbCdEfGhIjKlMnOpQrStUvWxYz012345==", "***");
}

Test(token_mask, a_shorter_one_of_both_cases_and_digits_is_hidden_whatever_cuts_it)
{
    assert_shown("secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is invalid",
                 "secret *** is invalid");
    assert_shown("token hvs.CAESIJ5tq0Xb3kLmPw9Z denied", "token *** denied");
    assert_shown("client_secret: Abc8Q~ssw0rdOfAnAzureApp.x-y", "client_secret: ***");
}

Test(token_mask, what_its_name_gives_away_is_hidden)
{
    static const char *const SAID[][2] = {
        {"X-Amz-Signature=5e1c&X-Amz-Date=2026", "X-Amz-Signature=***&X-Amz-Date=2026"},
        {"curl: https://user:hunter2@vault/v1/x?token=abc.def&a=b",
         "curl: https://user:***@vault/v1/x?token=***&a=b"},
        {"curl: (6) https://svc:p@ss:w@vault.internal/v1/db",
         "curl: (6) https://svc:***@vault.internal/v1/db"},
        {"https://ghp_abc@github.com/x", "https://***@github.com/x"},
        {"{\"error\":\"x\",\"client_secret\":\"Tr0ub 4dor\\\"3\"}",
         "{\"error\":\"x\",\"client_secret\":\"***\"}"},
        {"{'accessToken': 'a b', 'id': 7}", "{'accessToken': '***', 'id': 7}"},
        {"login failed for relay with password Tr0ub4dor3",
         "login failed for relay with password ***"},
        {"debug: password is relay-s3cr3t-XYZ!", "debug: password is ***"},
        {"usage: --password hunter x", "usage: --password *** x"},
        {"--db-password=hunter x", "--db-password=*** x"},
        {"Authorization: Bearer hunter2hunter2 X-Vault-Token: hvs.CA",
         "Authorization: Bearer *** X-Vault-Token: ***"},
        {"authorization: Basic \"a b\"", "authorization: Basic \"***\""},
        {"create --from-literal=password=hunter2 x", "create --from-literal=password=*** x"},
        {"--header=Authorization: Bearer x1", "--header=Authorization: Bearer ***"},
        {"msg={\\\"password\\\":\\\"hunter2\\\",\\\"id\\\":7}",
         "msg={\\\"password\\\":\\\"***\\\",\\\"id\\\":7}"},
        {"{\\\"password\\\":\\\"one\\\\\\\"two\\\",\\\"id\\\":7}",
         "{\\\"password\\\":\\\"***\\\",\\\"id\\\":7}"},
        {"{\\\"password\\\":\\\"one\\\\\\\\\\\",\\\"id\\\":7}",
         "{\\\"password\\\":\\\"***\\\",\\\"id\\\":7}"},
        {"{:password => \"x\"} password := y", "{:password => \"***\"} password := ***"},
        {"<password>x</password>", "<password>***</password>"},
        {"?sig=abc&se=1", "?sig=***&se=1"},
        {"PGPASSWORD=a; DB_PASS: b, api_key = c", "PGPASSWORD=***; DB_PASS: ***, api_key = ***"},
    };
    for (size_t i = 0; i < sizeof(SAID) / sizeof(SAID[0]); i++) {
        assert_shown(SAID[i][0], SAID[i][1]);
    }
}

Test(token_mask, a_name_without_a_secret_hides_nothing)
{
    static const char *const SAID[] = {
        "FATAL:  password authentication failed for user \"relay\"",
        "the token is expired",
        "password",
        "password:",
        "password=",
        "no password: ",
        "--token",
        "passwords differ: 3 of 4",
        "token \"\"",
        "https://vault.internal:8200/v1/auth/token/lookup: 403",
        "mail to a@b.example",
        "://",
        "x://@",
    };
    for (size_t i = 0; i < sizeof(SAID) / sizeof(SAID[0]); i++) {
        AUTO_TEXT folded = text_fold(x_strdup(SAID[i]));
        assert_shown(SAID[i], folded);
    }
}

Test(token_mask, what_helps_stays)
{
    assert_shown("/usr/lib/Python3.11/site-packages/Crypto/Cipher: no such file",
                 "/usr/lib/Python3.11/site-packages/Crypto/Cipher: no such file");
    assert_shown("cannot read ~/Library/AWS2/credentials-of-mine",
                 "cannot read ~/Library/AWS2/credentials-of-mine");
    assert_shown("An error occurred (ExpiredTokenException) when calling the GetCallerIdentity "
                 "operation: retried 3 times.",
                 "An error occurred (ExpiredTokenException) when calling the GetCallerIdentity "
                 "operation: retried 3 times.");
    assert_shown("at 2026-11-29T00:34:22Z db1.eu-west-1.rds.example.com said no",
                 "at 2026-11-29T00:34:22Z db1.eu-west-1.rds.example.com said no");
    assert_shown("/usr/lib/python3.11/site-packages/botocore/session.py: line 12",
                 "/usr/lib/python3.11/site-packages/botocore/session.py: line 12");
    assert_shown("RequestId: 0190c0de-3eda-7b40-85d3-aaf3017d3666",
                 "RequestId: 0190c0de-3eda-7b40-85d3-aaf3017d3666");
    assert_shown("https://login.example.com/oauth2/v2.0/token: 401",
                 "https://login.example.com/oauth2/v2.0/token: 401");
}

Test(token_mask, it_is_no_longer_than_its_limit)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO_BUFFER said = TEXT_EMPTY;
    for (int i = 0; i < 2000; i++) {
        text_add(&said, "\xc3\xbc ");
    }
    token_mask_said((Slice){.data = said.data, .length = said.length}, SLICE_NULL, SLICE_NULL,
                    &out);
    cr_assert_leq(out.length, TOKEN_SAID_MAX);
    cr_assert_geq(out.length, TOKEN_SAID_MAX - 8);
    cr_assert_str_eq(out.data + out.length - 4, " ...");
    AUTO_BUFFER shown = TEXT_EMPTY;
    text_add_shown(&shown, out.data, false);
    cr_assert_null(strchr(shown.data, '?'), "cut inside a character");
}
