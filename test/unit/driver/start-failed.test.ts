/** What is told of a start that QEMU did not survive: its words, without what is secret in the definition. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { startFailed } from '../../../src/drivers/qemu/monitor.ts';
import type { Starting } from '../../../src/drivers/qemu/starting.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

it("keeps a disk's cookies and query out of the error", async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-start-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const logPath = join(directory, 'log');
  writeFileSync(
    logPath,
    'qemu: -blockdev {"driver":"http","url":"http://h/img?tok=geheim-1","cookie":"c=geheim-2"}: Unknown driver \'http\'\n',
  );
  const { definition } = parseDomain(
    `<domain type='qemu'><name>web</name><memory>65536</memory><os><type>hvm</type></os><devices><disk type='network'>
      <source protocol='http' name='img?tok=geheim-1'><host name='h'/><cookies><cookie name='c'>geheim-2</cookie></cookies></source>
      <target dev='vda'/></disk></devices></domain>`,
    { mode: 'lenient' },
  );
  const starting = { logPath, deps: { options: {} } } as unknown as Starting;
  const error = await startFailed(starting, definition, new VirtError('qmp.closed', { reason: 'x' }), true);
  expect(error.reason).toMatch(/Unknown driver 'http'/);
  expect(JSON.stringify([error.reason, error.hint, error.details])).not.toContain('geheim');
});
