import { describe, expect, it } from 'vitest';
import { type ErrorCode, errorTable, VirtError } from '../../../src/base/errors.ts';
import { exitCodeFor, exitCodeOf, exitCodes } from '../../../src/cli/exit-codes.ts';
import { noColour, paintFor, withColour } from '../../../src/cli/format/colour.ts';
import { errorDocument, formatError } from '../../../src/cli/format/error.ts';
import { formatFacts, formatTable, safeLines } from '../../../src/cli/format/table.ts';
import { displayWidth, truncate } from '../../../src/cli/format/width.ts';

interface Row {
  readonly name: string;
  readonly size: string;
}
const columns = [
  { title: 'NAME', value: (row: Row) => row.name, shrinks: true },
  { title: 'SIZE', value: (row: Row) => row.size, align: 'right' as const },
];

describe('tables', () => {
  it('align columns, and show an empty cell as a dash', () => {
    expect(
      formatTable(
        [
          { name: 'web', size: '10' },
          { name: 'database', size: '' },
        ],
        columns,
      ),
    ).toBe(['NAME       SIZE', 'web          10', 'database      -', ''].join('\n'));
  });

  it('align wide and combining characters', () => {
    const lines = formatTable(
      [
        { name: '仮想', size: '1' },
        { name: 'e\u0301', size: '2' },
        { name: '🐦', size: '3' },
      ],
      columns,
    )
      .trimEnd()
      .split('\n');
    expect(new Set(lines.map(displayWidth))).toEqual(new Set([11]));
  });

  it('cut only what may be cut, and only on a terminal that is too narrow', () => {
    const rows = [{ name: 'a-very-long-name-of-a-domain', size: '10 GiB' }];
    expect(formatTable(rows, columns, { width: 20 }).split('\n')[1]).toBe('a-very-lon…   10 GiB');
    expect(formatTable(rows, columns, { width: 5 })).toContain('a-very-…');
    expect(formatTable(rows, columns)).toContain('a-very-long-name-of-a-domain');
  });

  it('let no control byte through to the terminal', () => {
    const hostile = 'x\u001b]0;owned\u0007\u009b31m\n\u202ey';
    const text = formatTable([{ name: hostile, size: hostile }], columns) + formatFacts([['Name', hostile]]);
    // oxlint-disable-next-line no-control-regex
    expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(text).toContain('\\x1b]0;owned\\x07');
  });

  it('keep newlines and tabs of a log, and nothing else', () => {
    expect(safeLines('a\tb\r\nc\u001b[2Jd\r')).toBe('a\tb\nc\\x1b[2Jd\\x0d');
  });
});

describe('widths', () => {
  it.each([
    ['abc', 3],
    ['ü', 1],
    ['漢字', 4],
    ['한', 2],
    ['e\u0301', 1],
    ['a\u200db', 2],
    ['🐦', 2],
    ['→', 1],
  ])('%s', (text, width) => {
    expect(displayWidth(text)).toBe(width);
  });

  it('never cut a wide character in half', () => {
    expect(truncate('漢字漢字', 4)).toBe('漢…');
    expect(truncate('漢字', 4)).toBe('漢字');
    expect(truncate('abc', 0)).toBe('');
  });
});

describe('colours', () => {
  const terminal = { isTTY: true };

  it('are for terminals only', () => {
    expect(paintFor(terminal, { allowed: true, env: {} })).toBe(withColour);
    expect(paintFor({}, { allowed: true, env: {} })).toBe(noColour);
  });

  it('can be refused by --no-color, NO_COLOR and a dumb terminal', () => {
    expect(paintFor(terminal, { allowed: false, env: {} })).toBe(noColour);
    expect(paintFor(terminal, { allowed: true, env: { NO_COLOR: '1' } })).toBe(noColour);
    expect(paintFor(terminal, { allowed: true, env: { NO_COLOR: '' } })).toBe(withColour);
    expect(paintFor(terminal, { allowed: true, env: { TERM: 'dumb' } })).toBe(noColour);
  });

  it('do not change what a column is wide', () => {
    const painted = formatTable(
      [{ name: 'web', size: '1' }],
      [{ ...columns[0]!, tone: () => 'good' as const }, columns[1]!],
      { paint: withColour },
    );
    // oxlint-disable-next-line no-control-regex
    expect(painted.replaceAll(/\u001b\[\d+m/g, '')).toBe(formatTable([{ name: 'web', size: '1' }], columns));
  });
});

describe('errors for people', () => {
  it('tell what was wanted, why not, and the repair', () => {
    const error = new VirtError('network.inactive', {
      wanted: "start domain 'web'",
      reason: "network 'default' is not active",
      hint: "start it with 'net-start default'",
    });
    expect(formatError(error, noColour)).toBe(
      "error: cannot start domain 'web': network 'default' is not active\nrepair: start it with 'net-start default'\n",
    );
  });

  it("list every problem with its path, and the end of QEMU's stderr", () => {
    const error = new VirtError('definition.unsupported', {
      reason: '2 problems',
      details: {
        problems: [
          { path: 'devices.disk[1].target.dev', message: 'vda is used twice' },
          { path: 'vcpu', message: 'must be positive' },
          'noise',
        ],
        stderrTail: 'qemu: boom\n\u001b[31mred\n',
      },
    });
    expect(formatError(error, noColour)).toBe(
      [
        'error: 2 problems',
        '  devices.disk[1].target.dev: vda is used twice',
        '  vcpu: must be positive',
        '  | qemu: boom',
        '  | \\x1b[31mred',
        '',
      ].join('\n'),
    );
  });

  it('do not say a single problem twice', () => {
    const error = new VirtError('request.invalid', {
      reason: 'name: must be short',
      details: { problems: [{ path: 'name', message: 'must be short' }] },
    });
    expect(formatError(error, noColour)).toBe('error: name: must be short\n');
  });

  it('hold the exit code and all facts as JSON', () => {
    const error = new VirtError('domain.not-found', { reason: 'no domain', details: { name: 'web' } });
    expect(JSON.parse(JSON.stringify(errorDocument(error)))).toEqual({
      error: { code: 'domain.not-found', reason: 'no domain', details: { name: 'web' }, exitCode: 3 },
    });
    expect(errorDocument(new TypeError('oops')).error).toEqual({
      code: 'internal.error',
      reason: 'oops',
      exitCode: 1,
    });
  });
});

describe('exit codes', () => {
  it.each([
    ['domain.not-found', exitCodes.notFound],
    ['domain.no-device', exitCodes.notFound],
    ['forward.not-found', exitCodes.notFound],
    ['file.not-found', exitCodes.notFound],
    ['request.invalid', exitCodes.usage],
    ['daemon.unreachable', exitCodes.noConnection],
    ['daemon.stopping', exitCodes.noConnection],
    ['access.denied', exitCodes.denied],
    ['access.read-only', exitCodes.denied],
    ['file.denied', exitCodes.denied],
    ['domain.busy', exitCodes.busy],
    ['request.busy', exitCodes.busy],
    ['operation.timeout', exitCodes.busy],
    ['qmp.timeout', exitCodes.busy],
    ['agent.unresponsive', exitCodes.busy],
    ['operation.aborted', exitCodes.interrupted],
    ['domain.active', exitCodes.failed],
    ['xml.invalid', exitCodes.failed],
    ['internal.error', exitCodes.failed],
  ] as const)('%s', (code, exitCode) => {
    expect(exitCodeOf(code)).toBe(exitCode);
  });

  it('are never 0 for an error', () => {
    for (const code of Object.keys(errorTable) as ErrorCode[]) expect(exitCodeOf(code)).toBeGreaterThan(0);
    expect(exitCodeFor(new Error('bug'))).toBe(exitCodes.failed);
  });
});
