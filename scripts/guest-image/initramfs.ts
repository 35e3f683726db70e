/** The little guest: busybox, an address by DHCP, one line that tells it, a shell on the serial console. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildCpio, type CpioEntry, directory, file } from './cpio.ts';
import type { GuestKernel } from './kernel.ts';

/** Debian and Ubuntu have it in the first place, others in the second. */
const busyboxPaths = ['/bin/busybox', '/usr/sbin/busybox', '/sbin/busybox'];

async function staticBusybox(): Promise<Buffer> {
  for (const path of busyboxPaths.filter((one) => existsSync(one))) {
    const program = await readFile(path);
    // One that needs shared libraries names their loader in its first bytes.
    if (!program.subarray(0, 4096).includes('/ld-linux')) return program;
  }
  throw new Error('there is no static busybox; Debian has it in the package busybox-static');
}

/** Process 1: load modules, bring up the first NIC, serve a page on port 80, offer a shell; obey the power button. */
const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=linux
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run /tmp; mount -t devpts devpts /dev/pts
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
hostname "$(sed -n 's/.*vireo.hostname=\\([A-Za-z0-9.-]*\\).*/\\1/p' /proc/cmdline | grep . || echo welcome)"
ip link set lo up
nic=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
if [ -n "$nic" ]; then
  ip link set "$nic" up
  if udhcpc -q -n -t 10 -T 2 -x "hostname:$(hostname)" -i "$nic" -s /etc/udhcpc.sh >/dev/null 2>&1; then
    address=$(ip -4 -o addr show dev "$nic" | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p')
    gateway=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p')
    dns=$(sed -n 's/^nameserver \\(.*\\)/\\1/p' /etc/resolv.conf | head -n 1)
    echo "vireo guest: address $address gateway $gateway dns $dns"
  else
    echo "vireo guest: no address"
  fi
  mkdir -p /www; echo "Hello from $(hostname)." >/www/index.html
  httpd -p 80 -h /www
else
  echo "vireo guest: no network card"
fi
mkdir -p /etc/acpi/PWRF; printf '#!/bin/sh\\npoweroff -f\\n' >/etc/acpi/PWRF/00000080; chmod 755 /etc/acpi/PWRF/00000080
acpid -l /dev/null 2>/dev/null
for script in /etc/start.d/*; do [ -x "$script" ] && "$script"; done
echo "vireo guest: ready"
while :; do setsid cttyhack sh -l; done
`;

const dhcpScript = `#!/bin/busybox sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/\${mask:-24}" dev "$interface"
[ -n "$router" ] && ip route replace default via "\${router%% *}"
: >/etc/resolv.conf
for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
`;

const profile = `PS1='\\h:\\w# '
echo
echo "This is a small Linux guest of Vireo: busybox, in memory only. 'poweroff -f' ends it."
echo
`;

/**
 * Builds the initramfs (gzip) for that kernel. `extra` adds files, for example scripts below etc/start.d that run
 * when the network is up.
 */
export async function buildInitramfs(kernel: GuestKernel, extra: readonly CpioEntry[] = []): Promise<Buffer> {
  const busybox = await staticBusybox();
  const modules = await Promise.all(
    kernel.modules.map(async (name) =>
      file(`modules/${name}`, await readFile(join(kernel.moduleDirectory, name))),
    ),
  );
  const directories = ['bin', 'dev', 'etc', 'etc/start.d', 'modules', 'proc', 'root', 'sys', 'usr', 'var'];
  const entries: CpioEntry[] = [
    ...directories.map(directory),
    { name: 'dev/console', mode: 0o020600, device: [5, 1] },
    { name: 'dev/null', mode: 0o020666, device: [1, 3] },
    file('bin/busybox', busybox, 0o755),
    file('init', init, 0o755),
    file('etc/udhcpc.sh', dhcpScript, 0o755),
    file('etc/profile', profile),
    file('etc/passwd', 'root::0:0:root:/root:/bin/sh\n'),
    file('modules/order', kernel.modules.map((name) => `${name}\n`).join('')),
    ...modules,
    ...extra,
  ];
  return gzipSync(buildCpio(entries), { level: 6 });
}
