#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metrics/address.h"

static void expect_parsed(const char *text, const char *host, int port)
{
    Address address = {0};
    AUTO_ERROR err = {0};
    cr_assert_eq(address_parse(text, &address, &err), OK, "%s: %s", text, error_message(&err));
    cr_assert_str_eq(address.host, host, "%s", text);
    cr_assert_eq(address.port, port, "%s", text);
}

Test(address, host_and_port_are_read)
{
    expect_parsed("127.0.0.1:9480", "127.0.0.1", 9480);
    expect_parsed("localhost:0", "localhost", 0);
    expect_parsed("[::1]:9480", "::1", 9480);
    expect_parsed("[::]:65535", "::", 65535);
    expect_parsed("*:9480", "", 9480);
    expect_parsed(":9480", "", 9480);
}

Test(address, what_is_not_an_address_is_refused_with_an_example)
{
    const char *bad[] = {"",
                         "9480",
                         "host",
                         "host:",
                         "host:x",
                         "host:-1",
                         "host:+1",
                         "host:65536",
                         "host: 1",
                         "host:1 ",
                         "::1:9480",
                         "[::1]",
                         "[::1]9480",
                         "[host]:1",
                         "[]:1",
                         "a:b:9480",
                         "host:99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Address address = {0};
        AUTO_ERROR err = {0};
        cr_assert_eq(address_parse(bad[i], &address, &err), FAILED, "'%s' was accepted", bad[i]);
        cr_assert_eq(err.class, ERROR_FATAL);
        cr_assert_eq(err.exit_code, EXIT_CONFIG);
        cr_assert_not_null(strstr(error_message(&err), "monitor.listen"));
        cr_assert_not_null(strstr(error_own_hint(&err), "127.0.0.1:9480"));
    }
}

Test(address, host_name_that_is_too_long_is_refused)
{
    char text[400];
    memset(text, 'a', sizeof(text));
    strcpy(text + 300, ":80");
    Address address = {0};
    cr_assert_eq(address_parse(text, &address, NULL), FAILED);
}

static int listen_on(const char *text, int *sockets, Error *err)
{
    Address address = {0};
    int count = 0;
    cr_assert_eq(address_parse(text, &address, err), OK);
    return address_listen(&address, sockets, &count, err) == OK ? count : -1;
}

Test(address, port_zero_is_any_free_port)
{
    int sockets[ADDRESS_SOCKETS_MAX];
    AUTO_ERROR err = {0};
    cr_assert_eq(listen_on("127.0.0.1:0", sockets, &err), 1, "%s", error_message(&err));
    char bound[64];
    address_of_socket(sockets[0], bound, sizeof(bound));
    cr_assert_eq(strncmp(bound, "127.0.0.1:", 10), 0);
    cr_assert_gt(atoi(bound + 10), 0);
    cr_assert(fcntl(sockets[0], F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(sockets[0], F_GETFD) & FD_CLOEXEC);
    close(sockets[0]);
}

Test(address, address_in_use_names_the_setting_the_address_and_the_remedy)
{
    int sockets[ADDRESS_SOCKETS_MAX];
    AUTO_ERROR err = {0};
    cr_assert_eq(listen_on("127.0.0.1:0", sockets, &err), 1);
    char bound[64];
    address_of_socket(sockets[0], bound, sizeof(bound));
    int second[ADDRESS_SOCKETS_MAX];
    cr_assert_eq(listen_on(bound, second, &err), -1);
    cr_assert_eq(err.code, CODE_MONITOR_ADDRESS_IN_USE);
    cr_assert_eq(err.exit_code, EXIT_CONFIG);
    cr_assert_not_null(strstr(error_message(&err), "monitor.listen"));
    cr_assert_not_null(strstr(error_message(&err), bound));
    cr_assert_not_null(strstr(error_own_hint(&err), "free port"));
    close(sockets[0]);
}

Test(address, address_of_another_machine_is_refused)
{
    int sockets[ADDRESS_SOCKETS_MAX];
    AUTO_ERROR err = {0};
    cr_assert_eq(listen_on("192.0.2.1:0", sockets, &err), -1);
    cr_assert_not_null(strstr(error_message(&err), "192.0.2.1"));
    cr_assert_not_null(strstr(error_own_hint(&err), "address of this machine"));
}

Test(address, every_address_of_a_name_is_served)
{
    int first[ADDRESS_SOCKETS_MAX];
    AUTO_ERROR err = {0};
    cr_assert_eq(listen_on("*:0", first, &err), 1);
    char bound[64];
    address_of_socket(first[0], bound, sizeof(bound));
    close(first[0]);
    char wanted[80];
    snprintf(wanted, sizeof(wanted), "*%s", strrchr(bound, ':'));
    int sockets[ADDRESS_SOCKETS_MAX];
    int count = listen_on(wanted, sockets, &err);
    cr_assert_geq(count, 1, "%s", error_message(&err));
    for (int i = 0; i < count; i++) {
        address_of_socket(sockets[i], bound, sizeof(bound));
        cr_assert_str_eq(strrchr(bound, ':'), wanted + 1);
        close(sockets[i]);
    }
}
