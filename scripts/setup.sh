#!/bin/sh
# Installs what is missing: programs of the distribution, then the npm packages, then dist/. Quiet when nothing is to do.
#   setup.sh            what running needs
#   setup.sh --tests    also what the tests need
set -eu
cd "$(dirname "$0")/.."

say() { printf 'vireo: %s\n' "$*" >&2; }

case $(uname -m) in
  x86_64) qemu=qemu-system-x86_64 qemu_package=qemu-system-x86 firmware=ovmf ;;
  aarch64) qemu=qemu-system-aarch64 qemu_package=qemu-system-arm firmware=qemu-efi-aarch64 ;;
  *)
    say "this machine is $(uname -m); Vireo is made for x86_64 and aarch64"
    exit 1
    ;;
esac

# What is looked for (a program, a file, or static-busybox) and Debian's package for it; Ubuntu has the same names.
# Files, not /usr/share/doc: small images leave that out.
needs="
$qemu $qemu_package
qemu-img qemu-utils
dnsmasq dnsmasq-base
iptables iptables
nft nftables
ip iproute2
setpriv util-linux
prlimit util-linux
xz xz-utils
zstd zstd
firmware $firmware
static-busybox busybox-static
"
[ "${1:-}" != --tests ] || needs="$needs
xmllint libxml2-utils
xorriso xorriso
xz xz-utils
bzip2 bzip2
/usr/share/libvirt/schemas/domain.rng libvirt0
python3 python3
systemd-analyze systemd
lvm lvm2
sfdisk fdisk
mkfs.ext4 e2fsprogs
losetup mount
blkid util-linux
swtpm swtpm
swtpm_setup swtpm-tools
passt passt
strace strace
firewalld firewalld
dbus-daemon dbus-daemon
dbus-send dbus-bin
pkcheck polkitd
openssl openssl
sasl-scram libsasl2-modules
zsh zsh
fish fish
curl curl
socat socat
qemu-ga qemu-guest-agent
script bsdutils
virtiofsd virtiofsd
virt-install virtinst
virsh libvirt-clients
virtnbdbackup virtnbdbackup
/usr/lib/python3/dist-packages/libvirt.py python3-libvirt
perl perl
sys-virt libsys-virt-perl
tshark tshark
libvirt-dissector libvirt-wireshark
libvirtd libvirt-daemon
libvirt-qemu-driver libvirt-daemon-driver-qemu
/usr/share/libvirt/nwfilter/clean-traffic.xml libvirt-daemon-config-nwfilter
"

# The user's PATH often lacks the directories of the administrator's programs.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

is_there() {
  case $1 in
    firmware)
      for file in /usr/share/OVMF /usr/share/AAVMF /usr/share/edk2 /usr/share/edk2-ovmf; do
        [ ! -d "$file" ] || return 0
      done
      return 1
      ;;
    static-busybox)
      # One that needs shared libraries names their loader in its first bytes.
      busybox=$(command -v busybox) && ! head -c 4096 "$busybox" | grep -aq ld-linux
      ;;
    # Not in PATH anywhere; Debian 12 has it among QEMU's own files.
    virtiofsd) [ -e /usr/lib/qemu/virtiofsd ] || [ -e /usr/libexec/virtiofsd ] ;;
    libvirt-qemu-driver) ls /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so >/dev/null 2>&1 ;;
    sys-virt) ls /usr/lib/*/perl5/*/Sys/Virt.pm >/dev/null 2>&1 ;;
    sasl-scram) ls /usr/lib/*/sasl2/libscram.so >/dev/null 2>&1 ;;
    libvirt-dissector) ls /usr/lib/*/wireshark/plugins/*/epan/libvirt.so >/dev/null 2>&1 ;;
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing_packages() {
  printf '%s\n' "$needs" | while read -r program package; do
    [ -z "$program" ] || is_there "$program" || printf '%s\n' "$package"
  done | sort -u | tr '\n' ' ' | sed 's/ *$//'
}

# apt-get as root, its output kept back: shown only when it fails, with a word now and then while it works.
install_packages() {
  log=$(mktemp)
  (while sleep 15; do say "  $(tail -n 1 "$log")"; done) &
  ticker=$!
  trap 'kill "$ticker" 2>/dev/null; rm -f "$log"' EXIT
  trap 'exit 130' INT TERM
  export DEBIAN_FRONTEND=noninteractive
  # The lists may be absent or old; an update costs little next to an install. Another apt may be at work.
  # shellcheck disable=SC2086
  if ! { apt-get -q update && apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $1; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 25 "$log" >&2
    say "the installation failed; its last lines are above. Please mend that and run this command again."
    exit 1
  fi
  kill "$ticker"
  rm -f "$log"
  trap - EXIT INT TERM
}

# The tests run firewalld by hand in namespaces of their own; Debian's package would also make it this host's firewall.
keep_firewalld_off() {
  case " $1 " in *" firewalld "*) ;; *) return 0 ;; esac
  [ ! -d /run/systemd/system ] || systemctl mask --quiet firewalld.service
}

missing=$(missing_packages)
if [ -n "$missing" ]; then
  distribution=unknown
  # shellcheck disable=SC1091
  [ ! -r /etc/os-release ] || distribution=$(. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${ID_LIKE:-}")
  case " $distribution " in
    *" debian "* | *" ubuntu "*) ;;
    *)
      say "the packages of this distribution (${distribution% }) are not known here. Please install what Debian calls"
      say "    $missing"
      say "and run this command again."
      exit 1
      ;;
  esac
  if [ "$(id -u)" -ne 0 ]; then
    say "these packages are missing, and installing them needs root. Please run:"
    say "    sudo apt-get update && sudo apt-get install --no-install-recommends $missing"
    exit 1
  fi
  keep_firewalld_off "$missing"
  say "installing $missing ..."
  install_packages "$missing"
  missing=$(missing_packages)
  if [ -n "$missing" ]; then
    say "these packages were installed, and yet what is needed of them was not found: $missing"
    exit 1
  fi
fi

# The npm packages bring the right Node too (package `node`). npm writes this file at the end of an install.
stamp=node_modules/.package-lock.json
if [ ! -x node_modules/node/bin/node ] || [ ! -f "$stamp" ] || [ package-lock.json -nt "$stamp" ]; then
  say "installing the npm packages (npm ci) ..."
  npm ci --no-audit --no-fund --loglevel=error >/dev/null
  touch "$stamp"
fi

# A resolver that the tests run in namespaces of their own: only unpacked, since its package takes over this host's
# /etc/resolv.conf.
resolved=node_modules/.cache/systemd-resolved
if [ "${1:-}" = --tests ] && [ ! -e /lib/systemd/systemd-resolved ] && [ ! -e "$resolved/usr/bin/resolvectl" ]; then
  say "unpacking systemd-resolved for the tests ..."
  download=$(mktemp -d)
  if (cd "$download" && { apt-get -q download systemd-resolved || { apt-get -q update && apt-get -q download systemd-resolved; }; }) \
    >/dev/null 2>&1 && dpkg-deb --extract "$download"/systemd-resolved_*.deb "$download/files"; then
    mkdir -p node_modules/.cache
    mv "$download/files" "$resolved"
  else
    say "systemd-resolved could not be downloaded; the test that needs it is skipped"
  fi
  rm -rf "$download"
fi

# dist/ starts in a fraction of the sources' time and memory; the launchers take it while it is up to date. In a
# checkout of somebody else's they run the sources.
if [ -w . ] && { [ ! -f dist/.built ] || [ -n "$(find src package.json -newer dist/.built -print -quit)" ]; }; then
  say "building dist/ ..."
  node_modules/node/bin/node scripts/build.ts
fi
