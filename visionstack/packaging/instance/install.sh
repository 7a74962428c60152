#!/usr/bin/env bash
# Makes $ROOT/venv from the wheels of this asset. Only Python itself may come from the network.
set -euo pipefail

ROOT="${VISIONSTACK_ROOT:-/opt/visionstack}"
# shellcheck source=/dev/null
. "$ROOT/target.env" # TARGET_PYTHON, TARGET_ARCH, TARGET_COMPUTE
AMI_PYTHON=/opt/pytorch/bin/python # of the Deep Learning AMI, with torch for its driver

fail() {
  echo "visionstack install: $*" >&2
  exit 1
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

install_python() {
  if command -v dnf >/dev/null; then
    dnf install --quiet --assumeyes "python$TARGET_PYTHON" >&2
  elif command -v apt-get >/dev/null; then
    apt-get update --quiet >&2 && apt-get install --quiet --yes "python$TARGET_PYTHON" >&2
  fi
}

find_python() {
  local candidate
  if [ "$TARGET_COMPUTE" = gpu ] && [ -x "$AMI_PYTHON" ]; then
    echo "$AMI_PYTHON"
    return
  fi
  for candidate in "python$TARGET_PYTHON" python3; do
    if command -v "$candidate" >/dev/null && [ "$(version_of "$candidate")" = "$TARGET_PYTHON" ]; then
      command -v "$candidate"
      return
    fi
  done
  [ "$(id -u)" = 0 ] && [ "$ROOT" = /opt/visionstack ] && install_python
  command -v "python$TARGET_PYTHON" || fail "there is no Python $TARGET_PYTHON here; deploy with -c instance_python=<a version this machine image has>"
}

[ "$(uname -m)" = "$TARGET_ARCH" ] ||
  fail "this asset is for $TARGET_ARCH, the machine is $(uname -m); does instance_type fit ami_id?"
PYTHON="$(find_python)"
[ "$(version_of "$PYTHON")" = "$TARGET_PYTHON" ] ||
  fail "$PYTHON is Python $(version_of "$PYTHON"), the wheels are for $TARGET_PYTHON; deploy with -c instance_python=$(version_of "$PYTHON")"

rm -rf "$ROOT/venv"
"$PYTHON" -m venv --without-pip "$ROOT/venv"
"$ROOT/venv/bin/python" "$(echo "$ROOT"/wheels/pip-*.whl)/pip" install \
  --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
  --no-index --find-links "$ROOT/wheels" --require-hashes --requirement "$ROOT/requirements.lock"

site="$("$ROOT/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
echo "$ROOT" >"$site/visionstack.pth"
if [ "$PYTHON" = "$AMI_PYTHON" ]; then
  # A venv made by a venv does not see the first one's packages, so torch's folder is named here.
  # "zz" sorts it last: this asset's own packages win.
  "$AMI_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/zz-ami.pth"
  "$ROOT/venv/bin/python" -c 'import torch; assert torch.cuda.is_available()' ||
    fail "torch of this machine image sees no GPU; does ami_id fit instance_type?"
fi
rm -rf "$ROOT/wheels"
touch "$ROOT/installed"
echo "visionstack install: Python $TARGET_PYTHON in $ROOT/venv"
