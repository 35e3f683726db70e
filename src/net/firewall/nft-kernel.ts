/** What the kernel's nf_tables holds, read by netlink (linux/netfilter/nf_tables.h): no process, well below 1 ms. */
import { constants } from 'node:os';
import { FfiError } from '../../base/ffi.ts';
import { attributeText, netlinkQuery, parseAttributes, textAttribute } from '../../base/netlink.ts';
import type { Family } from '../plan.ts';
import type { ListedRule } from './nft-rules.ts';

const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_GETGEN = 16;

const NFTA_TABLE_NAME = 1;
const NFTA_TABLE_HANDLE = 4;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_USERDATA = 7;
const NFTA_GEN_ID = 1;

const NF_DROP = 0;
const familyNames: Readonly<Record<number, string>> = {
  1: 'inet',
  2: 'ip',
  5: 'netdev',
  7: 'bridge',
  10: 'ip6',
};
/** enum nf_inet_hooks (linux/netfilter.h). */
const hookNames = ['prerouting', 'input', 'forward', 'output', 'postrouting'];

const numberOf = (family: Family): number => (family === 4 ? 2 : 10);

/** struct nfgenmsg: family, version 0, resource id 0. */
function query(options: {
  readonly message: number;
  readonly family: number;
  readonly attributes?: readonly Uint8Array[];
  readonly isDump: boolean;
  readonly what: string;
}): Buffer[] {
  const { message, family, attributes = [], isDump, what } = options;
  const header = Buffer.from([family, 0, 0, 0]);
  const type = NFNL_SUBSYS_NFTABLES * 256 + message;
  const body = Buffer.concat([header, ...attributes]);
  return netlinkQuery({ protocol: NETLINK_NETFILTER, type, body, what }, isDump);
}

/**
 * The number of the current rule set: every change by anyone gives another. Undefined when the kernel has no nf_tables,
 * or won't tell.
 */
export function nftGeneration(): number | undefined {
  try {
    const [answer] = query({
      message: NFT_MSG_GETGEN,
      family: 0,
      isDump: false,
      what: 'ask for the rules generation',
    });
    return answer && parseAttributes(answer.subarray(4)).get(NFTA_GEN_ID)?.readUInt32BE(0);
  } catch (error) {
    // No such protocol or subsystem in this kernel, or not permitted: then nft can't be used either.
    const { EPROTONOSUPPORT, EINVAL, EOPNOTSUPP, EPERM, EACCES } = constants.errno;
    const absent = [EPROTONOSUPPORT, EINVAL, EOPNOTSUPP, EPERM, EACCES];
    if (error instanceof FfiError && absent.includes(error.errno)) return undefined;
    throw error;
  }
}

/** The rules of a table in the kernel's order; undefined when there is no such table. */
export function listRules(family: Family, table: string): ListedRule[] | undefined {
  if (!hasTable(family, table)) return undefined;
  const answers = query({
    message: NFT_MSG_GETRULE,
    family: numberOf(family),
    attributes: [textAttribute(NFTA_RULE_TABLE, table)],
    isDump: true,
    what: `list the rules of table ${table}`,
  });
  return answers.flatMap((answer) => {
    const attributes = parseAttributes(answer.subarray(4));
    const chain = attributeText(attributes.get(NFTA_RULE_CHAIN));
    const handle = attributes.get(NFTA_RULE_HANDLE)?.readBigUInt64BE(0);
    if (attributeText(attributes.get(NFTA_RULE_TABLE)) !== table || chain === undefined) return [];
    return [{ chain, handle: handle ?? 0n, comment: commentOf(attributes.get(NFTA_RULE_USERDATA)) }];
  });
}

function hasTable(family: Family, table: string): boolean {
  return tablesOf(numberOf(family)).some(
    (attributes) => attributeText(attributes.get(NFTA_TABLE_NAME)) === table,
  );
}

function tablesOf(family: number): Map<number, Buffer>[] {
  const answers = query({ message: NFT_MSG_GETTABLE, family, isDump: true, what: 'list the tables' });
  return answers.map((answer) => parseAttributes(answer.subarray(4)));
}

/** The number the kernel gave a table when it was made; undefined when there is no such table, or no nf_tables. */
export function tableHandle(family: 'inet' | 'netdev', table: string): bigint | undefined {
  if (nftGeneration() === undefined) return undefined;
  const number = Object.keys(familyNames).find((key) => familyNames[Number(key)] === family);
  return tablesOf(Number(number))
    .find((attributes) => attributeText(attributes.get(NFTA_TABLE_NAME)) === table)
    ?.get(NFTA_TABLE_HANDLE)
    ?.readBigUInt64BE(0);
}

/** nft's user data (libnftnl udata.h): type and length in 8 bits each, then the value; type 0 is the comment. */
export function commentOf(data: Buffer | undefined): string | undefined {
  if (data === undefined) return undefined;
  for (let at = 0; at + 2 <= data.length; at += 2 + data.readUInt8(at + 1))
    if (data.readUInt8(at) === 0)
      return attributeText(data.subarray(at + 2, at + 2 + data.readUInt8(at + 1)));
  return undefined;
}

/** A chain that packets go through by themselves. */
export interface BaseChain {
  /** nft's word: `ip`, `inet`, `bridge`. */
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string;
  readonly isDropping: boolean;
}

/** All base chains of IP families on this host; iptables-nft's built-in chains are among them. */
export function listBaseChains(): BaseChain[] {
  const answers = query({ message: NFT_MSG_GETCHAIN, family: 0, isDump: true, what: 'list the chains' });
  return answers.flatMap((answer) => {
    const family = familyNames[answer.readUInt8(0)];
    const attributes = parseAttributes(answer.subarray(4));
    const hook = parseAttributes(attributes.get(NFTA_CHAIN_HOOK) ?? Buffer.alloc(0));
    const number = hook.get(NFTA_HOOK_HOOKNUM)?.readUInt32BE(0);
    const hookName = number === undefined ? undefined : hookNames[number];
    if (hookName === undefined || family === undefined || !['ip', 'ip6', 'inet'].includes(family)) return [];
    return [
      {
        family,
        table: attributeText(attributes.get(NFTA_CHAIN_TABLE)) ?? '',
        name: attributeText(attributes.get(NFTA_CHAIN_NAME)) ?? '',
        hook: hookName,
        isDropping: attributes.get(NFTA_CHAIN_POLICY)?.readUInt32BE(0) === NF_DROP,
      },
    ];
  });
}
