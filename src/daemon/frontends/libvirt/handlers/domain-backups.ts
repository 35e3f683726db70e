/** Backups of running guests: beginning one, and its document. How it goes on is told as the job of its domain. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseBackup } from '../../../../model/backup/backup.ts';
import { parseCheckpoint } from '../../../../model/checkpoint/checkpoint.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { validate } from './schema.ts';
import { checkFlags, domainOf, telling } from './support.ts';

/** virDomainBackupBeginFlags. */
const beginFlag = { reuseExternal: 1 } as const;

export function domainBackupHandlers(engine: Engine) {
  const { backups } = engine.domains;
  return {
    domainBackupBegin: async ({ dom, backupXml, checkpointXml, flags }, call) => {
      checkFlags(flags, beginFlag.reuseExternal, call);
      const domain = domainOf(engine, dom);
      await validate('domainbackup', backupXml);
      const { definition } = parseBackup(backupXml, { mode: 'lenient' });
      if (checkpointXml !== null) await validate('domaincheckpoint', checkpointXml);
      const checkpoint =
        checkpointXml === null ? undefined : parseCheckpoint(checkpointXml, { mode: 'lenient' }).definition;
      const unsupported = (detail: string) => new LibvirtError(errorNumber.operationUnsupported, detail);
      await telling(
        'domain.inactive',
        () => unsupported('cannot perform disk backup for inactive domain'),
        () =>
          telling(
            'request.unsupported',
            ({ reason }) => unsupported(reason),
            () =>
              backups.begin(domain, definition, {
                ...(checkpoint && { checkpoint }),
                reuse: (flags & beginFlag.reuseExternal) !== 0,
              }),
          ),
      );
    },
    domainBackupGetXmlDesc: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: backups.xml(domainOf(engine, dom)) };
    },
  } satisfies RemoteHandlers;
}
