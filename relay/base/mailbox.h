/* mailbox: letters from one thread to another, in their order. The receiver watches mailbox_fd()
 * and takes everything that has come. A letter belongs to the sender until it is put, then to the
 * mailbox, then to the receiver. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

typedef struct Letter {
    TAILQ_ENTRY(Letter) link;
} Letter;

typedef TAILQ_HEAD(MailboxLetters, Letter) MailboxLetters;

typedef struct Mailbox {
    pthread_mutex_t lock;
    MailboxLetters letters;
    size_t count;
    int fd;
} Mailbox;

void mailbox_init(Mailbox *mailbox);
/** Nobody uses it any more; what is still in it is handed to drop(). */
void mailbox_release(Mailbox *mailbox, void (*drop)(Letter *letter));

/** Any thread. */
void mailbox_put(Mailbox *mailbox, Letter *letter);

/** Any thread: the receiver looks, although there may be no letter. */
void mailbox_wake(Mailbox *mailbox);

/** Any thread: takes those back that nobody needs any more, and hands them to drop(). Neither
 * function may use the mailbox. */
void mailbox_sift(Mailbox *mailbox, bool (*needed)(void *arg, const Letter *letter), void *arg,
                  void (*drop)(Letter *letter));

/** How many letters have not been taken. */
size_t mailbox_count(Mailbox *mailbox);

/** Becomes readable when letters have come. */
int mailbox_fd(const Mailbox *mailbox);

/** The receiver: moves all letters to *ret, which is overwritten. */
void mailbox_take(Mailbox *mailbox, MailboxLetters *ret);
