#!/bin/sh
# One photo to the serverless lane: classify.sh API KEY PHOTO.jpg
set -eu
curl --fail-with-body --silent --show-error \
  --header "x-api-key: $2" --header "Content-Type: image/jpeg" \
  --data-binary "@$3" "$1/recognitions"
