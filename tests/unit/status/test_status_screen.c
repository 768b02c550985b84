#include <criterion/criterion.h>
#include <string.h>

#include "status/status_groups.h"
#include "status/status_screen.h"

/* 2026-11-21T09:26:44Z */
static const int64_t NOW_US = INT64_C(1795253204000000);

static const char RUNNING[] =
    "{'name':'orders','capture':'poll','state':'running','since':'2026-11-18T05:00:00Z',"
    "'lag_seconds':0.003,'backlog_events':12,'backlog_capped':false,'in_flight_events':40,"
    "'in_flight_bytes':9000,'unmarked_events':0,'events_per_second':812.2,"
    "'published_total':41203118,'dead_lettered_total':0,'dropped_total':0,"
    "'last_event_at':'2026-11-21T09:26:43.9Z','error':null,'oldest':null,'holder':null}";

static const char STALLED[] =
    "{'name':'audit','capture':'wal','state':'stalled','since':'2026-11-21T09:12:44Z',"
    "'lag_seconds':840,'backlog_events':100000,'backlog_capped':true,'in_flight_events':5000,"
    "'events_per_second':0,'published_total':12007554,'dead_lettered_total':3,"
    "'last_event_at':'2026-11-21T09:12:44Z',"
    "'error':{'code':'KAFKA_TOPIC_UNKNOWN','class':'retry','message':'topic x does not exist',"
    "'hint':'Create the topic.','since':'2026-11-21T09:12:44Z','repeated':61},"
    "'oldest':{'seq':12007555,'event_type':'audit.login','aggregate_id':'user\\u001b81',"
    "'occurred_at':'2026-11-21T09:12:44.120Z'},'holder':null}";

static const char STANDBY[] =
    "{'name':'orders','capture':'poll','state':'standby','since':'2026-11-21T09:12:44Z',"
    "'backlog_events':null,'error':null,'holder':'shop on 10.0.0.7, pid 311'}";

/* The object with these pipelines; ' stands for ". */
static json_t *object_of(const char *pipelines, bool postgres, bool kafka)
{
    AUTO_BUFFER text = TEXT_EMPTY;
    text_printf(&text,
                "{'name':'shop','version':'0.1.0','pid':1,'uptime_seconds':273700,'ready':true,"
                "'pipelines':[%s],"
                "'postgres':{'connected':%s,'server':'db:5432/shop','version':'15.20'},"
                "'kafka':{'connected':%s,'brokers':'kafka:9092','broker_count':3}}",
                pipelines, postgres ? "true" : "false", kafka ? "true" : "false");
    for (size_t i = 0; i < text.length; i++) {
        text.data[i] = text.data[i] == '\'' ? '"' : text.data[i];
    }
    json_error_t where;
    json_t *object = json_loads(text.data, 0, &where);
    cr_assert_not_null(object, "%s: %s", where.text, text.data);
    return object;
}

static ExitCode code_of(const char *pipelines, bool postgres, bool kafka)
{
    json_t *object = object_of(pipelines, postgres, kafka);
    ExitCode code = status_screen_exit_code(object);
    json_decref(object);
    return code;
}

static const char *screen_of(const char *pipelines, bool postgres, bool kafka, Text *out)
{
    json_t *object = object_of(pipelines, postgres, kafka);
    status_screen_add(object, false, NOW_US, out);
    json_decref(object);
    return text_string(out);
}

static void expect_line(const char *screen, const char *line)
{
    cr_assert_not_null(strstr(screen, line), "no line\n%s\nin\n%s", line, screen);
}

Test(status_screen, healthy_relay_is_a_header_and_a_table)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    cr_assert_str_eq(
        screen_of(RUNNING, true, true, &out),
        "shop · outboxd 0.1.0 · up 3 d 4 h · postgres db:5432/shop (15.20) · kafka kafka:9092 "
        "(3 brokers)\n"
        "\n"
        "pipeline  capture  state    lag   backlog  in flight  per second   published  last event\n"
        "orders    poll     running  3 ms       12         40         812  41,203,118  now\n");
}

Test(status_screen, stalled_pipeline_says_since_when_why_and_the_remedy)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO_BUFFER both = TEXT_EMPTY;
    text_printf(&both, "%s,%s", RUNNING, STALLED);
    const char *screen = screen_of(both.data, true, true, &out);
    expect_line(screen, "\naudit     wal      STALLED  14 min  100,000+      5,000");
    expect_line(screen, "\n\naudit is stalled since 09:12:44 UTC (14 min ago): topic x does not "
                        "exist (retried 61 times)\n");
    expect_line(screen, "\n  oldest event  seq 12007555, audit.login, key user?81, occurred "
                        "09:12:44 UTC (14 min ago)\n");
    expect_line(screen, "\n  remedy        Create the topic.\n");
    expect_line(
        screen,
        "\naudit: 3 events moved to dead letters since the start; see: outboxd dead list\n");
    cr_assert_null(strstr(screen, "orders is"));
}

Test(status_screen, a_refused_reload_and_what_needs_a_restart_are_told)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    json_t *object = object_of(RUNNING, true, true);
    json_object_set_new(object, "config",
                        json_pack("{s:{s:s,s:s},s:s}", "refused", "at", "2026-11-21T09:12:44Z",
                                  "reason", "a.conf:14: unknown option", "restart_needed",
                                  "monitor.listen"));
    status_screen_add(object, false, NOW_US, &out);
    expect_line(text_string(&out),
                "\n\nthe reload of 09:12:44 UTC (14 min ago) was refused, and nothing has changed: "
                "a.conf:14: unknown option\n  remedy        correct");
    expect_line(text_string(&out),
                "\n\nthe file has new values that need a restart of the relay: monitor.listen\n");
    json_decref(object);
}

static const char WAITING[] =
    "{'name':'orders','capture':'poll','state':'running','since':'2026-11-18T05:00:00Z',"
    "'in_flight_events':0,'error':null,'holder':null,'waiting':{'events':1500,'topics':2,"
    "'topic':'audit.events','code':'KAFKA_TOPIC_UNKNOWN','message':'topic audit.events is unknown',"
    "'hint':'Create the topic.','since':'2026-11-21T09:12:44Z'}}";

Test(status_screen, events_that_wait_for_a_topic_are_named_though_all_else_is_well)
{
    Text out = TEXT_EMPTY;
    const char *screen = screen_of(WAITING, true, true, &out);
    cr_assert_not_null(strstr(screen,
                              "orders: 1500 events wait for topic audit.events and 1 more "
                              "since 09:12:44 UTC, all others are published: topic audit.events "
                              "is unknown\n"),
                       "%s", screen);
    cr_assert_not_null(strstr(screen, "Create the topic."));
    cr_assert_eq(code_of(WAITING, true, true), EXIT_KAFKA);
    char stalled[sizeof(WAITING)];
    memcpy(stalled, WAITING, sizeof(WAITING));
    memcpy(strstr(stalled, "running"), "stalled", strlen("stalled"));
    screen = screen_of(stalled, true, true, &out);
    cr_assert_not_null(strstr(screen, "since 09:12:44 UTC: topic audit.events is unknown\n"), "%s",
                       screen);
    text_free(&out);
}

Test(status_screen, what_is_not_connected_stands_out)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    expect_line(screen_of(RUNNING, false, false, &out),
                "postgres db:5432/shop NOT CONNECTED · kafka kafka:9092 NOT CONNECTED\n");
}

Test(status_screen, standby_names_the_publisher_and_needs_no_kafka)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *screen = screen_of(STANDBY, true, false, &out);
    expect_line(screen, "orders is standby since 09:12:44 UTC (14 min ago): published by shop on "
                        "10.0.0.7, pid 311\n");
    cr_assert_null(strstr(screen, "NOT CONNECTED"));
    cr_assert_eq(code_of(STANDBY, true, false), EXIT_OK);
}

Test(status_screen, since_another_day_shows_the_date)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    expect_line(
        screen_of("{'name':'a','state':'paused','since':'2026-11-20T23:59:59Z'}", true, true, &out),
        "a is paused since 2026-11-20 23:59:59 UTC (9 h 26 min ago)\n");
}

Test(status_screen, exit_code_names_the_side_that_fails)
{
    cr_assert_eq(code_of(RUNNING, true, true), EXIT_OK);
    cr_assert_eq(code_of(RUNNING, false, true), EXIT_POSTGRES);
    cr_assert_eq(code_of(RUNNING, true, false), EXIT_KAFKA);
    cr_assert_eq(code_of(STALLED, true, true), EXIT_KAFKA);
    cr_assert_eq(code_of("{'state':'stalled','error':{'code':'POSTGRES_PRIVILEGE'}}", true, true),
                 EXIT_POSTGRES);
    cr_assert_eq(code_of("{'state':'failed','error':{'code':'SLOT_MISSING'}}", true, true),
                 EXIT_GAP);
    cr_assert_eq(
        code_of("{'state':'failed','error':{'code':'SLOT_MISSING','exit_code':4}}", true, true),
        EXIT_GAP);
    cr_assert_eq(code_of("{'state':'failed','error':{'code':'EVENT_UNROUTED'}}", true, true),
                 EXIT_INTERNAL);
    const char *not_healthy[] = {"starting", "paused", "draining", "stopped", "failed", "new"};
    for (size_t i = 0; i < sizeof(not_healthy) / sizeof(not_healthy[0]); i++) {
        AUTO_BUFFER pipeline = TEXT_EMPTY;
        text_printf(&pipeline, "{'name':'a','state':'%s'}", not_healthy[i]);
        cr_assert_eq(code_of(pipeline.data, true, true), EXIT_INTERNAL, "%s", not_healthy[i]);
    }
    cr_assert_eq(code_of("", true, true), EXIT_INTERNAL, "no pipelines at all");
}

Test(status_screen, a_database_that_went_away_is_told_with_its_time_and_the_remedy)
{
    static const char LOST[] =
        "{'name':'orders','capture':'poll','state':'starting','since':'2026-11-21T09:12:44Z',"
        "'database_lost':true,'error':{'code':'POSTGRES_UNREACHABLE','class':'retry',"
        "'message':'Connection refused','hint':'Start it.','since':'2026-11-21T09:12:40Z',"
        "'repeated':3},'oldest':null,'holder':null}";
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *screen = screen_of(LOST, false, true, &out);
    cr_assert_null(strstr(screen, "starting"), "%s", screen);
    expect_line(screen, "NO DATABASE");
    expect_line(screen, "orders has no database since 09:12:40 UTC");
    expect_line(screen, ": Connection refused (retried 3 times)");
    expect_line(screen, "remedy");
    expect_line(screen, "Start it.");
    cr_assert_eq(code_of(LOST, false, true), EXIT_POSTGRES);
}

Test(status_screen, a_table_that_is_gone_is_not_told_as_a_database)
{
    static const char LOST[] =
        "{'name':'orders','capture':'poll','state':'starting','since':'2026-11-21T09:12:44Z',"
        "'database_lost':true,'error':{'code':'POSTGRES_NO_TABLE','class':'retry',"
        "'message':'table outbox.event does not exist','since':'2026-11-21T09:12:40Z'},"
        "'oldest':null,'holder':null}";
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *screen = screen_of(LOST, true, true, &out);
    cr_assert_null(strcasestr(screen, "no database"), "%s", screen);
    expect_line(screen, "NO TABLE");
    expect_line(screen, "orders has no table since 09:12:40 UTC");
}

Test(status_screen, object_of_another_version_does_no_harm)
{
    static const char STRANGE_PIPELINE[] =
        "{\"pipelines\":[{\"error\":{},\"oldest\":{},\"lag_seconds\":\"x\"}],"
        "\"postgres\":[],\"kafka\":7}";
    const char *odd[] = {"{}", "{\"pipelines\":3}", "{\"pipelines\":[3,null,{\"state\":[]}]}",
                         STRANGE_PIPELINE};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        AUTO_BUFFER out = TEXT_EMPTY;
        json_t *object = json_loads(odd[i], 0, NULL);
        cr_assert_not_null(object);
        status_screen_add(object, true, NOW_US, &out);
        cr_assert_gt(out.length, 0);
        cr_assert_neq(status_screen_exit_code(object), EXIT_OK, "%s", odd[i]);
        json_decref(object);
    }
}

static bool late_of(const char *pipelines, Text *out)
{
    json_t *object = object_of(pipelines, true, true);
    bool late = status_screen_add_late(object, out);
    json_decref(object);
    return late;
}

Test(status_screen, late_pipelines_are_named_with_lag_and_objective)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    cr_assert_not(
        late_of("{'name':'a','state':'running','lag_seconds':5,'objective':{'seconds':5}}", &out));
    cr_assert_str_eq(text_string(&out), "");
    cr_assert(late_of("{'name':'a','state':'running','lag_seconds':0,'objective':{'seconds':5}},"
                      "{'name':'b','state':'stalled','lag_seconds':840,'objective':{'seconds':5}},"
                      "{'name':'c','state':'standby','lag_seconds':null,'objective':{'seconds':5}},"
                      "{'name':'d','state':'running','lag_seconds':0},"
                      "{'name':'e','state':'starting','lag_seconds':null,'database_lost':true}",
                      &out));
    cr_assert_str_eq(text_string(&out), "pipeline b is late: lag 14 min, objective 5.0 s\n"
                                        "pipeline c is standby: its lag is not known\n"
                                        "pipeline d is running: its lag is not known\n"
                                        "pipeline e has no database: its lag is not known\n");
}

Test(status_screen, relay_without_pipelines_counts_as_late)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    cr_assert(late_of("", &out));
    cr_assert_str_eq(text_string(&out), "the relay has no pipelines\n");
}

static const char GROUPS[] =
    "{'up':false,'error':'group x may not be described. Grant DESCRIBE.','groups_left_out':2,"
    "'objective_seconds':5.0,'groups':["
    "{'group':'billing','topic':'orders.events','lag_events':31,'lag_seconds':0.2,"
    "'change_per_second':1.5,'grows':false,'committed':true},"
    "{'group':'search-indexer','topic':'orders.events','lag_events':214003,'lag_seconds':660,"
    "'change_per_second':180.2,'grows':true,'committed':true},"
    "{'group':'audit','topic':'orders.events','lag_events':900,'lag_seconds':90,"
    "'change_per_second':-2.5,'grows':false,'committed':true},"
    "{'group':'new','topic':'orders.events','lag_events':12,'lag_seconds':null,"
    "'change_per_second':null,'grows':false,'committed':false},"
    "{'group':'done','topic':'orders.events','lag_events':0,'lag_seconds':0,"
    "'change_per_second':-100,'grows':false,'committed':true}]}";

Test(status_screen, consumer_groups_show_who_is_behind_and_falls_further)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    AUTO_BUFFER text = TEXT_EMPTY;
    text_add(&text, GROUPS);
    for (size_t i = 0; i < text.length; i++) {
        text.data[i] = text.data[i] == '\'' ? '"' : text.data[i];
    }
    json_t *groups = json_loads(text.data, 0, NULL);
    cr_assert_not_null(groups);
    status_groups_add(groups, false, &out);
    cr_assert_str_eq(
        text_string(&out),
        "\n"
        "consumer groups  topic           behind  oldest  \n"
        "billing          orders.events       31  200 ms  \n"
        "search-indexer   orders.events  214,003  11 min  falling behind (+180/s)\n"
        "audit            orders.events      900    90 s  catching up (-2.5/s)\n"
        "new              orders.events       12       ?  no offsets committed yet\n"
        "done             orders.events        0       -  \n"
        "\n2 more consumer groups match monitor.consumer_groups; use narrower patterns\n"
        "\nsome consumer groups cannot be seen: group x may not be described. Grant DESCRIBE.\n");
    text_clear(&out);
    status_groups_add(groups, true, &out);
    cr_assert_not_null(strstr(out.data, "\x1b"));
    cr_assert_null(strstr(out.data, "31\x1b"), "a healthy group has no colour");
    json_decref(groups);
    text_clear(&out);
    status_groups_add(NULL, false, &out);
    cr_assert_eq(out.length, 0);
}

Test(status_screen, pause_is_shown_with_who_why_and_how_to_end_it)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *screen =
        screen_of("{'name':'a','state':'paused','since':'2026-11-21T09:26:43Z','paused':{'since':"
                  "'2026-11-21T09:26:43Z','by':'anna','reason':'moving \\u001bhouse'}}",
                  true, true, &out);
    cr_assert_not_null(strstr(screen, "a is paused since 09:26:43 UTC (now)\n"
                                      "  paused by     anna: moving "),
                       "%s", screen);
    cr_assert_null(strchr(screen, '\033'), "no control characters of other people");
    cr_assert_not_null(
        strstr(screen, "house\n  remedy        when the reason is gone, run: outboxd resume\n"),
        "%s", screen);
}

Test(status_screen, failed_pipeline_is_not_tried_again)
{
#define TRIED(state)                                                                               \
    "{'name':'a','state':'" state "','since':'2026-11-21T09:26:43Z','error':{"                     \
    "'code':'X','message':'m','hint':'h','repeated':1}}"
    AUTO_BUFFER failed = TEXT_EMPTY;
    AUTO_BUFFER stalled = TEXT_EMPTY;
    cr_assert_null(strstr(screen_of(TRIED("failed"), true, true, &failed), "retried"));
    cr_assert_not_null(strstr(screen_of(TRIED("stalled"), true, true, &stalled), "retried"));
}

Test(status_screen, slot_of_a_stalled_pipeline_says_what_it_holds_and_how_long_that_goes_well)
{
    AUTO_BUFFER out = TEXT_EMPTY;
    const char *screen =
        screen_of("{'name':'a','state':'stalled','since':'2026-11-21T09:26:43Z','dead_letters':1,"
                  "'dead_lettered_total':5,'slot':{'name':'outboxd_a','status':'extended',"
                  "'retained_wal_bytes':222298112,'seconds_left':900}}",
                  true, true, &out);
    cr_assert_not_null(strstr(screen, "  slot          outboxd_a holds 212 MiB of WAL; "
                                      "max_slot_wal_keep_size is reached in 15 min\n"),
                       "%s", screen);
    cr_assert_not_null(strstr(screen, "\na: 1 dead letter; see: outboxd dead list\n"), "%s",
                       screen);
    cr_assert_null(strstr(screen, "set aside"), "%s", screen);
}

Test(status_screen, slot_of_a_running_pipeline_is_shown_when_it_is_in_danger)
{
#define SLOT(members)                                                                              \
    "{'name':'a','state':'running','slot':{'name':'outboxd_a','retained_wal_bytes':900" members "}}"
    AUTO_BUFFER calm = TEXT_EMPTY;
    AUTO_BUFFER lost = TEXT_EMPTY;
    cr_assert_null(
        strstr(screen_of(SLOT(",'status':'reserved'"), true, true, &calm), "outboxd_a holds"));
    const char *screen = screen_of(SLOT(",'status':'unreserved'"), true, true, &lost);
    cr_assert_not_null(strstr(screen, "outboxd_a holds 900 B of WAL; it is unreserved\n"), "%s",
                       screen);
}

Test(status_screen, first_snapshot_says_how_far_it_is_and_what_it_costs)
{
#define READ(members)                                                                              \
    "{'name':'a','state':'running','snapshot':{'state':'running','percent':40,'rows':1200,"        \
    "'tables':[{'table':'public.t','state':'running','rows':1200,'percent':40}]" members "}}"
    AUTO_BUFFER known = TEXT_EMPTY;
    AUTO_BUFFER unknown = TEXT_EMPTY;
    AUTO_BUFFER old = TEXT_EMPTY;
    const char *screen = screen_of(READ(",'seconds_left':900,'retained_wal_bytes':900,"
                                        "'retained_wal_bytes_expected':2048"),
                                   true, true, &known);
    cr_assert_not_null(strstr(screen, "\na: the first snapshot is read to 40 %: 1,200 rows, about "
                                      "15 min left; the slot holds 900 B of WAL, about 2.0 KiB at "
                                      "the end\n"),
                       "%s", screen);
    screen = screen_of(READ(",'retained_wal_bytes':900"), true, true, &unknown);
    cr_assert_not_null(strstr(screen, ": 1,200 rows; the slot holds 900 B of WAL\n"), "%s", screen);
    screen = screen_of(READ(""), true, true, &old);
    cr_assert_not_null(strstr(screen, ": 1,200 rows\n"), "%s", screen);
}
