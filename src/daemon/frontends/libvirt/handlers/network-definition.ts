/** Definitions of networks: XML, define, create, update, metadata. */
import { isVirtError, type VirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseNetwork } from '../../../../model/network/network.ts';
import { type NetworkUpdate, updateSections } from '../../../../model/network/update.ts';
import type { Network } from '../../../services/network.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { metadataType } from './domain-metadata.ts';
import { withoutNamespace } from './foreign-metadata.ts';
import { networkOf, networksOf } from './network.ts';
import { validate } from './schema.ts';
import { affect, checkFlags, invalid, notValid, telling, wireNetworkOf } from './support.ts';

const INACTIVE = 1; // virNetworkXMLFlags
const VALIDATE = 1; // virNetworkDefineFlags, virNetworkCreateFlags

/** virNetworkUpdateCommand, by number. */
const commands = [undefined, 'modify', 'delete', 'add-last', 'add-first'] as const;

/** virNetworkUpdateSection, by number. */
const sectionNames = [
  'none',
  'bridge',
  'domain',
  'ip',
  'ip-dhcp-host',
  'ip-dhcp-range',
  'forward',
  'forward-interface',
  'forward-pf',
  'portgroup',
  'dns-host',
  'dns-txt',
  'dns-srv',
] as const;

/** Libvirt changes no others either. */
function isUpdateSection(name: string | undefined): name is NetworkUpdate['section'] {
  return (updateSections as readonly (string | undefined)[]).includes(name);
}

export function networkDefinitionHandlers(engine: Engine) {
  return {
    ...wholeDefinitions(engine),
    ...partsOfDefinitions(engine),
  } satisfies RemoteHandlers;
}

/** Definitions as a whole. */
function wholeDefinitions(engine: Engine) {
  const define = async (xml: string) => {
    const { network } = await networksOf(engine).definitions.define(xml, 'lenient');
    return { net: wireNetworkOf(network) };
  };
  const create = async (xml: string) => {
    const { name } = parseNetwork(xml, { mode: 'lenient' }).definition;
    const active = () => notValid(`network is already active as '${name}'`, errorDomain.network);
    const { network } = await telling('network.active', active, () =>
      networksOf(engine).lifecycle.create(xml, 'lenient'),
    );
    return { net: wireNetworkOf(network) };
  };
  return {
    networkGetXmlDesc: ({ net, flags }, call) => {
      checkFlags(flags, INACTIVE, call);
      const network = networkOf(engine, net);
      const inactive = (flags & INACTIVE) !== 0;
      return { xml: networksOf(engine).definitions.xml(network, { inactive }) };
    },
    networkDefineXml: ({ xml }) => define(xml),
    networkDefineXmlFlags: async ({ xml, flags }, call) => {
      checkFlags(flags, VALIDATE, call);
      if ((flags & VALIDATE) !== 0) await validate('network', xml);
      return define(xml);
    },
    networkCreateXml: ({ xml }) => create(xml),
    networkCreateXmlFlags: async ({ xml, flags }, call) => {
      checkFlags(flags, VALIDATE, call);
      if ((flags & VALIDATE) !== 0) await validate('network', xml);
      return create(xml);
    },
    networkUndefine: ({ net }) => networksOf(engine).definitions.undefine(networkOf(engine, net)),
  } satisfies RemoteHandlers;
}

/** Parts of definitions: sections and metadata. */
function partsOfDefinitions(engine: Engine) {
  return {
    networkUpdate: async ({ net, command, section, parentIndex, xml, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const network = networkOf(engine, net);
      const update = updateOf(network, { command, section, parentIndex, xml });
      const targets = targetsOf(network, flags);
      const clash = ({ reason }: VirtError) => notValid(reason, errorDomain.network);
      await telling('operation.failed', clash, () =>
        networksOf(engine).definitions.update(network, update, targets),
      );
    },
    networkGetMetadata: ({ network: net, type, uri, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const network = networkOf(engine, net);
      const { stored } = targetsOf(network, flags);
      return { metadata: metadataOf(engine, network, { type, uri, inactive: stored }) };
    },
    networkSetMetadata: async ({ network: net, type, metadata, key, uri, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const network = networkOf(engine, net);
      const targets = targetsOf(network, flags);
      const service = networksOf(engine).metadata;
      const text = metadata === '' ? null : metadata;
      if (type === metadataType.description) return service.setDescription(network, text, targets);
      if (type === metadataType.title) return service.setTitle(network, text, targets);
      if (type !== metadataType.element || uri === null) throw invalid(`metadata of type ${type}`);
      return service.set(network, uri, key ?? undefined, metadata, targets);
    },
  } satisfies RemoteHandlers;
}

function updateOf(
  { name }: Network,
  told: {
    readonly command: number;
    readonly section: number;
    readonly parentIndex: number;
    readonly xml: string;
  },
): NetworkUpdate {
  const { command, section, parentIndex, xml } = told;
  const chosen = sectionNames[section];
  if (!isUpdateSection(chosen))
    throw unsupported(`can't update '${chosen ?? section}' section of network '${name}'`);
  if (chosen === 'ip-dhcp-range' && commands[command] === 'modify')
    throw unsupported('dhcp ranges cannot be modified, only added or deleted');
  const verb = commands[command];
  if (verb === undefined) throw invalid(`unrecognized update command code ${command}`);
  return { section: chosen, command: verb, xml, ...(parentIndex >= 0 && { parentIndex }) };
}

function unsupported(text: string): LibvirtError {
  return new LibvirtError(errorNumber.operationUnsupported, text, errorDomain.network);
}

/** As for domains: what "current", "live" and "config" come to. @throws LibvirtError */
function targetsOf(network: Network, flags: number): { readonly live: boolean; readonly stored: boolean } {
  const isCurrent = (flags & (affect.live | affect.config)) === 0;
  const live = isCurrent ? network.isActive : (flags & affect.live) !== 0;
  const stored = isCurrent ? !network.isActive : (flags & affect.config) !== 0;
  if (live && !network.isActive) throw notValid('network is not running');
  if (stored && !network.isPersistent)
    throw notValid('cannot change persistent config of a transient network');
  return { live, stored };
}

function metadataOf(
  engine: Engine,
  network: Network,
  wanted: { readonly type: number; readonly uri: string | null; readonly inactive: boolean },
): string {
  const { type, uri, inactive } = wanted;
  const { definitions, metadata } = networksOf(engine);
  if (type === metadataType.element && uri !== null) {
    try {
      return withoutNamespace(metadata.get(network, uri, { inactive }));
    } catch (error) {
      throw isVirtError(error, 'network.no-metadata') ? notThere('metadata') : error;
    }
  }
  const { title, description } = definitions.definition(network, { inactive });
  const text =
    type === metadataType.title ? title : type === metadataType.description ? description : undefined;
  if (text !== undefined) return text;
  throw notThere(type === metadataType.title ? 'title' : 'description');
}

function notThere(element: string): LibvirtError {
  return new LibvirtError(
    errorNumber.noDomainMetadata,
    `Requested ${element} element is not present`,
    errorDomain.network,
  );
}
