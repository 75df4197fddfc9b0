#!/usr/bin/env bash
# Godot 4 for the tests of plugins/godot4, where the system's packages have none: Debian sid in a folder of its own,
# build/godot4 (1.6 GB, some minutes), and build/engines/godot4, which runs it there. Needs root and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/engines/sid.sh
ROOT=$PWD/build/godot4
mkdir -p build/engines
sid "$ROOT" godot godot libgl1 libglx-mesa0 libegl1 libgl1-mesa-dri
# what lies outside is copied in, and out again what a film wrote
cat > build/engines/godot4 <<END
#!/bin/sh
[ "\$1" = --path ] || { echo "wanted: godot4 --path PROJECT ..." >&2; exit 2; }
rm -rf "$ROOT/project" && cp -r "\$2" "$ROOT/project" && shift 2
mkdir -p "$ROOT/tmp/.X11-unix" "$ROOT/film"
[ -z "\${DISPLAY:-}" ] || mountpoint -q "$ROOT/tmp/.X11-unix" || mount --bind /tmp/.X11-unix "$ROOT/tmp/.X11-unix"
exec chroot "$ROOT" godot --path /project "\$@"
END
chmod +x build/engines/godot4
build/engines/godot4 --path plugins/godot4 --version
