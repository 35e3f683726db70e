#!/bin/bash
# Real cloud-init reads our seed: publishes the image of cloud-init-image.sh as Debian does, on loopback, and makes guests of it
# with the daemon of this tree; then looks inside over SSH. Needs root, python3 and qemu-utils. Says what is wrong and goes on.
#
#   bash cloud-init.sh DIRECTORY [PORT] [auto|kvm|qemu]
set -u
directory=$(cd "$1" && pwd)
port=${2:-2292}
type=${3:-auto}
here=$(cd -P -- "$(dirname -- "$0")/../.." && pwd)
root=$directory/r
. "$(dirname -- "$0")/expect.sh"
vireo() { "$here/bin/vireo" --root "$root" "$@"; }
rm -rf "$root" "$directory/web" "$directory/id" "$directory/id.pub"
mkdir -p "$directory/web/debian/bookworm/latest" "$root/etc/vireo"
name=debian-12-genericcloud-amd64.qcow2
qemu-img convert -f raw -O qcow2 "$directory/disk.img" "$directory/web/debian/bookworm/latest/$name"
(cd "$directory/web/debian/bookworm/latest" && sha512sum $name >SHA512SUMS)
python3 -m http.server --bind 127.0.0.1 --directory "$directory/web" $((port + 1000)) >/dev/null 2>&1 &
web=$!
cat >"$root/etc/vireo/vireod.toml" <<CONF
[network]
define_default = false
[storage]
allow_import_urls = ["https://", "http://127.0.0.1:$((port + 1000))/"]
[catalogue]
debian = "http://127.0.0.1:$((port + 1000))/debian"
CONF
"$here/bin/vireod" --mode system --root "$root" >"$directory/vireod.log" 2>&1 &
daemon=$!
trap 'vireo destroy ci >/dev/null 2>&1; kill $web $daemon; wait $daemon' EXIT
for _ in $(seq 100); do vireo list >/dev/null 2>&1 && break; sleep 0.2; done
ssh-keygen -q -t ed25519 -N '' -f "$directory/id"

inside() { # user, command
  ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20 -o BatchMode=yes -i "$directory/id" \
    -p "$port" "$1@127.0.0.1" "$2"
}
reach() { # user: waits until it may log in and cloud-init has ended
  for _ in $(seq 120); do inside "$1" true && break; sleep 5; done
  inside "$1" 'cloud-init status --wait >/dev/null; true'
}
boot() { # words of create
  vireo create --name ci --type "$type" --image debian:12 --memory 1GiB --network "user,forward=tcp:$port:22" --kernel "$directory/vmlinuz" \
    --initrd "$directory/initrd" --cmdline 'root=/dev/vda rw console=ttyS0' --start "$@"
}

expect 'a guest is made' ci "$(boot --ssh-key "$directory/id.pub" 2>&1)"
reach debian
expect 'its user may log in by key' '^debian$' "$(inside debian 'id -un' 2>&1)"
expect 'cloud-init is done' '^status: done' "$(inside debian 'cloud-init status --long')"
expect 'from our seed' 'NoCloud.*/dev/vd[a-z]' "$(inside debian 'cloud-init status --long')"
expect 'without an error or a warning' '^0$' "$(inside debian 'sudo grep -cE "WARNING|ERROR|Traceback" /var/log/cloud-init.log')"
expect 'the host name is that of the domain' '^ci$' "$(inside debian hostname)"
uuid=$(vireo xml ci | sed -n 's|.*<uuid>\(.*\)</uuid>.*|\1|p' | head -1)
echo "        domain $uuid, instance $(inside debian 'cat /var/lib/cloud/data/instance-id')"
expect 'its file system has grown to the disk' '^1?[0-9]G$' "$(inside debian 'df -h --output=size / | tail -1 | tr -d " " | sed "s/\..*G/G/"')"
expect 'cloud-init has checked the schema' 'Valid' "$(inside debian 'sudo cloud-init schema --system 2>&1')"
inside debian 'sudo cat /etc/netplan/*.yaml /etc/systemd/network/*cloud* 2>/dev/null; ip -br a' | sed 's/^/        /'
vireo destroy ci >/dev/null && vireo start ci >/dev/null
reach debian
expect 'a second start is the same instance' '^1$' "$(inside debian 'ls /var/lib/cloud/instances | wc -l')"
vireo destroy ci >/dev/null && vireo undefine ci >/dev/null
vireo volume delete --now -y ci.qcow2 ci-seed.iso >/dev/null

cat >"$directory/user-data" <<CLOUD
#cloud-config
hostname: other
users:
  - name: ann
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: ["$(cat "$directory/id.pub")"]
write_files:
  - path: /etc/from-user-data
    content: whole
runcmd: [[touch, /run/has-run]]
CLOUD
expect 'a guest with user-data of its own is made' ci "$(boot --cloud-init "$directory/user-data" 2>&1)"
reach ann
expect 'that user may log in' '^ann$' "$(inside ann 'id -un' 2>&1)"
expect 'files and commands of the user-data were there' '^whole$' "$(inside ann 'ls /run/has-run >/dev/null && cat /etc/from-user-data')"
expect 'its host name too' '^other$' "$(inside ann hostname)"
tell_end
