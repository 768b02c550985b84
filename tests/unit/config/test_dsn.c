#include <libpq-fe.h>

#include "config/dsn.h"
#include "loading.h"

static Dsn read_dsn(const char *text, char *const *environment)
{
    static char *const NOTHING[] = {NULL};
    Dsn dsn = {0};
    DsnProblem problem = {0};
    Interpolation how = {.environment = environment ? environment : NOTHING, .directory = "."};
    Status status = dsn_read(&how, text, &dsn, &problem);
    cr_assert_eq(status, OK, "%s: %s", text, problem.message ? problem.message : "");
    cr_assert_eq(dsn_check(&dsn, &problem), OK, "%s: %s", text, problem.message);
    return dsn;
}

static void assert_reads(const char *text, const char *expected)
{
    Dsn dsn = read_dsn(text, NULL);
    AUTO_TEXT written = dsn_text(&dsn);
    cr_assert_str_eq(written, expected, "%s", text);
    dsn_free(&dsn);
}

static void assert_refuses(const char *text, const char *expected)
{
    static char *const NOTHING[] = {NULL};
    Dsn dsn = {0};
    DsnProblem problem = {0};
    Interpolation how = {.environment = NOTHING, .directory = "."};
    Status status = dsn_read(&how, text, &dsn, &problem);
    status = status == OK ? dsn_check(&dsn, &problem) : FAILED;
    cr_assert_eq(status, FAILED, "%s was taken", text);
    cr_assert_not_null(strstr(problem.message, expected), "%s: %s", text, problem.message);
    cr_assert_null(strstr(problem.message, "s3"), "%s: %s", text, problem.message);
    dsn_free(&dsn);
    dsn_problem_free(&problem);
}

Test(dsn, pairs_are_read_as_libpq_reads_them)
{
    assert_reads("host=db user=relay", "host=db user=relay");
    assert_reads(" host = 'db'  user='a b'\n", "host=db user='a b'");
    assert_reads("password='it\\'s \\\\'", "password='it\\'s \\\\'");
    assert_reads("password=two\\ words", "password='two words'");
    assert_reads("password='' host=db", "password='' host=db");
    assert_reads("host=a host=b", "host=b");
    assert_reads("password= host", "password=host");
    assert_reads("password='a'host=db", "password=a host=db");
}

Test(dsn, uris_are_read_as_libpq_reads_them)
{
    assert_reads("postgresql://relay:s3%40%25@db:5432/shop?sslmode=require",
                 "user=relay password=s3@% host=db port=5432 dbname=shop sslmode=require");
    assert_reads("postgres://db,[::1]:5433/shop", "host=db,::1 port=,5433 dbname=shop");
    assert_reads("postgresql:///shop?host=/tmp", "dbname=shop host=/tmp");
    assert_reads("postgresql://%2Ftmp/shop", "host=/tmp dbname=shop");
    assert_reads("postgresql://", "postgresql://");
    assert_reads("postgresql://db?ssl=true&", "host=db sslmode=require");
    assert_reads("postgresql://u:Super$$W0rd@db", "user=u password=Super$$W0rd host=db");
}

Test(dsn, what_is_malformed_is_refused_without_a_piece_of_it)
{
    assert_refuses("postgresql://relay:100%s3cret@host/db", "'%' in the password");
    assert_refuses("postgresql://relay:s3@$$s3cret@host/db", "second '@'");
    assert_refuses("postgresql://relay:s3/s3:s3@host/db", "'@' after the '/'");
    assert_refuses("postgresql://relay:12/s3@host/db", "'@' after the '/'");
    assert_refuses("postgresql://relay:s3?s3@host?s3", "parameter 1 behind the '?'");
    assert_refuses("postgresql://db/x?password=s3=s3", "parameter 1 behind the '?'");
    assert_refuses("postgresql://db/x?pasword=s3", "did you mean \"password\"");
    assert_refuses("postgresql://db:s3:/x", "not a number");
    assert_refuses("postgresql://[::1/x", "'['");
    assert_refuses("postgresql://u:%00@db", "%00");
    assert_refuses("password=s3 s3cret", "word 2 is not a key=value pair");
    assert_refuses("host=db password='s3cret", "parameter 2 has no closing quote");
    assert_refuses("host=db pasword=s3",
                   "libpq does not know parameter 2; did you mean \"password\"?");
    assert_refuses("host=db pwd=s3", "libpq does not know parameter 2");
    assert_refuses("=s3", "word 1");
    assert_refuses("s3cret", "word 1");
    assert_refuses("port=s3", "not a number");
    assert_refuses("host=a,b port=1,2,3", "3 ports for 2 hosts");
    assert_refuses("sslmode=s3", "\"sslmode\"");
    assert_refuses("connect_timeout=5s3", "\"connect_timeout\"");
    assert_refuses("", "empty");
    assert_refuses("  ", "empty");
}

/* The password that libpq reads out of what we would give it. */
static char *libpq_password(const Dsn *dsn)
{
    AUTO_TEXT text = dsn_text(dsn);
    PQconninfoOption *options = PQconninfoParse(text, NULL);
    cr_assert_not_null(options, "%s", text);
    char *password = NULL;
    int others = 0;
    for (PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "password") == 0) {
            password = x_strdup(o->val != NULL ? o->val : "");
        } else if (o->val != NULL) {
            others++;
            cr_assert(strcmp(o->val, "db") == 0 || strcmp(o->val, "relay") == 0, "%s", o->val);
        }
    }
    cr_assert_eq(others, 2);
    PQconninfoFree(options);
    return password;
}

static const char *const ODD[] = {"two words",
                                  "a\\b",
                                  "it's \"quoted\"",
                                  "100%PASSWORD",
                                  "%41",
                                  "p@ss:w/rd?#&=",
                                  "Super@$$W0rd",
                                  "x host=elsewhere",
                                  " host=elsewhere",
                                  "' host=elsewhere '",
                                  "p\xC3\xA4ssw\xC3\xB6rt \xE2\x82\xAC",
                                  "ends with \\",
                                  "ends with blank ",
                                  "\tline\n\nends",
                                  "[::1]:5432,",
                                  "${env:OTHER}",
                                  "$${env:OTHER}",
                                  "}",
                                  "\x02\x02",
                                  "=",
                                  "postgresql://a:b@c"};
enum { ODD_COUNT = sizeof(ODD) / sizeof(ODD[0]) };

static void assert_arrives(const char *password, const char *text)
{
    AUTO_TEXT variable = x_format("PW=%s", password);
    Dsn dsn = read_dsn(text, LOADING_ENVIRONMENT(variable));
    AUTO_TEXT arrived = libpq_password(&dsn);
    cr_assert_str_eq(arrived, password, "%s", text);
    dsn_free(&dsn);
}

Test(dsn, a_reference_is_one_value_whatever_it_holds)
{
    for (size_t i = 0; i < ODD_COUNT; i++) {
        assert_arrives(ODD[i], "host=db password=${env:PW} user=relay");
        assert_arrives(ODD[i], "host=db user=relay password = ${env:PW}");
        assert_arrives(ODD[i], "host=db password='${env:PW}' user=relay");
        assert_arrives(ODD[i], "postgresql://relay:${env:PW}@db");
        assert_arrives(ODD[i], "postgresql://db?user=relay&password=${env:PW}");
    }
    assert_arrives("", "host=db password=${env:PW} user=relay");
}

Test(dsn, what_is_written_is_read_back)
{
    for (size_t i = 0; i < ODD_COUNT; i++) {
        Dsn dsn = {0};
        dsn_set(&dsn, "host", "db");
        dsn_set(&dsn, "password", ODD[i]);
        dsn_set(&dsn, "user", "relay");
        AUTO_TEXT arrived = libpq_password(&dsn);
        cr_assert_str_eq(arrived, ODD[i]);
        dsn_free(&dsn);
    }
}

Test(dsn, a_reference_that_is_all_of_it_is_the_connection_string)
{
    Dsn dsn = read_dsn(" ${env:URL}\n", LOADING_ENVIRONMENT("URL=postgresql://u:p%40@db/x\n"));
    AUTO_TEXT text = dsn_text(&dsn);
    cr_assert_str_eq(text, "user=u password=p@ host=db dbname=x");
    dsn_free(&dsn);
}

Test(dsn, references_may_stand_for_hosts_and_ports_of_a_uri)
{
    Dsn dsn = read_dsn("postgresql://${env:U}:${env:P}@${env:H}:${env:N}/${env:D}",
                       LOADING_ENVIRONMENT("U=a b", "P=x", "H=one,two", "N=5432", "D=x/y?z"));
    AUTO_TEXT text = dsn_text(&dsn);
    cr_assert_str_eq(text, "user='a b' password=x host=one,two port=,5432 dbname=x/y?z");
    dsn_free(&dsn);
}

Test(dsn, a_part_cannot_become_a_parameter)
{
    Dsn dsn = {0};
    DsnProblem problem = {0};
    Interpolation how = {.environment = LOADING_ENVIRONMENT("X=host=elsewhere"), .directory = "."};
    cr_assert_eq(dsn_read(&how, "user=a ${env:X}", &dsn, &problem), FAILED);
    cr_assert_null(strstr(problem.message, "elsewhere"));
    dsn_problem_free(&problem);
}

static void assert_shown(const char *text, const char *expected)
{
    AUTO_TEXT shown = dsn_shown(text);
    cr_assert_str_eq(shown, expected);
}

Test(dsn, what_is_shown_has_masks_and_unread_references)
{
    assert_shown("host=db password=x", "host=db password=***");
    assert_shown("host=${env:H} password=${file:/a b/c:d@e}", "host=${env:H} password=***");
    assert_shown("postgresql://${env:U}:${file:/run/x}@${env:H}/db",
                 "postgresql://${env:U}:***@${env:H}/db");
    assert_shown("${file:/run/dsn}", "${file:/run/dsn}");
    assert_shown("${env:X} s3cret", "***");
    assert_shown("pasword=x", "pasword=***");
}

Test(dsn, hosts_of_this_machine_are_known)
{
    char buffer[64];
    static const char *const LOCAL[] = {"host=localhost", "host=127.0.0.2", "host=/tmp", "user=x",
                                        "host=::1,localhost"};
    for (size_t i = 0; i < sizeof(LOCAL) / sizeof(LOCAL[0]); i++) {
        Dsn dsn = read_dsn(LOCAL[i], NULL);
        cr_assert_null(dsn_remote_host(&dsn, buffer, sizeof(buffer)), "%s", LOCAL[i]);
        dsn_free(&dsn);
    }
    Dsn dsn = read_dsn("host=localhost,db", NULL);
    cr_assert_str_eq(dsn_remote_host(&dsn, buffer, sizeof(buffer)), "db");
    dsn_free(&dsn);
}
