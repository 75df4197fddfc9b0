#!/usr/bin/env bash
# Makes viewer/web/xr/three.min.js anew: what the page uses of three.js, in one module. Needs npm.
set -euo pipefail
cd "$(dirname "$0")/../.."
XR=$PWD/viewer/web/xr
cd "$(mktemp -d)"
npm install --silent three@0.187.0 esbuild@0.28.2
names=$(cat "$XR"/{main,memory,pose,relief,viewer}.js | tr '\n' ' ' | grep -oP 'import \{[^}]*\} from "./three.min.js"' |
	grep -oP '\{\K[^}]*' | tr -d ' ' | tr ',' '\n' | grep . | sort -u | paste -sd, -)
echo "export { $names } from 'three';" > entry.js
npx esbuild entry.js --bundle --minify --format=esm --legal-comments=inline --outfile="$XR/three.min.js"
cp node_modules/three/LICENSE "$XR/three.LICENSE"
