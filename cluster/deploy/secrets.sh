#!/bin/sh
# Draws every secret of a deployment that is not there yet, each in a file that only its owner reads.
#   sh cluster/deploy/secrets.sh FOLDER
set -eu
folder=${1:?secrets.sh: give the folder that the secrets go to}
umask 077
mkdir -p "$folder"
for name in ray_token mlflow_password mlflow_key postgres_password; do
    if [ ! -s "$folder/$name" ]; then
        head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$folder/$name"
        chmod 400 "$folder/$name"
    fi
done
