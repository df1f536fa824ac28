#!/bin/sh
# MLflow behind a password. Secrets are files of SECRETS; none becomes an argument or a part of an address.
#   POSTGRES_HOST     where PostgreSQL is (POSTGRES_PORT, 5432); without it
#   DATABASE, USERS   are the addresses of the databases of runs and of users
#   ARTIFACTS         folder, or s3:// address, of the artifacts
#   ALLOWED_HOSTS     the names by which browsers and mirrors reach it, with their ports
#   LISTEN, PORT      where it listens: 0.0.0.0 inside a container, 5000
set -eu
secrets=${SECRETS:-/run/secrets}
own=$(mktemp -d) # 0700
port=${POSTGRES_PORT:-5432}

umask 077
if [ -n "${POSTGRES_HOST:-}" ]; then
    printf '%s:%s:mlflow:mlflow:%s\n' "$POSTGRES_HOST" "$port" "$(cat "$secrets/postgres_password")" > "$own/pgpass"
    export PGPASSFILE="$own/pgpass"
    DATABASE="postgresql+psycopg2://mlflow@$POSTGRES_HOST:$port/mlflow"
    USERS=$DATABASE
fi
cat > "$own/auth.ini" <<END
[mlflow]
default_permission = READ
database_uri = $USERS
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
END

export MLFLOW_AUTH_CONFIG_PATH="$own/auth.ini"
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$secrets/mlflow_password")
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$secrets/mlflow_key")
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
if [ -f "$secrets/objects_key" ]; then
    AWS_ACCESS_KEY_ID=mlflow
    AWS_SECRET_ACCESS_KEY=$(cat "$secrets/objects_key")
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
fi
export MLFLOW_BACKEND_STORE_URI="$DATABASE" MLFLOW_TRUNCATE_LONG_VALUES=false MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false

exec mlflow server --app-name basic-auth --host "${LISTEN:-0.0.0.0}" --port "${PORT:-5000}" --workers "${WORKERS:-2}" \
    --artifacts-destination "$ARTIFACTS" --allowed-hosts "$ALLOWED_HOSTS" \
    --cors-allowed-origins "${ALLOWED_ORIGINS:-http://localhost:5000}"
