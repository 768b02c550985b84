/* router: event -> topic and key. The first route whose conditions all hold wins; without one, the
 * pipeline's own topic template. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "config/config.h"
#include "flow/event.h"
#include "flow/record.h"
#include "flow/topic.h"

typedef struct Router Router;

typedef enum RouteResult {
    ROUTE_OK,
    ROUTE_NONE,   /* no route and no topic of the pipeline: on_unrouted decides */
    ROUTE_POISON, /* *err says why */
} RouteResult;

/** Compiles the routes for rows of this schema, which it does not keep; the error is FATAL /
 * EXIT_CONFIG. topics must outlive the router. */
Status router_new(const PipelineConfig *pipeline, const Schema *schema, Topics *topics,
                  Router **ret_router, Error *err);
void router_free(Router **router);

/** Sets record->topic and record->key. Rendered bytes live in arena. *err is set unless ROUTE_OK.
 */
RouteResult router_route(const Router *router, const Event *event, Arena *arena, Record *record,
                         Error *err);
