/** Definitions as command lines of QEMU. The way back is left out, as libvirt itself has it no more. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseDomain } from '../../../../model/domain/domain.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, invalid } from './support.ts';

const FORMAT = 'qemu-argv';

export function nativeHandlers({ driver, domains }: Engine) {
  return {
    connectDomainXmlToNative: async ({ nativeFormat, domainXml, flags }, call) => {
      checkFlags(flags, 0, call);
      if (nativeFormat !== FORMAT) throw invalid(`unsupported config type ${nativeFormat}`);
      const { definition } = parseDomain(domainXml, { mode: 'lenient' });
      const known =
        definition.uuid === undefined
          ? undefined
          : domains.list().find(({ uuid }) => uuid === definition.uuid);
      if (known !== undefined && known.name !== definition.name)
        throw new LibvirtError(
          errorNumber.operationFailed,
          `domain '${known.name}' is already defined with uuid ${known.uuid}`,
        );
      const words = await driver.commandLine(await driver.complete(definition));
      return { nativeConfig: words.map(quoted).join(' ') };
    },
  } satisfies RemoteHandlers;
}

/** A word as a shell takes it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
