/** `host node-devices|node-device|detach|reattach|reset`: the host's devices by libvirt's names. */
import type { Command } from 'commander';
import { nodeCapabilityTypes } from '../../model/node-device/node-device.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import { type AddCommand, collect } from './command.ts';

export const addNodeDevices: AddCommand = (host, cli) => {
  host
    .command('node-devices')
    .summary("list the devices by libvirt's names")
    .description(methodSummary('node-device.list'))
    .option(
      '--capability <type>',
      `${paramHelp('node-device.list', 'capabilities')} May be given several times.`,
      collect,
    )
    .action(async ({ capability }: { readonly capability?: readonly string[] }) => {
      const capabilities = capability?.map(capabilityOf);
      const result = await cli.withClient((client) =>
        client.call('node-device.list', capabilities === undefined ? {} : { capabilities }),
      );
      cli.out.result(result, () =>
        result.devices.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.devices, [
              { title: 'NAME', value: ({ name }) => name },
              { title: 'IS', value: (one) => one.capabilities.join(', ') },
              { title: 'DRIVER', value: ({ driver }) => driver ?? '' },
              { title: 'NODE', value: ({ devnode }) => devnode ?? '' },
              { title: 'ON', value: ({ parent }) => parent ?? '', shrinks: true },
            ]),
      );
    });
  host
    .command('node-device')
    .summary("print a device as libvirt's XML")
    .description(methodSummary('node-device.xml'))
    .argument('<device>', NAME_HELP)
    .action(async (device: string) => {
      const result = await cli.withClient((client) => client.call('node-device.xml', { device }));
      cli.out.result(result, () => safeLines(result.xml));
    });
  addMove(host, cli, 'detach', 'is ready for guests').option(
    '--driver <name>',
    paramHelp('node-device.detach', 'driver'),
  );
  addMove(host, cli, 'reattach', 'is with the host again');
  addMove(host, cli, 'reset', 'was reset');
};

const NAME_HELP = "libvirt's name: pci_0000_01_00_0; 'vireo host node-devices' lists them.";

const summaries = {
  detach: 'take a PCI device from its driver',
  reattach: 'give a PCI device back to its driver',
  reset: 'reset a PCI device that nobody has',
} as const;

function addMove(host: Command, cli: Cli, verb: keyof typeof summaries, done: string): Command {
  return host
    .command(verb)
    .summary(summaries[verb])
    .description(methodSummary(`node-device.${verb}`))
    .argument('<device>', NAME_HELP)
    .action(async (device: string, { driver }: { readonly driver?: string }) => {
      const params = { device, ...(driver !== undefined && { driver }) };
      await cli.withClient((client) => client.call(`node-device.${verb}`, params));
      cli.out.result({ device }, () => `${device} ${done}.\n`);
    });
}

function capabilityOf(text: string) {
  const found = nodeCapabilityTypes.find((type) => type === text);
  if (found !== undefined) return found;
  throw badOption(
    '--capability',
    text,
    'there is no such one',
    `it is one of ${nodeCapabilityTypes.join(', ')}`,
  );
}
