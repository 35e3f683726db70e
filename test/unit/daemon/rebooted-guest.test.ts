/** A guest that was switched off to be rebooted goes on; to clients that is a reboot and nothing else. */
import { expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

it('is not told as resumed', async () => {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web') });
  await client.call('domain.start', { domain: 'web' });
  const [guest] = rig.driver.guests;
  if (guest === undefined) throw new Error('no guest was started');
  const told: string[] = [];
  rig.events.subscribe((event) => told.push(event.event));
  const state = (state: 'shutdown' | 'paused' | 'running', reason: string) =>
    guest.emit({ kind: 'state', seconds: 0, state: { state, reason } } as Parameters<typeof guest.emit>[0]);
  state('shutdown', 'unknown');
  state('running', 'unpaused');
  expect(rig.domains.find({ name: 'web' }).state.state).toBe('running');
  expect(told).not.toContain('domain.resumed');
  state('paused', 'user');
  state('running', 'unpaused');
  expect(told).toContain('domain.resumed');
});
