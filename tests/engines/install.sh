#!/usr/bin/env bash
# What the clients' tests run in, from Debian's packages and npm: Chromium and IWER (a headset's double), Godot 3, mono, Xvfb.
# What cannot be had is named, and its tests are skipped. Godot 4 has a script of its own, godot4.sh.
set -uo pipefail
cd "$(dirname "$0")/../.."
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
want() { # a program that is there once it is installed, then its packages
	command -v "$1" > /dev/null && return
	root apt-get install -y --no-install-recommends "${@:2}" || echo "NOT HAD: ${*:2}; tests of $1 will be skipped"
}
root apt-get update || echo "the lists of packages are as they were"
want chromium chromium
want godot3-server godot3-server
want mcs mono-mcs mono-runtime libmono-system-core4.0-cil
want Xvfb xvfb
command -v npm > /dev/null || want npm npm
mkdir -p build/engines && cd build/engines
[ -e iwer.min.js ] || { npm pack --silent iwer@2.5.0 && tar -xzf iwer-2.5.0.tgz --strip-components=2 package/build/iwer.min.js; } ||
	echo "NOT HAD: iwer of npm; tests in a headset will be skipped"
