/** What changes in a running guest stands in its definition, and what goes stands there no more. */
import { expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

it('says nothing of an IO thread, a throttle group or a title that is gone', async () => {
  const { connect } = await startDaemon();
  const client = await connect();
  await client.call('domain.define', { xml: xml('web').replace('<os>', '<iothreads>1</iothreads><os>') });
  await client.call('domain.start', { domain: 'web' });
  const live = async () => (await client.call('domain.xml', { domain: 'web' })).xml;
  const targets = { domain: 'web', live: true };
  await client.call('domain.throttle-group.set', { ...targets, group: 'g', limits: { totalIopsSec: 5 } });
  await client.call('domain.set-title', { domain: 'web', title: 'Web' });
  await client.call('domain.iothread.add', { ...targets, id: 4 });
  for (const part of ['<iothreads>2', "<iothread id='4'", '<throttlegroup>', '<title>Web'])
    expect(await live()).toContain(part);
  for (const id of [1, 4]) await client.call('domain.iothread.remove', { ...targets, id });
  await client.call('domain.throttle-group.remove', { ...targets, group: 'g' });
  await client.call('domain.set-title', { domain: 'web', title: null });
  expect(await live()).not.toMatch(/iothread|throttlegroup|<title>/);
  await expect(client.call('domain.iothread.remove', { ...targets, id: 1 })).rejects.toThrow(
    expect.objectContaining({ code: 'request.invalid' }),
  );
});
