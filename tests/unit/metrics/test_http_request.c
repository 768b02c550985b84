#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/http_request.h"

/* The bytes are copied into a block of exactly their size, so that a read beyond is caught. */
static int parse(const char *bytes, size_t length, char *path, char *query, bool *head)
{
    char *exact = malloc(length > 0 ? length : 1);
    memcpy(exact, bytes, length);
    HttpRequest request = {0};
    int code = http_request_parse(exact, length, &request);
    if (code == 200 && path != NULL) {
        snprintf(path, 128, "%.*s", SLICE_ARG(request.path));
        snprintf(query, 128, "%.*s", SLICE_ARG(request.query));
        *head = request.head;
    }
    free(exact);
    return code;
}

static int code_of(const char *text)
{
    return parse(text, strlen(text), NULL, NULL, NULL);
}

static void expect(const char *text, const char *path, const char *query, bool head)
{
    char got_path[128];
    char got_query[128];
    bool got_head = !head;
    cr_assert_eq(parse(text, strlen(text), got_path, got_query, &got_head), 200, "%s", text);
    cr_assert_str_eq(got_path, path);
    cr_assert_str_eq(got_query, query);
    cr_assert_eq(got_head, head);
}

Test(http_request, path_query_and_method_are_read)
{
    expect("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "/metrics", "", false);
    expect("HEAD /readyz?verbose HTTP/1.0\r\n\r\n", "/readyz", "verbose", true);
    expect("GET /a?b?c HTTP/1.1\nHost: x\nA:\tb\n\n", "/a", "b?c", false);
    expect("GET http://host:9480/status HTTP/1.1\r\nHost: host\r\n\r\n", "/status", "", false);
    expect("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "/", "", false);
}

Test(http_request, other_methods_are_refused_before_their_body)
{
    cr_assert_eq(code_of("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), 405);
    cr_assert_eq(code_of("OPTIONS * HTTP/1.1\r\n\r\n"), 405);
    cr_assert_eq(code_of("get /metrics HTTP/1.1\r\n\r\n"), 405);
    cr_assert_eq(code_of("GETS /metrics HTTP/1.1\r\n\r\n"), 405);
}

Test(http_request, announced_body_is_refused)
{
    cr_assert_eq(code_of("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"), 413);
    cr_assert_eq(code_of("GET / HTTP/1.1\r\ncontent-length: 0, 5\r\n\r\n"), 413);
    cr_assert_eq(code_of("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 413);
}

Test(http_request, malformed_heads_are_refused)
{
    const char *bad[] = {
        "\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET / HTTP/11\r\n\r\n",
        "GET metrics HTTP/1.1\r\n\r\n",
        "GET http://host HTTP/1.1\r\n\r\n",
        "GET http://ho\x01st/x HTTP/1.1\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\n\r\n",
        "G@T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: value\r\n\r\n",
        "GET / HTTP/1.1\r\nName : value\r\n\r\n",
        "GET / HTTP/1.1\r\nName: value\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nName: va\x01lue\r\n\r\n",
        "GET / HTTP/1.1\r\nName: va\rlue\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(code_of(bad[i]), 400, "accepted or another code: %s", bad[i]);
    }
    static const char NUL[] = "GET /a\0b HTTP/1.1\r\n\r\n";
    cr_assert_eq(parse(NUL, sizeof(NUL) - 1, NULL, NULL, NULL), 400);
}

Test(http_request, other_versions_are_refused)
{
    cr_assert_eq(code_of("GET / HTTP/2.0\r\n\r\n"), 505);
    cr_assert_eq(code_of("GET / HTTP/0.9\r\n\r\n"), 505);
}

static const char WHOLE[] =
    "GET /readyz?verbose HTTP/1.1\r\nHost: 127.0.0.1:9480\r\nUser-Agent: probe/1\r\n\r\n";

Test(http_request, head_cut_at_any_byte_is_neither_complete_nor_accepted)
{
    size_t whole = sizeof(WHOLE) - 1;
    for (size_t length = 0; length < whole; length++) {
        cr_assert_eq(http_request_end(WHOLE, length, 0), 0, "length %zu", length);
        cr_assert_neq(parse(WHOLE, length, NULL, NULL, NULL), 200, "length %zu", length);
    }
    cr_assert_eq(http_request_end(WHOLE, whole, 0), whole);
}

Test(http_request, end_is_found_wherever_the_bytes_were_split)
{
    size_t whole = sizeof(WHOLE) - 1;
    for (size_t split = 0; split < whole; split++) {
        cr_assert_eq(http_request_end(WHOLE, whole, split), whole, "split at %zu", split);
    }
    cr_assert_eq(http_request_end("a\n\nrest", 7, 0), 3);
}

Test(http_request, any_changed_byte_gives_a_defined_answer)
{
    char bytes[sizeof(WHOLE)];
    for (size_t at = 0; at < sizeof(WHOLE) - 1; at++) {
        for (int value = 0; value < 256; value++) {
            memcpy(bytes, WHOLE, sizeof(WHOLE));
            bytes[at] = (char)value;
            int code = parse(bytes, sizeof(WHOLE) - 1, NULL, NULL, NULL);
            cr_assert(code == 200 || code == 400 || code == 405 || code == 413 || code == 505,
                      "byte %zu = %d gives %d", at, value, code);
        }
    }
}

static bool is_local(const char *text, const char *own)
{
    HttpRequest request = {0};
    cr_assert_eq(http_request_parse(text, strlen(text), &request), 200, "%s", text);
    return http_request_is_local(&request, own);
}

Test(http_request, a_loopback_listener_answers_to_its_own_names_only)
{
    static const char *const OURS[] = {"localhost",      "LocalHost:9480", "127.0.0.1",
                                       "127.0.0.1:9480", "[::1]:1",        "[::1]",
                                       "127.0.0.5:80",   "localhost:"};
    static const char *const STRANGERS[] = {"evil.example",
                                            "evil.example:9480",
                                            "localhost.evil.example",
                                            "127.0.0.1.nip.io:9480",
                                            "127.0.0.2",
                                            "0.0.0.0:9480",
                                            "::1",
                                            "[::2]:9480",
                                            "",
                                            "localhost:9480:1",
                                            "localhost@evil",
                                            "localhost.",
                                            "evil:localhost"};
    for (size_t i = 0; i < sizeof(OURS) / sizeof(OURS[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", OURS[i]);
        cr_assert(is_local(text, "127.0.0.5"), "%s", OURS[i]);
    }
    for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(STRANGERS[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", STRANGERS[i]);
        cr_assert_not(is_local(text, "127.0.0.5"), "%s", STRANGERS[i]);
    }
}

Test(http_request, the_name_in_an_absolute_target_counts_too)
{
    cr_assert(is_local("GET http://localhost:1/x HTTP/1.1\r\nHost: localhost\r\n\r\n", ""));
    cr_assert_not(is_local("GET http://evil/x HTTP/1.1\r\nHost: localhost\r\n\r\n", ""));
    cr_assert_not(is_local("GET http://localhost/x HTTP/1.1\r\nHost: evil\r\n\r\n", ""));
}

Test(http_request, without_a_host_it_is_no_browser)
{
    cr_assert(is_local("GET /livez HTTP/1.0\r\n\r\n", ""));
}

Test(http_request, two_hosts_are_malformed)
{
    cr_assert_eq(code_of("GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil\r\n\r\n"), 400);
}
