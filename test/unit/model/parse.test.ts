/** Parsing definitions: modes, namespaces, metadata, hostile documents. */
import { describe, expect, test } from 'vitest';
import type { Problem } from '../../../src/base/errors.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import { parseXml, xmlLimits } from '../../../src/base/xml/parse.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { findMetadata, withMetadata } from '../../../src/model/domain/metadata.ts';

const body = "<memory>1024</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>";
const domain = (inner: string, attributes = ''): string =>
  `<domain type='qemu'${attributes}><name>n</name>${body}${inner}</domain>`;

function problemsOf(xml: string): readonly Problem[] {
  try {
    parseDomain(xml, { mode: 'strict' });
    return [];
  } catch (error) {
    if (!isVirtError(error, 'xml.invalid')) throw error;
    return error.details?.['problems'] as Problem[];
  }
}

describe('modes', () => {
  const xml = domain("<colour/><features><acpi/><telepathy/></features><clock offset='utc' drift='1'/>");

  test('strict names every unknown part at once', () => {
    expect(problemsOf(xml).map(({ path }) => path)).toEqual(['features.telepathy', 'clock.@drift', 'colour']);
  });

  test('lenient drops them and lists what it dropped', () => {
    const { definition, dropped } = parseDomain(xml, { mode: 'lenient' });
    expect(dropped).toEqual(['features.telepathy', 'clock.@drift', 'colour']);
    expect(definition.features).toEqual({ acpi: true });
  });

  test('a known part with a wrong value is refused in both', () => {
    const wrong = domain("<clock offset='sundial'/>");
    expect(problemsOf(wrong)[0]?.path).toBe('clock.offset');
    expect(() => parseDomain(wrong, { mode: 'lenient' })).toThrow(/clock.offset/);
  });

  test('all problems are told, each with its path', () => {
    const paths = problemsOf(
      "<domain type='qemu'><name>a/b</name><vcpu>0</vcpu><os><boot dev='tape'/></os><on_crash>explode</on_crash></domain>",
    ).map(({ path }) => path);
    expect(paths).toEqual(['name', 'vcpu', 'os.type', 'os.boot[0].dev', 'on_crash']);
  });
});

describe('memory with NUMA cells', () => {
  const text = `<domain type='qemu'><name>n</name><maxMemory slots='1' unit='GiB'>4</maxMemory>
    <memory unit='MiB'>900</memory><vcpu>1</vcpu><os><type>hvm</type></os>
    <cpu><numa><cell cpus='0' memory='512' unit='MiB'/></numa></cpu>
    <devices><memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory></devices></domain>`;
  const sizeKiB = (mode: 'strict' | 'lenient'): number =>
    parseDomain(text, { mode }).definition.memory.sizeKiB;

  test('is what cells and modules hold for a lenient reader, as in libvirt', () => {
    expect(sizeKiB('lenient')).toBe(640 * 1024);
    expect(sizeKiB('strict')).toBe(900 * 1024);
  });
});

describe('depth', () => {
  const nested = (depth: number): string => `${'<a>'.repeat(depth)}${'</a>'.repeat(depth)}`;

  test('is limited by us alone, not by the parser below', () => {
    expect(() => parseXml(nested(xmlLimits.depth))).not.toThrow();
    expect(() => parseXml(nested(xmlLimits.depth + 1))).toThrow(`nested deeper than ${xmlLimits.depth}`);
  });
});

describe('the id of a running domain', () => {
  test('is read past and written only when asked for', () => {
    const { definition } = parseDomain(domain('', " id='3'"), { mode: 'strict' });
    expect(definition).not.toHaveProperty('id');
    expect(formatDomain(definition, { id: 9 })).toContain("<domain type='qemu' id='9'>");
    expect(formatDomain(definition, { id: 9, inactive: true })).not.toContain("id='9'");
  });
});

describe('the qemu namespace', () => {
  const command =
    "<x:commandline xmlns:x='http://libvirt.org/schemas/domain/qemu/1.0'><x:arg value='-s'/></x:commandline>";

  test('is known by its name, not its prefix', () => {
    const { definition } = parseDomain(domain(command), { mode: 'strict' });
    expect(definition.qemuCommandline?.args).toEqual([{ value: '-s' }]);
  });

  test('a qemu: prefix without that namespace is not it', () => {
    const wrong = domain(
      "<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>",
      " xmlns:qemu='urn:other'",
    );
    expect(problemsOf(wrong).length).toBe(1);
    expect(parseDomain(wrong, { mode: 'lenient' }).definition).not.toHaveProperty('qemuCommandline');
  });
});

describe('metadata', () => {
  const meta = (inner: string): string => domain(`<metadata>${inner}</metadata>`);

  test('without a namespace is refused strictly and dropped otherwise', () => {
    expect(problemsOf(meta('<a/>'))[0]?.message).toContain('no namespace');
    expect(parseDomain(meta('<a/>'), { mode: 'lenient' }).dropped).toEqual(['metadata.a[0]']);
  });

  test('the second element of a namespace is dropped, as in libvirt', () => {
    const twice = meta("<a:x xmlns:a='urn:a'/><b:y xmlns:b='urn:a'/>");
    const { definition, dropped } = parseDomain(twice, { mode: 'lenient' });
    expect(definition.metadata.map(({ name }) => name)).toEqual(['a:x']);
    expect(dropped).toEqual(['metadata.b:y[1]']);
  });

  test('with an undeclared prefix is refused in both modes', () => {
    expect(() => parseDomain(meta('<a:x/>'), { mode: 'lenient' })).toThrow(/'a' is not declared/);
  });

  test('can be set, replaced and taken away by namespace', () => {
    const { definition } = parseDomain(meta("<a:x xmlns:a='urn:a'>old</a:x>"), { mode: 'strict' });
    const element = { name: 'fresh', attrs: new Map<string, string>(), children: ['new'] };
    const replaced = withMetadata(definition.metadata, 'urn:a', { element, prefix: 'k' });
    expect(formatDomain({ ...definition, metadata: replaced })).toContain(
      "<k:fresh xmlns:k='urn:a'>new</k:fresh>",
    );
    const added = withMetadata(replaced, 'urn:b', { element, prefix: 'b' });
    expect(added.length).toBe(2);
    expect(findMetadata(withMetadata(added, 'urn:a', undefined), 'urn:a')).toBeUndefined();
  });
});

describe('hostile documents', () => {
  test.each([
    ['a document type', '<!DOCTYPE d [<!ENTITY x "y">]><domain type="qemu"/>'],
    ['another root', '<network/>'],
    ['a path that climbs', domain('').replace('<os>', '<os><kernel>/boot/../etc/shadow</kernel>')],
    ['a machine with a comma', domain('').replace("machine='pc'", "machine='pc,accel=kvm'")],
    ['a CPU model with a comma', domain('<cpu><model>host,+vmx</model></cpu>')],
    ['a CPU feature with a comma', domain("<cpu mode='host-model'><feature name='a,b=c'/></cpu>")],
    ['a million CPUs', domain('<vcpu>1000000</vcpu>')],
    ['a control character in a title', domain('<title>a&#10;b</title>')],
    ['more NUMA cells than QEMU has', domain(`<cpu><numa>${"<cell memory='1'/>".repeat(200)}</numa></cpu>`)],
  ])('%s is refused', (_what, xml) => {
    expect(() => parseDomain(xml, { mode: 'lenient' })).toThrow();
  });

  test('many wide CPU sets take no long time', () => {
    const pins = Array.from({ length: 5000 }, (_, i) => `<vcpupin vcpu='${i}' cpuset='0-16383'/>`).join('');
    const started = performance.now();
    parseDomain(domain(`<cputune>${pins}</cputune>`), { mode: 'strict' });
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
