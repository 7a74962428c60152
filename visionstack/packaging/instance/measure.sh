#!/usr/bin/env bash
# Measures this machine once; the launch template's own time-out ends the instance if this does not.
set -uo pipefail

ROOT="${VISIONSTACK_ROOT:-/opt/visionstack}"

# Values are taken as they are: JSON, spaces and quotes in them mean nothing to the shell.
while IFS='=' read -r name value; do
  [ -n "$name" ] && export "$name=$value"
done <"$ROOT/stream.env"

cd "$ROOT" || exit 1
"$ROOT/venv/bin/python" -m runtime.measurement --out "$ROOT/measurement"
code=$?

# The results are in S3; the launch template terminates an instance that shuts down.
if [ "$(id -u)" = 0 ] && [ "$ROOT" = /opt/visionstack ] && [ -d /run/systemd/system ]; then
  shutdown -h now
fi
exit "$code"
