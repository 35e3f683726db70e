/** What the kernel holds of the filters' table, read by netlink (linux/netfilter/nf_tables.h): no process is run. */
import {
  attributeText,
  isGone,
  listAttributes,
  netlinkQuery,
  parseAttributes,
  textAttribute,
} from '../../base/netlink.ts';
import { commentOf } from '../firewall/nft-kernel.ts';
import { type FilterTableState, filterTable } from './transaction.ts';

const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_NFTABLES = 10;
const NFPROTO_BRIDGE = 7;

const NFT_MSG_GETTABLE = 1;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_GETSET = 10;
const NFT_MSG_GETSETELEM = 13;

const NFTA_TABLE_NAME = 1;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_USERDATA = 7;
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFT_SET_MAP = 0x8;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_DATA_VALUE = 1;

/** Attributes of every answer to a dump. */
function dump(message: number, what: string, attributes: readonly Uint8Array[] = []): Map<number, Buffer>[] {
  // struct nfgenmsg: family, version 0, resource id 0.
  const body = Buffer.concat([Buffer.from([NFPROTO_BRIDGE, 0, 0, 0]), ...attributes]);
  const type = NFNL_SUBSYS_NFTABLES * 256 + message;
  return netlinkQuery({ protocol: NETLINK_NETFILTER, type, body, what }, true).map((answer) =>
    parseAttributes(answer.subarray(4)),
  );
}

/** Undefined when there is no such table. @throws FfiError when the kernel has no nf_tables, or won't tell */
export function readFilterTable(): FilterTableState | undefined {
  try {
    const tables = dump(NFT_MSG_GETTABLE, 'list the tables');
    if (!tables.some((one) => attributeText(one.get(NFTA_TABLE_NAME)) === filterTable)) return undefined;
    const sets = ownSets();
    return {
      chains: dump(NFT_MSG_GETCHAIN, 'list the chains')
        .filter((one) => attributeText(one.get(NFTA_CHAIN_TABLE)) === filterTable)
        .flatMap((one) => attributeText(one.get(NFTA_CHAIN_NAME)) ?? []),
      comments: ownComments(),
      sets: sets.filter(({ isMap }) => !isMap).map(({ name }) => name),
      elements: sets.filter(({ isMap }) => isMap).flatMap(({ name }) => elementsOf(name)),
    };
  } catch (error) {
    // Somebody took the table away while we read it.
    if (isGone(error)) return undefined;
    throw error;
  }
}

function ownComments(): FilterTableState['comments'] {
  const comments = new Map<string, (string | undefined)[]>();
  const answers = dump(NFT_MSG_GETRULE, `list the rules of table ${filterTable}`, [
    textAttribute(NFTA_RULE_TABLE, filterTable),
  ]);
  for (const one of answers) {
    const chain = attributeText(one.get(NFTA_RULE_CHAIN));
    if (attributeText(one.get(NFTA_RULE_TABLE)) !== filterTable || chain === undefined) continue;
    const before = comments.get(chain) ?? [];
    comments.set(chain, before);
    before.push(commentOf(one.get(NFTA_RULE_USERDATA)));
  }
  return comments;
}

/** Named sets and maps; nft's own anonymous ones begin with `__`. */
function ownSets(): { readonly name: string; readonly isMap: boolean }[] {
  return dump(NFT_MSG_GETSET, 'list the sets', [textAttribute(NFTA_SET_TABLE, filterTable)]).flatMap(
    (one) => {
      const name = attributeText(one.get(NFTA_SET_NAME));
      if (attributeText(one.get(NFTA_SET_TABLE)) !== filterTable || name === undefined) return [];
      const flags = one.get(NFTA_SET_FLAGS)?.readUInt32BE(0) ?? 0;
      return [{ name, isMap: (flags & NFT_SET_MAP) !== 0 }];
    },
  );
}

/** The interface names that a map has. An answer holds as many elements as fit. */
function elementsOf(map: string): { readonly map: string; readonly tap: string }[] {
  const answers = dump(NFT_MSG_GETSETELEM, `list the map ${map}`, [
    textAttribute(NFTA_SET_ELEM_LIST_TABLE, filterTable),
    textAttribute(NFTA_SET_ELEM_LIST_SET, map),
  ]);
  return answers
    .flatMap((one) => listAttributes(one.get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? Buffer.alloc(0)))
    .flatMap((element) => {
      const key = parseAttributes(element).get(NFTA_SET_ELEM_KEY);
      const tap = key && attributeText(parseAttributes(key).get(NFTA_DATA_VALUE));
      return tap === undefined ? [] : [{ map, tap }];
    });
}
