#!/bin/bash
# The three roles of a careful installation, made when the data directory is new: the owner of the database runs the migration, the application may emit
# events, the relay may publish them. Run by the image of PostgreSQL.
set -euo pipefail
secrets=${SECRETS:-/run/secrets}
psql -X -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
    -v owner="$(cat "$secrets/owner")" -v app="$(cat "$secrets/app")" -v relay="$(cat "$secrets/relay")" -v database="$POSTGRES_DB" <<'SQL'
CREATE ROLE shop_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE ROLE shop_app LOGIN PASSWORD :'app';
CREATE ROLE shop_relay LOGIN REPLICATION PASSWORD :'relay';
ALTER DATABASE :"database" OWNER TO shop_owner;
SQL
