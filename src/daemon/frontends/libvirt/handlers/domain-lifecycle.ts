/** Life of domains: create, start, shut down, destroy, reboot, reset, suspend, resume. */
import { parseDomain } from '../../../../model/domain/domain.ts';
import type { Domain } from '../../../services/domain.ts';
import type { ShutdownMode } from '../../../services/domain-lifecycle.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { validate } from './schema.ts';
import { checkFlags, domainOf, notValid, telling, wireDomainOf } from './support.ts';

/** virDomainCreateFlags. */
const startFlag = {
  paused: 1,
  autodestroy: 2,
  bypassCache: 4,
  forceBoot: 8,
  validate: 16,
  resetNvram: 32,
} as const;
const knownStartFlags = Object.values(startFlag).reduce((all, bit) => all | bit, 0);
/** virDomainShutdownFlagValues and virDomainRebootFlagValues are the same. */
const powerFlag = { acpi: 1, agent: 2 } as const;
const destroyFlag = { graceful: 1, removeLogs: 2 } as const;

export function domainLifecycleHandlers(engine: Engine) {
  const { lifecycle } = engine.domains;
  const start = async (domain: Domain, flags: number, call: Call) => {
    checkFlags(flags, knownStartFlags & ~startFlag.validate, call);
    await lifecycle.start(domain, startRequest(flags, call));
    destroyWith(engine, flags, call);
    return { dom: wireDomainOf(domain) };
  };
  return {
    domainCreateXml: async ({ xmlDesc, flags }, call) => {
      checkFlags(flags, knownStartFlags, call);
      if ((flags & startFlag.validate) !== 0) await validate('domain', xmlDesc);
      const { definition } = parseDomain(xmlDesc, { mode: 'lenient' });
      const running = () => notValid(`domain '${definition.name}' is already active`);
      const domain = await telling('domain.active', running, () =>
        lifecycle.create(definition, startRequest(flags, call), 'lenient'),
      );
      destroyWith(engine, flags, call);
      return { dom: wireDomainOf(domain) };
    },
    domainCreate: async ({ dom }, call) => {
      await start(domainOf(engine, dom), 0, call);
    },
    domainCreateWithFlags: ({ dom, flags }, call) => start(domainOf(engine, dom), flags, call),
    domainShutdown: ({ dom }) => lifecycle.shutdown(domainOf(engine, dom), 'auto'),
    domainShutdownFlags: ({ dom, flags }, call) =>
      lifecycle.shutdown(domainOf(engine, dom), powerMode(flags, call)),
    domainReboot: ({ dom, flags }, call) => lifecycle.reboot(domainOf(engine, dom), powerMode(flags, call)),
    domainReset: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return lifecycle.reset(domainOf(engine, dom));
    },
    domainDestroy: ({ dom }) => lifecycle.destroy(domainOf(engine, dom), { graceful: false }),
    domainDestroyFlags: ({ dom, flags }, call) => {
      checkFlags(flags, destroyFlag.graceful | destroyFlag.removeLogs, call);
      const graceful = (flags & destroyFlag.graceful) !== 0;
      const removeLogs = (flags & destroyFlag.removeLogs) !== 0;
      return lifecycle.destroy(domainOf(engine, dom), { graceful, removeLogs });
    },
    domainSuspend: ({ dom }) => lifecycle.suspend(domainOf(engine, dom)),
    domainResume: ({ dom }) => {
      const domain = domainOf(engine, dom);
      if (domain.state.state === 'running') throw notValid('domain is already running');
      return lifecycle.resume(domain);
    },
  } satisfies RemoteHandlers;
}

function startRequest(flags: number, { connection }: Call) {
  const owner = (flags & startFlag.autodestroy) === 0 ? {} : { autodestroyOwner: connection };
  const has = (bit: number) => (flags & bit) !== 0;
  return {
    paused: has(startFlag.paused),
    forceBoot: has(startFlag.forceBoot),
    bypassCache: has(startFlag.bypassCache),
    resetNvram: has(startFlag.resetNvram),
    ...owner,
  };
}

/** After the start: the guest goes with the connection, at once when that has gone meanwhile. */
function destroyWith({ domains, log }: Engine, flags: number, { connection }: Call): void {
  if ((flags & startFlag.autodestroy) === 0) return;
  connection.onClose(() => {
    domains.lifecycle.connectionClosed(connection).catch((error: unknown) => {
      log.error({ err: error, client: connection.id }, 'autodestroy failed');
    });
  });
}

/** @throws LibvirtError for ways that no QEMU guest has (initctl, signal, paravirt) */
function powerMode(flags: number, call: Call): ShutdownMode {
  checkFlags(flags, powerFlag.acpi | powerFlag.agent, call);
  if (flags === powerFlag.acpi) return 'acpi';
  return flags === powerFlag.agent ? 'agent' : 'auto';
}
