/** When networks tell their hook scripts, what they tell, and what a refusal leaves behind. */
import { openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../../src/base/errors.ts';
import type { HookCall, Hooks } from '../../../../src/daemon/hooks/hooks.ts';
import { GuestLinks } from '../../../../src/daemon/services/guest-links.ts';
import { code, define, makeRig, xml } from '../../../support/network-rig.ts';
import { nicOf } from '../../../support/nic.ts';

/** Hooks that remember, and refuse one operation. */
function recorder(refused?: string): Hooks & { readonly said: string[]; readonly inputs: string[] } {
  const said: string[] = [];
  const inputs: string[] = [];
  const note = ({ kind, object, operation, subOperation, input }: HookCall) => {
    said.push(`${kind} ${object} ${operation} ${subOperation}`);
    inputs.push(input?.() ?? '');
    if (operation === refused) throw new VirtError('hook.refused', { reason: 'no' });
  };
  return {
    said,
    inputs,
    ask: async (call) => note(call),
    filter: () => Promise.reject(new Error('networks have no such moment')),
    tell: async (call) => note(call),
  };
}

it('tells of start, change and stop, each with the document inside hookData', async () => {
  const hooks = recorder();
  const rig = makeRig({ hooks });
  const network = await define(rig, xml('lab', 150));
  await rig.networks.lifecycle.start(network);
  await rig.networks.definitions.update(
    network,
    {
      command: 'add-last',
      section: 'ip-dhcp-host',
      xml: "<host mac='52:54:00:00:00:01' ip='192.168.150.9'/>",
    },
    {},
  );
  await rig.networks.lifecycle.stop(network);
  expect(hooks.said).toEqual([
    'network lab start begin',
    'network lab started begin',
    'network lab updated begin',
    'network lab stopped end',
  ]);
  for (const input of hooks.inputs) expect(input).toMatch(/^<hookData>\n {2}<network>/);
  expect(hooks.inputs[2]).toContain('52:54:00:00:00:01');
});

it.each(['start', 'started'])('starts no network that is refused at %s', async (moment) => {
  const hooks = recorder(moment);
  const rig = makeRig({ hooks });
  const network = await define(rig, xml('lab', 150));
  await expect(rig.networks.lifecycle.start(network)).rejects.toEqual(code('hook.refused'));
  expect(network.isActive).toBe(false);
  expect(hooks.said.at(-1)).toBe('network lab stopped end');
  expect(rig.events.map(({ event }) => event)).not.toContain('network.started');
});

describe('ports', () => {
  const request = {
    domainUuid: '6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0001',
    domainName: 'guest',
    interfaceIndex: 0,
    definition: nicOf("<source network='lab'/>"),
    queues: 1,
  };

  async function linksOn(hooks: Hooks) {
    const rig = makeRig({ hooks });
    await rig.networks.lifecycle.start(await define(rig, xml('lab', 150)));
    return { rig, links: new GuestLinks(rig.networks, rig.host, '/run/test', hooks) };
  }

  it('are told of when a guest comes and goes, with network and port', async () => {
    const hooks = recorder();
    const { links } = await linksOn(hooks);
    const { deviceName, actual } = await links.open(request);
    const definition = { ...request.definition, ...actual };
    await links.close({
      domainUuid: request.domainUuid,
      deviceName,
      port: { domainName: 'guest', definition },
    });
    expect(hooks.said.slice(2)).toEqual(['network lab port-created begin', 'network lab port-deleted begin']);
    const [created, deleted] = hooks.inputs.slice(2);
    expect(created).toMatch(/^<hookData>\n {2}<network>[^]*<networkport>[^]*<name>guest<\/name>/);
    expect(created).toContain("<plug type='network' bridge='virbr0'/>");
    expect(deleted).toBe(created);
  });

  it('are not made where they are refused, and leave no tap', async () => {
    const { rig, links } = await linksOn(recorder('port-created'));
    // Real ones: they are closed.
    rig.host.openTap = async () => ({ fds: [openSync('/dev/null', 'r')], vhostFds: [], name: 'vnet0' });
    await expect(links.open(request)).rejects.toEqual(code('hook.refused'));
    expect(rig.host.done.at(-1)).toMatch(/^delete/);
  });

  it('of interfaces beside networks are nobody’s', async () => {
    const hooks = recorder();
    const { links } = await linksOn(hooks);
    await links.open({ ...request, definition: nicOf("<source bridge='br0'/>", 'bridge') });
    expect(hooks.said).toHaveLength(2);
  });
});
