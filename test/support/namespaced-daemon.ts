/** A system daemon in a network namespace of its own, with the network `default` and all that it makes. */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from './daemon.ts';
import { addNamespace } from './namespaces.ts';

/** Starts a system daemon in a namespace that is made for it. `prefix` begins the name of its root. */
export async function daemonInNamespace(
  name: string,
  prefix: string,
): Promise<{ readonly daemon: TestDaemon; readonly client: VireoClient }> {
  addNamespace(name);
  const root = mkdtempSync(join(tmpdir(), prefix));
  chmodSync(root, 0o755); // dnsmasq runs as a user of its own and reads below it
  const daemon = await TestDaemon.start({ root, inside: ['ip', 'netns', 'exec', name] });
  return { daemon, client: await daemon.connect() };
}

/** Waits until the network `default` is active. */
export async function untilDefaultIsActive(client: VireoClient): Promise<void> {
  await eventually('default is active', async () => {
    const { networks } = await client.call('network.list', {});
    return networks[0]?.active === true;
  });
}
