/** Domain methods onto the domain service: find the domain, call the verb, shape the result. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { Params, Result } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Interface } from '../../../model/domain/devices/interface.ts';
import { type DomainDef, parseDomain } from '../../../model/domain/domain.ts';
import { connectionWarnings } from '../../services/connection-warnings.ts';
import { removeStorage, storageOf } from '../../services/disk-volumes.ts';
import type { Domain } from '../../services/domain.ts';
import type { ImageGuests } from '../../services/domain-image.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { addressSources, hostSideSources } from '../../services/guest-addresses.ts';
import { startNetworks } from '../../services/network-demand.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { Undo } from '../../undo/undo.ts';
import { bindAgent } from './bind-agent.ts';
import { bindBlockJobs } from './bind-block-jobs.ts';
import { bindClones } from './bind-clone.ts';
import { bindDevices } from './bind-device.ts';
import { bindHistory, type HistorySource } from './bind-history.ts';
import { bindInterfaces } from './bind-interface.ts';
import { bindLimits } from './bind-limits.ts';
import { bindMeasuring } from './bind-measuring.ts';
import { bindPowerOrder } from './bind-power-order.ts';
import { bindReports, type ReportSource } from './bind-report.ts';
import { bindSaves } from './bind-saves.ts';
import { bindTuning } from './bind-tuning.ts';
import { undoableOf } from './bind-undo.ts';
import { addressesOf, detailsOf, jobOf, quarantinedOf, summaryOf } from './domain-shapes.ts';
import type { CallContext, Handlers } from './handlers.ts';
import { toQcodes } from './key-codes.ts';
import { trashedOf } from './storage-shapes.ts';

type DomainMethod = Extract<
  keyof Handlers,
  `domain.${string}` | `save-image.${string}` | `template.${string}` | 'host.shutdown-guests'
>;
export type DomainHandlers = Pick<Handlers, DomainMethod>;

export interface DomainParts {
  readonly domains: DomainService;
  /** They tell which addresses guests have; a session has none. */
  readonly networks?: NetworkService | undefined;
  readonly storage: StorageService;
  readonly imageGuests: ImageGuests;
  /** What happened around domains lately. */
  readonly reports: ReportSource;
  /** What domains used before. */
  readonly history: HistorySource;
  /** Keeps what is deleted. */
  readonly undo: Undo;
  readonly log: Logger;
}

export function bindDomains(parts: DomainParts): DomainHandlers {
  const { domains, networks, log } = parts;
  return {
    ...bindQueries(domains, networks),
    ...bindDefinitions(parts),
    ...bindChanges(domains),
    ...bindLifecycle(domains, networks, log),
    ...bindControls(domains),
    ...bindDevices(domains),
    ...bindInterfaces(domains),
    ...bindTuning(domains),
    ...bindMeasuring(domains),
    ...bindLimits(domains),
    ...bindSaves(domains),
    ...bindPowerOrder(domains),
    ...bindBlockJobs(domains),
    ...bindAgent(domains),
    ...bindReports(domains, parts.reports),
    ...bindClones(domains),
    ...bindHistory(domains, parts.history),
  };
}

/** A text is a uuid or a name, the uuid first. @throws VirtError domain.not-found */
function find(domains: DomainService, ref: DomainRef): Domain {
  return typeof ref === 'string' ? domains.findByText(ref) : domains.find({ id: ref.id });
}

const parseMode = (strict: boolean) => (strict ? 'strict' : 'lenient');

/** Destroys what this connection owns when it closes; at once when it has closed while the guest was started. */
function destroyOnClose(domains: DomainService, context: CallContext, log: Logger): void {
  context.connection.onClose(() => {
    domains.lifecycle.connectionClosed(context.connection).catch((error: unknown) => {
      log.error({ err: error, client: context.connection.id }, 'autodestroy failed');
    });
  });
}

/** Names of the virtual networks that a definition's cards are on. */
const networksOf = ({ devices }: Pick<DomainDef, 'devices'>): string[] =>
  devices.interfaces.flatMap(({ source }: Interface) => ('network' in source ? (source.network ?? []) : []));

function ownerOf(autodestroy: boolean, context: CallContext): { autodestroyOwner?: object } {
  return autodestroy ? { autodestroyOwner: context.connection } : {};
}

function bindQueries(domains: DomainService, networks: NetworkService | undefined) {
  return {
    'domain.list': async (filter) => ({
      domains: domains.list(filter).map((domain) => summaryOf(domains, domain)),
      quarantined: domains.quarantined.map((file) => quarantinedOf(file)),
    }),
    'domain.get': async ({ domain }) => {
      const details = detailsOf(domains, find(domains, domain));
      const interfaces = details.interfaces.map((nic) => withLeasedAddress(nic, networks));
      return { ...details, interfaces: await Promise.all(interfaces) };
    },
    'domain.xml': async ({ domain, inactive, secure, migratable }) => ({
      xml: domains.definitions.xml(find(domains, domain), { inactive, secure, migratable }),
    }),
    'domain.log': async ({ domain, source, maxBytes }) => ({
      text: await domains.controls.log(find(domains, domain), source, maxBytes),
    }),
    'domain.wait': async ({ domain, until, timeoutMs }, { signal, readOnly }) => {
      const found = find(domains, domain);
      const { address, port } = await domains.waiting.wait(found, until, {
        timeoutMs,
        signal,
        mayAskGuest: !readOnly,
      });
      const reached = address === undefined ? null : { address, port: port ?? null };
      return { ...summaryOf(domains, found), reached };
    },
    'domain.addresses': async ({ domain, sources }, { readOnly }) => {
      const wanted = sources ?? (readOnly ? hostSideSources : addressSources);
      const found = find(domains, domain);
      // Who asks one source wants to know what that one says.
      return addressesOf(
        sources === undefined
          ? await domains.addresses.findOrAssume(found, wanted)
          : await domains.addresses.find(found, wanted),
      );
    },
    'domain.job': async ({ domain }) => ({ job: jobOf(find(domains, domain)) }),
    'domain.get-metadata': async ({ domain, uri, inactive }) => ({
      xml: domains.definitions.metadata(find(domains, domain), uri, { inactive }),
    }),
    'domain.port-forward.list': async ({ domain }) => ({
      portForwards: domains.controls.portForwards(find(domains, domain)),
    }),
    'domain.command-line': async ({ domain }) => ({
      argv: [...(await domains.controls.commandLine(find(domains, domain)))],
    }),
  } satisfies Partial<DomainHandlers>;
}

type InterfaceInfo = Result<'domain.get'>['interfaces'][number];

/** An interface with the address that its network leased to it, IPv4 first. */
async function withLeasedAddress(
  nic: InterfaceInfo,
  networks: NetworkService | undefined,
): Promise<InterfaceInfo> {
  if (networks === undefined || nic.type !== 'network' || nic.source === null) return nic;
  const network = networks.list({ active: true }).find(({ name }) => name === nic.source);
  const leases = network === undefined ? [] : await networks.leases(network);
  const own = leases.filter(({ mac }) => mac !== undefined && mac === nic.mac);
  const lease = own.find(({ family }) => family === 4) ?? own[0];
  return lease === undefined ? nic : { ...nic, address: lease.address };
}

/** @throws VirtError domain.active */
function disksToRemove(domains: DomainService, storage: StorageService, domain: Domain) {
  if (domain.isActive)
    throw new VirtError('domain.active', {
      wanted: `delete the disks of domain '${domain.name}'`,
      reason: 'the domain runs',
      hint: 'shut it down first',
    });
  return storageOf(storage, domains.definitions.definition(domain, { inactive: true }));
}

function bindDefinitions({ domains, networks, storage, imageGuests, undo, log }: DomainParts) {
  return {
    // A client that leaves does not stop what it asked for: it may not have seen the answer, and asks again.
    'domain.define': async ({ xml, strict, startAfter }) => {
      const mode = parseMode(strict);
      const { domain, definition, dropped } = await domains.definitions.define(xml, { mode, byName: true });
      const warnings = networks === undefined ? [] : connectionWarnings(definition, networks);
      if (startAfter) await domains.lifecycle.start(domain, { paused: false });
      return { domain: summaryOf(domains, domain), dropped: [...dropped], warnings };
    },
    'domain.plan': async ({ xml, strict }) => {
      const { domain, name, dropped, changes } = await domains.plans.plan(xml, parseMode(strict));
      return {
        name,
        uuid: domain?.uuid ?? null,
        active: domain?.isActive ?? false,
        changes: changes.map((one) => ({ ...one, before: one.before ?? null, after: one.after ?? null })),
        dropped: [...dropped],
      };
    },
    'domain.undefine': async ({
      domain,
      nvram,
      tpm,
      managedSave,
      forgetSnapshots,
      removeStorage: removes,
    }) => {
      const found = find(domains, domain);
      const disks = removes ? disksToRemove(domains, storage, found) : undefined;
      const kept = await undo.undefineDomain(found, {
        ...(nvram !== undefined && { nvram }),
        ...(tpm !== undefined && { tpm }),
        ...(managedSave !== undefined && { managedSave }),
        forgetSnapshots,
        forgetCheckpoints: forgetSnapshots,
      });
      const undoable = kept === undefined ? null : undoableOf(kept);
      if (disks === undefined) return { removed: [], kept: [], undo: undoable };
      const { removed, kept: left } = await removeStorage(storage, disks, { keep: true });
      return {
        undo: undoable,
        removed: removed.map(({ trash, ...volume }) => ({
          ...volume,
          trash: trash ? trashedOf(trash) : null,
        })),
        kept: [...left],
      };
    },
    'domain.create': async (params, context) => {
      const cards = (params.networks ?? []).flatMap((card) => (card.type === 'network' ? [card.source] : []));
      if (params.start || params.transient) await startNetworks(networks, cards);
      const { image, ...rest } = params;
      const request = createRequest(rest, networks, context);
      const created =
        image === undefined
          ? { ...(await domains.creation.create(request)), user: null }
          : await imageGuests.create(request, image, context.signal);
      if (params.autodestroy) destroyOnClose(domains, context, log);
      const { domain, warnings, user } = created;
      return { domain: summaryOf(domains, domain), warnings: [...warnings], login: user };
    },
    'domain.create-xml': async ({ xml, strict, paused, autodestroy }, context) => {
      const mode = parseMode(strict);
      const { definition, dropped } = parseDomain(xml, { mode });
      const request = { paused, ...ownerOf(autodestroy, context) };
      await startNetworks(networks, networksOf(definition));
      const domain = await domains.lifecycle.create(definition, request, mode);
      if (autodestroy) destroyOnClose(domains, context, log);
      return { domain: summaryOf(domains, domain), dropped: [...dropped] };
    },
  } satisfies Partial<DomainHandlers>;
}

/** The card of a guest whose maker said nothing: in the network that every installation has, where it is active. */
function defaultCard(networks: NetworkService | undefined): NetworkParams {
  const isActive = networks?.list({ active: true }).some(({ name }) => name === 'default') ?? false;
  return isActive ? { type: 'network', source: 'default' } : { type: 'user', portForwards: [] };
}

function createRequest(
  params: Omit<Params<'domain.create'>, 'image'>,
  service: NetworkService | undefined,
  context: CallContext,
) {
  const { start, paused, transient, autostart, autodestroy, disks, virtType, ...spec } = params;
  if (transient && autostart)
    throw new VirtError('request.invalid', {
      wanted: `create domain '${params.name}'`,
      reason: 'a transient domain cannot start with the daemon',
      details: { problems: [{ path: 'autostart', message: 'does not go with transient' }] },
    });
  if (autodestroy && !start && !transient)
    throw new VirtError('request.invalid', {
      wanted: `create domain '${params.name}'`,
      reason: 'autodestroy is for a domain that is started',
      details: { problems: [{ path: 'autodestroy', message: 'needs start or transient' }] },
    });
  const networks = (spec.networks ?? [defaultCard(service)]).map(networkOf);
  return {
    spec: { ...spec, networks },
    disks,
    virtType,
    start,
    paused,
    transient,
    autostart,
    ...ownerOf(autodestroy, context),
  };
}

type NetworkParams = NonNullable<Params<'domain.create'>['networks']>[number];

function networkOf(network: NetworkParams) {
  return network.type === 'user' ? network : { ...network, portForwards: [] };
}

const lifecycleEvents = { poweroff: 'onPoweroff', reboot: 'onReboot', crash: 'onCrash' } as const;

function bindChanges(domains: DomainService) {
  return {
    'domain.set-autostart': async ({ domain, autostart, once }) => {
      const found = find(domains, domain);
      if (once) await domains.definitions.setAutostartOnce(found, autostart);
      else await domains.definitions.setAutostart(found, autostart);
      return {};
    },
    'domain.set-lifecycle-action': async ({ domain, event, action, ...targets }) => {
      await domains.policies.setAction(find(domains, domain), lifecycleEvents[event], action, targets);
      return {};
    },
    'domain.rename': async ({ domain, name }) => {
      const found = find(domains, domain);
      await domains.definitions.rename(found, name);
      return summaryOf(domains, found);
    },
    'domain.set-title': async ({ domain, title }) => {
      await domains.definitions.setTitle(find(domains, domain), title);
      return {};
    },
    'domain.set-description': async ({ domain, description }) => {
      await domains.definitions.setDescription(find(domains, domain), description);
      return {};
    },
    'domain.set-metadata': async ({ domain, uri, key, xml }) => {
      await domains.definitions.setMetadata(find(domains, domain), uri, key, xml);
      return {};
    },
    'domain.port-forward.add': async ({ domain, interface: name, ...forward }) =>
      domains.controls.addPortForward(find(domains, domain), name, forward),
    'domain.port-forward.remove': async ({ domain, interface: name, ...hostEnd }) => {
      await domains.controls.removePortForward(find(domains, domain), name, hostEnd);
      return {};
    },
  } satisfies Partial<DomainHandlers>;
}

function bindLifecycle(domains: DomainService, networks: NetworkService | undefined, log: Logger) {
  return {
    'domain.start': async (
      { domain, paused, autodestroy, forceBoot, resetNvram, bypassCache, startNetworks: isStarting },
      context,
    ) => {
      const found = find(domains, domain);
      if (isStarting) await startNetworks(networks, networksOf(domains.definitions.definition(found)));
      const owner = ownerOf(autodestroy, context);
      await domains.lifecycle.start(found, { paused, forceBoot, resetNvram, bypassCache, ...owner });
      if (autodestroy) destroyOnClose(domains, context, log);
      return summaryOf(domains, found);
    },
    'domain.shutdown': async ({ domain, mode, timeoutMs }, { signal }) => {
      const found = find(domains, domain);
      await domains.lifecycle.shutdown(found, mode);
      if (timeoutMs !== undefined) await domains.waiting.wait(found, 'shutoff', { timeoutMs, signal });
      return summaryOf(domains, found);
    },
    'domain.reboot': async ({ domain, mode }) => {
      await domains.lifecycle.reboot(find(domains, domain), mode);
      return {};
    },
    'domain.reset': async ({ domain }) => {
      await domains.lifecycle.reset(find(domains, domain));
      return {};
    },
    'domain.suspend': async ({ domain }) => {
      const found = find(domains, domain);
      await domains.lifecycle.suspend(found);
      return summaryOf(domains, found);
    },
    'domain.resume': async ({ domain }) => {
      const found = find(domains, domain);
      await domains.lifecycle.resume(found);
      return summaryOf(domains, found);
    },
    'domain.destroy': async ({ domain, graceful }) => {
      await domains.lifecycle.destroy(find(domains, domain), { graceful });
      return {};
    },
  } satisfies Partial<DomainHandlers>;
}

function bindControls(domains: DomainService) {
  return {
    'domain.screenshot': async ({ domain, screen }) => {
      const { mime, bytes } = await domains.controls.screenshot(find(domains, domain), screen);
      return { mime, base64: bytes.toString('base64') };
    },
    'domain.send-key': async ({ domain, keys, codeset, holdMs }) => {
      await domains.controls.sendKeys(find(domains, domain), toQcodes(keys, codeset), holdMs);
      return {};
    },
    'domain.inject-nmi': async ({ domain }) => {
      await domains.controls.injectNmi(find(domains, domain));
      return {};
    },
    'domain.console': async ({ domain, console, force }) => {
      const { alias, stream } = await domains.controls.openConsole(find(domains, domain), console, { force });
      return { result: { console: alias }, stream };
    },
    'domain.monitor-command': async ({ domain, command, arguments: args }) => ({
      return: await domains.controls.monitorCommand(find(domains, domain), command, args),
    }),
  } satisfies Partial<DomainHandlers>;
}
