# Sourced by the scripts that make disks of whole Debians. Needs root, mmdebstrap and e2fsprogs.

# debian_root DIRECTORY SUITE PACKAGES: a small Debian below $root, which goes when the script ends.
debian_root() {
  mkdir -p "$1"
  work=$(mktemp -d "$1/root.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  root=$work/root
  mmdebstrap --variant=minbase --include="$3" --aptopt='Apt::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$2" "$root"
}

# debian_disk DIRECTORY IMAGE SIZE: an ext4 disk of what is below $root, with kernel and initrd beside it.
debian_disk() {
  cp "$root"/boot/vmlinuz-* "$1/vmlinuz"
  cp "$root"/boot/initrd.img-* "$1/initrd"
  rm -f "$1/$2"
  truncate -s "$3" "$1/$2"
  mke2fs -q -t ext4 -d "$root" "$1/$2"
  echo "made: $1/$2"
}
