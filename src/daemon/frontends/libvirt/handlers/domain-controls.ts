/** Touching a running domain: screen, console and channel as streams, keys, NMI. */
import { Duplex, Readable } from 'node:stream';
import { isVirtError } from '../../../../base/errors.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Domain } from '../../../services/domain.ts';
import { toQcodes } from '../../jsonrpc/key-codes.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { toLinuxCodes } from './key-codesets.ts';
import { checkFlags, domainOf, invalid, notValid, telling } from './support.ts';

/** virDomainConsoleFlags and virDomainChannelFlags. `safe`: only where a second client is kept out, which we always do. */
const consoleFlag = { force: 1, safe: 2 } as const;
const SKIP_AUTH = 1; // virDomainOpenGraphicsFlags
/** How long a key is held when the client leaves that open (QEMU: send-key, hold-time). */
const DEFAULT_HOLD_MS = 100;

export function domainControlHandlers(engine: Engine) {
  const { controls } = engine.domains;
  return {
    domainScreenshot: async ({ dom, screen, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const { mime, bytes } = await telling(
        'domain.no-device',
        () => noScreen(domain),
        () => controls.screenshot(domain, screen),
      );
      call.openStream({ duplex: readOnly(bytes), onFinish: 'destroy', takesData: false });
      return { mime };
    },
    domainOpenConsole: async ({ dom, devName, flags }, call) => {
      checkFlags(flags, consoleFlag.force | consoleFlag.safe, call);
      await openConsole(engine, domainOf(engine, dom), { alias: devName ?? undefined, flags }, call);
    },
    domainOpenChannel: async ({ dom, name, flags }, call) => {
      checkFlags(flags, consoleFlag.force, call);
      const domain = domainOf(engine, dom);
      await openConsole(engine, domain, { alias: channelAlias(domain, name), flags }, call);
    },
    domainOpenGraphics: async ({ dom, idx, flags }, call) => {
      checkFlags(flags, SKIP_AUTH, call);
      const domain = domainOf(engine, dom);
      const [fd] = call.fds;
      if (fd === undefined) throw invalid('no client is given: its socket comes with the call');
      const skipAuth = (flags & SKIP_AUTH) !== 0;
      await controls.addGraphicsClient(domain, { index: idx, fd, skipAuth });
    },
    domainOpenGraphicsFd: async ({ dom, idx, flags }, call) => {
      checkFlags(flags, SKIP_AUTH, call);
      const skipAuth = (flags & SKIP_AUTH) !== 0;
      call.replyFds.push(await controls.openGraphics(domainOf(engine, dom), idx, { skipAuth }));
    },
    domainSendKey: async ({ dom, codeset, holdtime, keycodes, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const linux = toLinuxCodes(codeset, keycodes);
      await controls.sendKeys(domain, toQcodes(linux, 'linux'), holdtime === 0 ? DEFAULT_HOLD_MS : holdtime);
    },
    domainInjectNmi: async ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      await controls.injectNmi(domainOf(engine, dom));
    },
  } satisfies RemoteHandlers;
}

function noScreen(domain: Domain): LibvirtError {
  const hasNone = domain.live?.guest.definition.devices.videos.length === 0;
  return notValid(hasNone ? 'no screens to take screenshot from' : 'no such screen ID');
}

function readOnly(bytes: Buffer): Duplex {
  return Duplex.from(Readable.from([bytes], { objectMode: false }));
}

async function openConsole(
  engine: Engine,
  domain: Domain,
  { alias, flags }: { readonly alias: string | undefined; readonly flags: number },
  call: Call,
): Promise<void> {
  const force = (flags & consoleFlag.force) !== 0;
  try {
    const { stream } = await engine.domains.controls.openConsole(domain, alias, { force });
    call.openStream({ duplex: stream, onFinish: 'destroy', takesData: true });
  } catch (error) {
    if (!isVirtError(error, 'domain.busy')) throw error;
    throw new LibvirtError(errorNumber.operationFailed, 'Active console session exists for this domain');
  }
}

/** The alias of a channel by the name that the guest knows it by; without one the first channel. */
function channelAlias(domain: Domain, name: string | null): string {
  const { channels } = domain.requireLive('open a channel of').guest.definition.devices;
  const found = channels.find(
    (channel) =>
      name === null || channel.alias === name || ('name' in channel.target && channel.target.name === name),
  );
  if (found?.alias !== undefined) return found.alias;
  throw name === null ? invalid('the domain has no channel') : invalid(`cannot find channel ${name}`);
}
