#!/bin/sh
# Installs what Debian must give: the container runtime and network tools of real nodes, and the files that the
# images are made from (unpacked under bin/packages, not installed, so that no service starts).
# Silent and instant when nothing is missing. Exits 0 without root, because simulated nodes need nothing of this.
set -eu
cd "$(dirname "$0")/.."
unpacked=bin/packages
done_mark=$unpacked/.complete

missing=
need() { # need PACKAGE FILE...: the package is missing unless one of the files is there
	package=$1
	shift
	for file; do
		if [ -e "$file" ]; then return; fi
	done
	missing="$missing $package"
}
need containerd /usr/bin/containerd /usr/local/bin/containerd
need runc /usr/sbin/runc /usr/bin/runc /usr/local/sbin/runc
need containernetworking-plugins /usr/lib/cni/ptp /opt/cni/bin/ptp
need iproute2 /sbin/ip /usr/sbin/ip /usr/bin/ip
need nftables /usr/sbin/nft
need busybox-static /bin/busybox

image_packages="nginx redis-server redis-tools"
unpack=
if [ "$(cat $done_mark 2>/dev/null)" != "$image_packages" ]; then unpack=1; fi

if [ -z "$missing$unpack" ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
	echo "install-packages: no apt-get here; for real nodes install by hand:${missing:- (nothing)}; simulated nodes work without" >&2
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "install-packages: not root; for real nodes and images run once: sudo $0 (missing:${missing:- image files}); simulated nodes work without" >&2
	exit 0
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
finish() {
	status=$?
	if [ -n "$made_policy" ]; then rm -f $policy; fi
	if [ $status != 0 ]; then
		echo "install-packages: failed; real nodes need$missing. apt said:" >&2
		tail -n 20 "$log" >&2
	fi
	rm -f "$log"
}
trap finish EXIT

export DEBIAN_FRONTEND=noninteractive
echo "install-packages: fetching${missing:+ and installing$missing}${unpack:+ files of the images ($image_packages)}"
apt-get update -qq >"$log" 2>&1 || true # an old list may still do; the install below tells
if [ -n "$missing" ]; then
	# Nodes start their own containerd: a packaged service must not start beside them.
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		made_policy=1
	fi
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -qq --no-install-recommends $missing >>"$log" 2>&1
fi
if [ -n "$unpack" ]; then
	rm -rf $unpacked
	mkdir -p $unpacked/archives/partial $unpacked/root
	# Fetches the packages and those of their dependencies that this machine lacks.
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends --reinstall --download-only \
		-o Dir::Cache::archives="$PWD/$unpacked/archives" $image_packages >>"$log" 2>&1
	for deb in $unpacked/archives/*.deb; do
		dpkg-deb -x "$deb" $unpacked/root >>"$log" 2>&1
	done
	rm -rf $unpacked/archives
	echo "$image_packages" >$done_mark
fi
