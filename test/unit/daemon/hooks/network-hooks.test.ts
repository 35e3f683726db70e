/** When networks tell their hook scripts, what they tell, and what a refusal leaves behind. */
import { expect, it } from 'vitest';
import { VirtError } from '../../../../src/base/errors.ts';
import type { HookCall, Hooks } from '../../../../src/daemon/hooks/hooks.ts';
import { code, define, makeRig, xml } from '../../../support/network-rig.ts';

/** Hooks that remember, and refuse one operation. */
function recorder(refused?: string): Hooks & { readonly said: string[]; readonly inputs: string[] } {
  const said: string[] = [];
  const inputs: string[] = [];
  const note = ({ kind, object, operation, subOperation, input }: HookCall) => {
    said.push(`${kind} ${object} ${operation} ${subOperation}`);
    inputs.push(input?.() ?? '');
    if (operation === refused) throw new VirtError('hook.refused', { reason: 'no' });
  };
  return { said, inputs, ask: async (call) => note(call), tell: async (call) => note(call) };
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
