#!/bin/sh
# Carries out a command that speaks to MLflow: its password, a file of SECRETS, is in the environment of that command, and of
# what the command starts: with Ray, of the jobs.
#   with-secrets.sh python experiments/mirror.py --stay
set -eu
MLFLOW_TRACKING_PASSWORD=$(cat "${SECRETS:-/run/secrets}/mlflow_password")
export MLFLOW_TRACKING_PASSWORD
exec "$@"
