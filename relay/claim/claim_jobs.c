/* Who is next on the connection of a claim. Questions come one at a time; whoever wants to ask
 * while another one is under way waits in a queue, and is served when the answer is there and
 * whoever asked sent nothing more: so an answer may ask on, and a chain of questions is not
 * interrupted. The question of the lease goes before all others; the marker, which gathers while it
 * waits, comes last.
 */
#include "base/memory.h"
#include "claim/claim_internal.h"

bool claim_is_free(const Claim *claim)
{
    return pg_conn_is_open(claim->conn) && !pg_conn_is_busy(claim->conn);
}

/* A job that finds nothing to ask any more asks nothing. */
static void jobs_run(Claim *claim)
{
    ClaimJob *job = NULL;
    while (claim_is_free(claim) && (job = TAILQ_FIRST(&claim->jobs->waiting)) != NULL) {
        TAILQ_REMOVE(&claim->jobs->waiting, job, entry);
        job->waits = false;
        job->run(job->arg);
    }
}

static void job_put(Claim *claim, ClaimJob *job, bool first)
{
    if (job->waits || !pg_conn_is_open(claim->conn)) {
        return;
    }
    job->waits = true;
    if (first) {
        TAILQ_INSERT_HEAD(&claim->jobs->waiting, job, entry);
    } else {
        TAILQ_INSERT_TAIL(&claim->jobs->waiting, job, entry);
    }
    jobs_run(claim);
}

void claim_want(Claim *claim, ClaimJob *job)
{
    job_put(claim, job, false);
}

void claim_want_first(Claim *claim, ClaimJob *job)
{
    job_put(claim, job, true);
}

bool claim_jobs_wait(const void *arg)
{
    return !TAILQ_EMPTY(&((const Claim *)arg)->jobs->waiting);
}

void claim_on_idle(void *arg)
{
    Claim *claim = arg;
    jobs_run(claim);
    if (claim_is_free(claim) && claim->marks->conn == NULL) {
        marker_next(claim->marks->marker);
    }
}

void claim_drop_jobs(ClaimJobs *jobs)
{
    for (ClaimJob *job; (job = TAILQ_FIRST(&jobs->waiting)) != NULL;) {
        TAILQ_REMOVE(&jobs->waiting, job, entry);
        job->waits = false;
    }
}

ClaimJobs *claim_jobs_new(void)
{
    ClaimJobs *jobs = x_calloc(1, sizeof(*jobs));
    TAILQ_INIT(&jobs->waiting);
    return jobs;
}
