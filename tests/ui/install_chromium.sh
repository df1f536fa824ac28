#!/bin/sh
# What the tests of the MLflow UI need: Debian's chromium, installed if it is not there. Needs root.
set -eu
command -v chromium > /dev/null && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
