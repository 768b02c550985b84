#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mailbox.h"
#include "base/memory.h"
#include "base/thread.h"

typedef struct Numbered {
    Letter letter;
    int number;
} Numbered;

static Mailbox mailbox;
static int dropped;

static void drop(Letter *letter)
{
    dropped++;
    free(letter);
}

static void begin(void)
{
    mailbox_init(&mailbox);
    dropped = 0;
}

static void end(void)
{
    mailbox_release(&mailbox, drop);
}

TestSuite(mailbox, .init = begin, .fini = end, .timeout = 30);

static void put(int number)
{
    Numbered *numbered = x_calloc(1, sizeof(*numbered));
    numbered->number = number;
    mailbox_put(&mailbox, &numbered->letter);
}

static bool is_readable(int wait_ms)
{
    struct pollfd readable = {.fd = mailbox_fd(&mailbox), .events = POLLIN};
    return poll(&readable, 1, wait_ms) == 1;
}

/* Takes what has come, which must go on from *next. */
static void take_from(int *next)
{
    MailboxLetters letters;
    mailbox_take(&mailbox, &letters);
    while (!TAILQ_EMPTY(&letters)) {
        Letter *letter = TAILQ_FIRST(&letters);
        TAILQ_REMOVE(&letters, letter, link);
        cr_assert_eq(((Numbered *)letter)->number, (*next)++);
        free(letter);
    }
}

Test(mailbox, is_readable_while_letters_have_not_been_taken)
{
    cr_assert_not(is_readable(0));
    put(0);
    put(1);
    cr_assert(is_readable(0));
    cr_assert_eq(mailbox_count(&mailbox), 2);
    int next = 0;
    take_from(&next);
    cr_assert_eq(next, 2);
    cr_assert_not(is_readable(0));
    cr_assert_eq(mailbox_count(&mailbox), 0);
}

Test(mailbox, wakes_without_a_letter)
{
    mailbox_wake(&mailbox);
    cr_assert(is_readable(0));
    int next = 0;
    take_from(&next);
    cr_assert_eq(next, 0);
    cr_assert_not(is_readable(0));
}

static bool is_odd(void *arg, const Letter *letter)
{
    (void)arg;
    return ((const Numbered *)letter)->number % 2 == 1;
}

Test(mailbox, what_nobody_needs_is_taken_back_and_the_rest_keeps_its_order)
{
    for (int i = 0; i < 4; i++) {
        put(i);
    }
    mailbox_sift(&mailbox, is_odd, NULL, drop);
    cr_assert_eq(dropped, 2);
    cr_assert_eq(mailbox_count(&mailbox), 2);
    MailboxLetters letters;
    mailbox_take(&mailbox, &letters);
    int wanted = 1;
    while (!TAILQ_EMPTY(&letters)) {
        Letter *letter = TAILQ_FIRST(&letters);
        TAILQ_REMOVE(&letters, letter, link);
        cr_assert_eq(((Numbered *)letter)->number, wanted);
        wanted += 2;
        free(letter);
    }
    cr_assert_eq(wanted, 5);
}

Test(mailbox, what_is_left_at_the_end_is_dropped)
{
    Mailbox other;
    mailbox_init(&other);
    Numbered *numbered = x_calloc(1, sizeof(*numbered));
    mailbox_put(&other, &numbered->letter);
    mailbox_release(&other, drop);
    cr_assert_eq(dropped, 1);
}

enum { MANY = 20000 };

static void *put_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < MANY; i++) {
        put(i);
    }
    return NULL;
}

Test(mailbox, a_thread_that_sends_and_one_that_waits_lose_nothing)
{
    pthread_t thread;
    thread_start(&thread, put_many, NULL);
    int next = 0;
    while (next < MANY) {
        cr_assert(is_readable(10000), "after %d", next);
        take_from(&next);
    }
    pthread_join(thread, NULL);
}
