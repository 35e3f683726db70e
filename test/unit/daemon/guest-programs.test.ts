/** Programs run inside a guest by its agent. */
import { expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

it('go on to be asked for when the agent of a busy guest is late with one answer', async () => {
  const { driver, connect } = await startDaemon();
  const client = await connect();
  await client.call('domain.define', { xml: xml('web', '') });
  await client.call('domain.start', { domain: 'web' });
  const guest = driver.guests.at(-1);
  if (guest === undefined) throw new Error('nothing was started');
  let looks = 0;
  guest.answers['guest-exec'] = { pid: 7 };
  const onStatus = (get: () => unknown) =>
    Object.defineProperty(guest.answers, 'guest-exec-status', { get, configurable: true });
  onStatus(() => {
    looks += 1;
    if (looks === 1)
      throw new VirtError('agent.unresponsive', { reason: 'it did not answer within 5000 ms' });
    return { exited: true, exitcode: 0, 'out-data': Buffer.from('done').toString('base64') };
  });
  const exec = { domain: 'web', path: 'sh', args: ['-c', 'true'] };
  const { stdoutBase64 } = await client.call('domain.guest.exec', exec);
  expect(Buffer.from(stdoutBase64, 'base64').toString()).toBe('done');
  expect(looks).toBe(2);
  onStatus(() => {
    throw new VirtError('agent.unresponsive', { reason: 'it did not answer within 5000 ms' });
  });
  await expect(client.call('domain.guest.exec', { ...exec, timeoutMs: 100 })).rejects.toMatchObject({
    code: 'agent.unresponsive',
  });
});
