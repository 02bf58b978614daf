#!/bin/sh
# Turns shared/app-sdk and what it imports into plain JavaScript in build/app-sdk, when it is older than its source: Node
# does not strip types below node_modules, which is where an image has it. Run by set-up; the output is not kept in git.
set -eu
cd "$(dirname "$0")/.."
out=build/app-sdk
stamp=$out/package.json
if [ -f "$stamp" ] && [ -z "$(find shared/app-sdk shared/protocol shared/base/errors.ts shared/can/frame.ts "$0" -type f -newer "$stamp")" ]; then
  exit 0
fi
echo "setup: building the app SDK into $out"
rm -rf "$out"
mkdir -p "$out"
node_modules/.bin/tsc -p shared/app-sdk/tsconfig.json
mkdir -p "$out/protocol/generated"
cp shared/protocol/generated/gateway.js "$out/protocol/generated/"
# Last, because it is the stamp.
sed -e 's|"exports": "./index.ts"|"exports": "./app-sdk/index.js"|' shared/app-sdk/package.json > "$stamp"
