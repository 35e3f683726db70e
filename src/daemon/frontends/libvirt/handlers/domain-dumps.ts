/** Core dumps of domains. */
import type { DumpFormat } from '../../../../drivers/live-memory.ts';
import type { WireDomain } from '../../../../libvirt/protocol/objects.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, domainOf, invalid, notValid } from './support.ts';

/** virDomainCoreDumpFlags. */
const dumpFlag = { crash: 1, live: 2, bypassCache: 4, reset: 8, memoryOnly: 16 } as const;
/** virDomainCoreDumpFormat. */
const formats: readonly DumpFormat[] = ['elf', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy', 'win-dmp'];

export function domainDumpHandlers(engine: Engine) {
  return {
    domainCoreDump: ({ dom, to, flags }, call) => dump(engine, { dom, to, format: 0, flags }, call),
    domainCoreDumpWithFormat: ({ dom, to, dumpformat, flags }, call) =>
      dump(engine, { dom, to, format: dumpformat, flags }, call),
  } satisfies RemoteHandlers;
}

async function dump(
  engine: Engine,
  asked: { readonly dom: WireDomain; readonly to: string; readonly format: number; readonly flags: number },
  call: Call,
): Promise<void> {
  const { dom, to, format, flags } = asked;
  checkFlags(flags, 0x1f, call);
  const has = (bit: number) => (flags & bit) !== 0;
  if (has(dumpFlag.crash) && (has(dumpFlag.live) || has(dumpFlag.reset)))
    throw invalid('crash does not go with live or reset');
  if (has(dumpFlag.live) && has(dumpFlag.reset)) throw invalid('live does not go with reset');
  const chosen = formats[format];
  if (chosen === undefined) throw invalid(`format ${format} of a dump is not supported`);
  if (chosen !== 'elf' && !has(dumpFlag.memoryOnly))
    throw invalid('kdump-compressed format is only supported with memory-only dump');
  const domain = domainOf(engine, dom);
  if (!domain.isActive) throw notValid('domain is not running');
  await engine.domains.dumps.dump(domain, to, {
    format: has(dumpFlag.memoryOnly) ? chosen : 'state',
    live: has(dumpFlag.live),
    bypassCache: has(dumpFlag.bypassCache),
    afterwards: has(dumpFlag.crash) ? 'destroy' : has(dumpFlag.reset) ? 'reset' : undefined,
  });
}
