/** Checkpoints of domains: making, finding, deleting. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireDomain } from '../../../../libvirt/protocol/objects.ts';
import { type Checkpoint, parseCheckpoint } from '../../../../model/checkpoint/checkpoint.ts';
import type { CheckpointTree } from '../../../services/checkpoint-records.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { validate } from './schema.ts';
import { bareInvalid, checkFlags, domainOf, telling, wireDomainOf } from './support.ts';

/** virDomainCheckpointCreateFlags. */
const createFlag = { redefine: 1, quiesce: 2, redefineValidate: 4 } as const;
/** virDomainCheckpointXMLFlags. */
const xmlFlag = { secure: 1, noDomain: 2, size: 4 } as const;
/** virDomainCheckpointListFlags. The first means roots for a domain, and all below for a checkpoint. */
const listFlag = { rootsOrDescendants: 1, topological: 2, leaves: 4, noLeaves: 8 } as const;
const allListFlags = 0xf;
/** virDomainCheckpointDeleteFlags. */
const deleteFlag = { children: 1, metadataOnly: 2, childrenOnly: 4 } as const;

interface WireCheckpoint {
  readonly name: string;
  readonly dom: WireDomain;
}

export function domainCheckpointHandlers(engine: Engine) {
  return {
    ...looks(engine),
    ...changes(engine),
  } satisfies RemoteHandlers;
}

const wire = (domain: Domain, { name }: Pick<Checkpoint, 'name'>) => ({ name, dom: wireDomainOf(domain) });

/** A checkpoint with what is around it. @throws LibvirtError, VirtError checkpoint.not-found */
function found(engine: Engine, { dom, name }: WireCheckpoint) {
  const { checkpoints } = engine.domains;
  const domain = domainOf(engine, dom);
  return { domain, tree: checkpoints.treeOf(domain), checkpoint: checkpoints.find(domain, name) };
}

const answer = (domain: Domain, list: readonly Checkpoint[], needResults: number) => ({
  checkpoints: needResults === 0 ? [] : list.map((one) => wire(domain, one)),
  ret: list.length,
});

/** Looking for them, and at them. */
function looks(engine: Engine) {
  const { checkpoints } = engine.domains;
  return {
    domainCheckpointGetXmlDesc: async ({ checkpoint, flags }, call) => {
      checkFlags(flags, xmlFlag.secure | xmlFlag.noDomain | xmlFlag.size, call);
      const { domain } = found(engine, checkpoint);
      const options = {
        secure: has(flags, xmlFlag.secure),
        noDomain: has(flags, xmlFlag.noDomain),
        size: has(flags, xmlFlag.size),
      };
      return { xml: await checkpoints.xml(domain, checkpoint.name, options) };
    },
    domainListAllCheckpoints: ({ dom, needResults, flags }, call) => {
      checkFlags(flags, allListFlags, call);
      const domain = domainOf(engine, dom);
      const tree = checkpoints.treeOf(domain);
      const list = has(flags, listFlag.rootsOrDescendants) ? tree.roots : tree.topological;
      return answer(domain, listed(tree, list, flags), needResults);
    },
    domainCheckpointListAllChildren: ({ checkpoint, needResults, flags }, call) => {
      checkFlags(flags, allListFlags, call);
      const { domain, tree } = found(engine, checkpoint);
      const all = has(flags, listFlag.rootsOrDescendants);
      const list = all ? tree.descendantsOf(checkpoint.name) : tree.childrenOf(checkpoint.name);
      return answer(domain, listed(tree, list, flags), needResults);
    },
    domainCheckpointLookupByName: ({ dom, name, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      return { checkpoint: wire(domain, checkpoints.find(domain, name)) };
    },
    domainCheckpointGetParent: ({ checkpoint: asked, flags }, call) => {
      checkFlags(flags, 0, call);
      const { domain, tree, checkpoint } = found(engine, asked);
      const parent = tree.parentOf(checkpoint);
      if (parent === undefined)
        throw new LibvirtError(
          errorNumber.noDomainCheckpoint,
          `checkpoint '${checkpoint.name}' does not have a parent`,
        );
      return { parent: wire(domain, parent) };
    },
  } satisfies RemoteHandlers;
}

/** Making and deleting them. */
function changes(engine: Engine) {
  const { checkpoints } = engine.domains;
  return {
    domainCheckpointCreateXml: async ({ dom, xmlDesc, flags }, call) => {
      const domain = domainOf(engine, dom);
      return { checkpoint: wire(domain, await create(engine, domain, xmlDesc, flags, call)) };
    },
    domainCheckpointDelete: async ({ checkpoint, flags }, call) => {
      checkFlags(flags, deleteFlag.children | deleteFlag.metadataOnly | deleteFlag.childrenOnly, call);
      if (has(flags, deleteFlag.children) && has(flags, deleteFlag.childrenOnly))
        throw bareInvalid(
          "Flags 'VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN' and 'VIR_DOMAIN_CHECKPOINT_DELETE_CHILDREN_ONLY' are mutually exclusive",
        );
      const domain = domainOf(engine, checkpoint.dom);
      const scope = has(flags, deleteFlag.children)
        ? 'with-children'
        : has(flags, deleteFlag.childrenOnly)
          ? 'children-only'
          : 'one';
      const metadataOnly = has(flags, deleteFlag.metadataOnly);
      await checkpoints.delete(domain, checkpoint.name, { scope, metadataOnly });
    },
  } satisfies RemoteHandlers;
}

const has = (flags: number, bit: number): boolean => (flags & bit) !== 0;

/** The ones that the filter bits leave; by name, where no order is asked for. */
function listed(tree: CheckpointTree, list: readonly Checkpoint[], flags: number): Checkpoint[] {
  const leaves = has(flags, listFlag.leaves);
  const isFiltered = leaves !== has(flags, listFlag.noLeaves);
  const kept = list.filter(({ name }) => !isFiltered || (tree.childrenOf(name).length === 0) === leaves);
  return has(flags, listFlag.topological) ? kept : kept.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function ifRunning<T>(detail: string, work: () => Promise<T>): Promise<T> {
  return telling('domain.inactive', () => new LibvirtError(errorNumber.operationUnsupported, detail), work);
}

async function create(
  engine: Engine,
  domain: Domain,
  xml: string,
  flags: number,
  call: Call,
): Promise<Checkpoint> {
  checkFlags(flags, createFlag.redefine | createFlag.quiesce | createFlag.redefineValidate, call);
  const { checkpoints } = engine.domains;
  const isRedefined = has(flags, createFlag.redefine);
  if (has(flags, createFlag.redefineValidate) && !isRedefined)
    throw bareInvalid(
      "Flag 'VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE' is required by flag 'VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE'",
    );
  await validate('domaincheckpoint', xml);
  if (isRedefined)
    return checkpoints.define(domain, xml, {
      mode: 'lenient',
      validate: has(flags, createFlag.redefineValidate),
    });
  const { name, description, disks } = parseCheckpoint(xml, { mode: 'lenient' }).definition;
  const wish = {
    ...(name !== undefined && { name }),
    ...(description !== undefined && { description }),
    disks,
  };
  return ifRunning('cannot create checkpoint for inactive domain', () =>
    checkpoints.create(domain, wish, { quiesce: has(flags, createFlag.quiesce) }),
  );
}
