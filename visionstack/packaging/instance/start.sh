#!/usr/bin/env bash
# Starts the stream server: by systemd on an instance, in the foreground anywhere else.
set -euo pipefail

ROOT="${VISIONSTACK_ROOT:-/opt/visionstack}"
UNIT=visionstack-stream.service

# Values are taken as they are: JSON, spaces and quotes in them mean nothing to the shell.
while IFS='=' read -r name value; do
  [ -n "$name" ] && export "$name=$value"
done <"$ROOT/stream.env"

if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ] && [ "$ROOT" = /opt/visionstack ]; then
  install -m 0644 "$ROOT/$UNIT" "/etc/systemd/system/$UNIT"
  if [ -n "${VISIONSTACK_STREAM_DRAIN_SECONDS:-}" ]; then
    # systemd must wait at least as long as the server may drain; by default it waits 90 s.
    install -d "/etc/systemd/system/$UNIT.d"
    printf '[Service]\nTimeoutStopSec=%d\n' "$((VISIONSTACK_STREAM_DRAIN_SECONDS + 15))" \
      >"/etc/systemd/system/$UNIT.d/drain.conf"
  fi
  systemctl daemon-reload
  exec systemctl enable --now "$UNIT"
fi

export VISIONSTACK_ROOT="$ROOT"
cd "$ROOT"
exec "$ROOT/venv/bin/python" -m runtime.streaming
