#include "base/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fatal.h"

void mailbox_init(Mailbox *mailbox)
{
    pthread_mutex_init(&mailbox->lock, NULL);
    TAILQ_INIT(&mailbox->letters);
    mailbox->count = 0;
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->fd < 0) {
        fatal_refused("a file descriptor", errno);
    }
}

void mailbox_release(Mailbox *mailbox, void (*drop)(Letter *letter))
{
    Letter *letter = TAILQ_FIRST(&mailbox->letters);
    while (letter != NULL) {
        Letter *next = TAILQ_NEXT(letter, link);
        drop(letter);
        letter = next;
    }
    pthread_mutex_destroy(&mailbox->lock);
    close(mailbox->fd);
}

void mailbox_wake(Mailbox *mailbox)
{
    uint64_t one = 1;
    (void)!write(mailbox->fd, &one, sizeof(one));
}

void mailbox_put(Mailbox *mailbox, Letter *letter)
{
    pthread_mutex_lock(&mailbox->lock);
    TAILQ_INSERT_TAIL(&mailbox->letters, letter, link);
    mailbox->count++;
    pthread_mutex_unlock(&mailbox->lock);
    mailbox_wake(mailbox);
}

void mailbox_sift(Mailbox *mailbox, bool (*needed)(void *arg, const Letter *letter), void *arg,
                  void (*drop)(Letter *letter))
{
    pthread_mutex_lock(&mailbox->lock);
    Letter *letter = TAILQ_FIRST(&mailbox->letters);
    while (letter != NULL) {
        Letter *next = TAILQ_NEXT(letter, link);
        if (!needed(arg, letter)) {
            TAILQ_REMOVE(&mailbox->letters, letter, link);
            mailbox->count--;
            drop(letter);
        }
        letter = next;
    }
    pthread_mutex_unlock(&mailbox->lock);
}

size_t mailbox_count(Mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    size_t count = mailbox->count;
    pthread_mutex_unlock(&mailbox->lock);
    return count;
}

int mailbox_fd(const Mailbox *mailbox)
{
    return mailbox->fd;
}

void mailbox_take(Mailbox *mailbox, MailboxLetters *ret)
{
    uint64_t count = 0;
    (void)!read(mailbox->fd, &count, sizeof(count)); /* before the letters: none is overlooked */
    TAILQ_INIT(ret);
    pthread_mutex_lock(&mailbox->lock);
    TAILQ_CONCAT(ret, &mailbox->letters, link);
    mailbox->count = 0;
    pthread_mutex_unlock(&mailbox->lock);
}
