# Debian sid in a folder of its own, for what the system's packages are too old for; sourced by the scripts beside it.

# sid ROOT BINARY PACKAGE...: have a program in a sid at ROOT, with those packages. Needs root, and debootstrap or apt-get.
sid() {
	local root=$1 binary=$2
	shift 2
	[ ! -x "$root/usr/bin/$binary" ] || return 0
	command -v debootstrap > /dev/null || apt-get install -y --no-install-recommends debootstrap
	[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase sid "$root" http://deb.debian.org/debian
	printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" # nothing is to start in there
	chmod +x "$root/usr/sbin/policy-rc.d"
	chroot "$root" apt-get update -o Acquire::Check-Valid-Until=false
	DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y --no-install-recommends "$@"
}
