/** Methods about the daemon, this API and its events. */
import type { Result } from '../../../api/index.ts';
import { buildOpenRpc } from '../../../api/openrpc.ts';
import { VirtError } from '../../../base/errors.ts';
import type { AdoptionReport } from '../../adopt/report.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { Handlers } from './handlers.ts';

type DaemonInfo = Result<'daemon.info'>;
type LogLevelName = DaemonInfo['logLevel'];

/** What the daemon tells of itself; `daemon/doors.ts` wires it. */
export interface DaemonSource {
  readonly version: string;
  readonly mode: DaemonInfo['mode'];
  readonly startedAtMs: number;
  readonly hostName: string;
  /** Directories by purpose. */
  readonly paths: Readonly<Record<string, string>>;
  sockets(): DaemonInfo['sockets'];
  clients(): { readonly clients: number; readonly subscriptions: number };
  logLevel(): LogLevelName;
  setLogLevel(level: LogLevelName): void;
  adoptLibvirt(request: { readonly from?: string; readonly dryRun: boolean }): Promise<AdoptionReport>;
}

type DaemonMethod = Extract<keyof Handlers, `daemon.${string}` | `rpc.${string}` | `event.${string}`>;

export function bindDaemon(daemon: DaemonSource, domains: DomainService): Pick<Handlers, DaemonMethod> {
  // Built when first asked for, then kept.
  let description: ReturnType<typeof buildOpenRpc> | undefined;
  return {
    'rpc.discover': async () => {
      description ??= buildOpenRpc(daemon.version);
      return description;
    },
    'daemon.ping': async () => ({}),
    'daemon.info': async () => infoOf(daemon, domains),
    'daemon.set-log-level': async ({ level }) => {
      const previous = daemon.logLevel();
      daemon.setLogLevel(level);
      return { previous };
    },
    'daemon.adopt-libvirt': async ({ from, dryRun }) => {
      const report = await daemon.adoptLibvirt({ dryRun, ...(from !== undefined && { from }) });
      return { ...report, objects: [...report.objects] };
    },
    'event.subscribe': async (filter, { connection }) => ({ subscription: connection.subscribe(filter) }),
    'event.unsubscribe': async ({ subscription }, { connection }) => {
      if (connection.unsubscribe(subscription)) return {};
      throw new VirtError('request.invalid', {
        wanted: 'unsubscribe',
        reason: `this connection has no subscription '${subscription}'`,
        details: { problems: [{ path: 'subscription', message: 'is unknown' }] },
      });
    },
  };
}

function infoOf(daemon: DaemonSource, domains: DomainService): DaemonInfo {
  return {
    version: daemon.version,
    mode: daemon.mode,
    pid: process.pid,
    startedAt: new Date(daemon.startedAtMs).toISOString(),
    uptimeMs: Math.max(0, Date.now() - daemon.startedAtMs),
    hostName: daemon.hostName,
    logLevel: daemon.logLevel(),
    sockets: daemon.sockets(),
    paths: { ...daemon.paths },
    counts: {
      ...daemon.clients(),
      domains: domains.counts.domains,
      activeDomains: domains.counts.active,
      quarantined: domains.quarantined.length,
    },
    memoryBytes: process.memoryUsage.rss(),
  };
}
