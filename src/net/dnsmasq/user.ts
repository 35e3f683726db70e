/** Which unprivileged user dnsmasq becomes. */
import { readFileSync } from 'node:fs';

/** The users that packages make for it, libvirt's first; `nobody` is everywhere. */
const candidates = ['libvirt-dnsmasq', 'dnsmasq'];

export function findDnsmasqUser(): string {
  const names = new Set(
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':', 1)[0]),
  );
  return candidates.find((name) => names.has(name)) ?? 'nobody';
}
