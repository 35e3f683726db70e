/** `pool`: the noun and its verbs. */
import type { AddCommand } from './command.ts';
import {
  addPoolCreate,
  addPoolCreateXml,
  addPoolDefine,
  addPoolEdit,
  addPoolUndefine,
  addPoolXml,
} from './pool-define.ts';
import { addPoolCapabilities, addPoolFindSources, addPoolList, addPoolShow } from './pool-list.ts';
import {
  addPoolAutostart,
  addPoolBuild,
  addPoolDelete,
  addPoolRefresh,
  addPoolStart,
  addPoolStop,
} from './pool-power.ts';

const verbs: readonly AddCommand[] = [
  addPoolList,
  addPoolShow,
  addPoolCreate,
  addPoolDefine,
  addPoolBuild,
  addPoolStart,
  addPoolStop,
  addPoolRefresh,
  addPoolDelete,
  addPoolUndefine,
  addPoolXml,
  addPoolEdit,
  addPoolAutostart,
  addPoolCreateXml,
  addPoolFindSources,
  addPoolCapabilities,
];

export const addPool: AddCommand = (parent, cli) => {
  const pool = parent
    .command('pool')
    .summary('storage pools: where disks and install media are')
    .description('Manages storage pools.');
  for (const add of verbs) add(pool, cli);
};
