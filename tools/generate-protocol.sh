#!/bin/sh
# Turns shared/protocol/*.proto into shared/protocol/generated/NAME.js and NAME.d.ts, when they are older than their
# source. Run by set-up; the output is not kept in git.
set -eu
cd "$(dirname "$0")/.."
dir=shared/protocol
out=$dir/generated
mkdir -p "$out"
for proto in "$dir"/*.proto; do
  name=$(basename "$proto" .proto)
  [ "$out/$name.d.ts" -nt "$proto" ] && continue
  echo "setup: generating $out/$name.js"
  # A root of its own for each file: they share no types, and protobufjs would merge them otherwise.
  node_modules/.bin/pbjs -t static-module -w es6 --es6 --no-verify --no-delimited --no-service --force-number \
    --dependency protobufjs/minimal.js -r "$name" -o "$out/$name.js" "$proto"
  node_modules/.bin/pbts -o "$out/$name.d.ts" "$out/$name.js"
done
