/** `network`: the noun and its verbs. */
import type { AddCommand } from './command.ts';
import {
  addNetworkCreate,
  addNetworkCreateXml,
  addNetworkDefine,
  addNetworkEdit,
  addNetworkUndefine,
  addNetworkUpdate,
  addNetworkXml,
} from './network-define.ts';
import { addNetworkForward } from './network-forward.ts';
import { addNetworkLeases, addNetworkList, addNetworkShow } from './network-list.ts';
import { addNetworkAutostart, addNetworkReload, addNetworkStart, addNetworkStop } from './network-power.ts';
import {
  addNetworkDescription,
  addNetworkMetadata,
  addNetworkPorts,
  addNetworkTitle,
} from './network-settings.ts';
import { addNetworkTest } from './network-test.ts';

const verbs: readonly AddCommand[] = [
  addNetworkList,
  addNetworkShow,
  addNetworkCreate,
  addNetworkDefine,
  addNetworkStart,
  addNetworkStop,
  addNetworkReload,
  addNetworkTest,
  addNetworkUndefine,
  addNetworkXml,
  addNetworkEdit,
  addNetworkUpdate,
  addNetworkLeases,
  addNetworkPorts,
  addNetworkForward,
  addNetworkAutostart,
  addNetworkTitle,
  addNetworkDescription,
  addNetworkMetadata,
  addNetworkCreateXml,
];

export const addNetwork: AddCommand = (parent, cli) => {
  const network = parent
    .command('network')
    .alias('net')
    .summary('virtual networks')
    .description('Manages virtual networks. They need the system connection.');
  for (const add of verbs) add(network, cli);
};
