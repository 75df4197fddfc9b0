#!/usr/bin/env bash
# An OpenXR runtime with a headset that it makes up, for tests/viewer/xr/test_monado.py: Monado of Debian sid in a folder of
# its own, build/monado (1.5 GB, some minutes), and build/engines/monado, which has a walk worn there. Needs root and
# debootstrap; draws in software.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/engines/sid.sh
ROOT=${MONADO_ROOT:-$PWD/build/monado}
XR=pyopenxr==1.1.6501
mkdir -p build/engines
sid "$ROOT" monado-service monado-service libopenxr1-monado mesa-vulkan-drivers libegl1 libegl-mesa0 libgl1-mesa-dri \
	python3-numpy python3-opengl python3-zmq python3-msgpack python3-pil
if [ ! -e "$ROOT/opt/xr/xr/__init__.py" ]; then # a wheel of Python alone, with its loader: fetched out here
	python3 -m pip download -q --no-deps --only-binary=:all: -d build/engines "$XR"
	mkdir -p "$ROOT/opt/xr" && python3 -m zipfile -e build/engines/pyopenxr-*.whl "$ROOT/opt/xr"
fi
# the client's sources are copied in; Monado ends when what it reads from ends
cat > build/engines/monado <<END
#!/bin/sh
set -e
rm -rf "$ROOT/opt/roam" && mkdir -p "$ROOT/opt/roam" "$ROOT/opt/run" && chmod 700 "$ROOT/opt/run"
ln -sfn . "$ROOT/opt/roam/roam" && touch "$ROOT/opt/roam/__init__.py"
cp -r viewer world kernels scenes tests "$ROOT/opt/roam/"
mountpoint -q "$ROOT/proc" || mount -t proc proc "$ROOT/proc"
export XDG_RUNTIME_DIR=/opt/run
rm -f "$ROOT/opt/run/monado_comp_ipc"
mkfifo "$ROOT/opt/run/hold" 2> /dev/null || true
sleep 600 > "$ROOT/opt/run/hold" & HOLD=\$!
XRT_COMPOSITOR_NULL=1 SIMULATED_ENABLE=1 chroot "$ROOT" monado-service < "$ROOT/opt/run/hold" > build/engines/monado.log 2>&1 & SERVICE=\$!
trap 'kill \$SERVICE \$HOLD 2> /dev/null' EXIT
for _ in \$(seq 300); do [ -S "$ROOT/opt/run/monado_comp_ipc" ] && break; sleep 0.2; done
PYTHONPATH=/opt/roam:/opt/xr chroot "$ROOT" python3 /opt/roam/tests/engines/worn.py "\$@"
END
chmod +x build/engines/monado
echo "build/engines/monado has a walk worn: tests/viewer/xr/test_monado.py"
