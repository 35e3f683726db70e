/** Network filters as objects: built in or defined, changed under running guests, forgotten when nobody uses them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import type { FilteredCard } from '../../../src/daemon/services/guest-filters.ts';
import { NwFilterService } from '../../../src/daemon/services/nwfilter-service.ts';
import { DefinitionStore } from '../../../src/daemon/state/definitions.ts';
import { formatFilterBinding } from '../../../src/model/nwfilter/binding.ts';
import { builtInFilterNames } from '../../../src/model/nwfilter/built-in.ts';
import type { FilterLookup } from '../../../src/model/nwfilter/filter.ts';
import type { CompiledFilter } from '../../../src/net/filter/compile.ts';
import { compileFilter } from '../../../src/net/filter/compile.ts';
import { expectSchemaValid } from '../../support/libvirt-schema.ts';
import { describeWith } from '../../support/needs.ts';
import { nicOf } from '../../support/nic.ts';

const MAC = '52:54:00:00:00:01';
const UUID = '1b2c3d4e-0000-4000-8000-000000000001';
const filter = (name: string, inside: string, uuid = '') =>
  `<filter name='${name}'>${uuid && `<uuid>${uuid}</uuid>`}${inside}</filter>`;
const drop = "<rule action='drop' direction='in'/>";
const accept = "<rule action='accept' direction='in'/>";
const refer = (name: string) => `<filterref filter='${name}'/>`;

function rig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-nwfilters-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const events = new EventBus(silentLogger);
  const seen: string[] = [];
  events.subscribe(({ event }) => seen.push(event));
  const cards: FilteredCard[] = [];
  const taps = new Map<string, CompiledFilter>();
  const failure: { apply?: Error } = {};
  const compileAll = (which: readonly FilteredCard[], lookup: FilterLookup) =>
    new Map(
      which.map(({ device, nic }) => [
        device,
        compileFilter(nic.filterref?.filter ?? '', { MAC: [MAC] }, lookup),
      ]),
    );
  const put = (compiled: ReadonlyMap<string, CompiledFilter>) => {
    if (failure.apply) throw failure.apply;
    for (const [tap, rules] of compiled) taps.set(tap, rules);
  };
  const open = (): NwFilterService => {
    const service: NwFilterService = new NwFilterService({
      definitions: new DefinitionStore({
        directory: join(directory, 'filters'),
        quarantine: join(directory, 'quarantine'),
        noun: 'network filter',
        log: silentLogger,
      }),
      guests: {
        cards: () => cards,
        rehearse: async (which, lookup) => compileAll(which, lookup),
        putInPlace: async (compiled) => put(compiled),
        renewThose: async (which) => put(compileAll(which, service.lookup)),
      },
      events,
      log: silentLogger,
      jobWaitMs: 1000,
    });
    service.open();
    return service;
  };
  const run = (name: string, device: string, domain = 'web') =>
    cards.push({
      domain: { uuid: UUID, name: domain },
      index: 0,
      nic: nicOf(`<source network='lab'/><filterref filter='${name}'/>`, 'network', MAC),
      device,
    });
  const verdicts = (tap: string) =>
    taps.get(tap)?.sides.in.flatMap(({ rules }) => rules.map((one) => one.verdict));
  const file = join(directory, 'filters', `${UUID}.xml`);
  return { open, cards, run, seen, failure, verdicts, file };
}

describe('network filters', () => {
  it('are the built-in ones at first, with the same uuids for ever', () => {
    const filters = rig().open();
    expect(filters.list().map(({ name }) => name)).toEqual(builtInFilterNames);
    expect(new Set(filters.list().map(({ uuid }) => uuid)).size).toBe(builtInFilterNames.length);
    const clean = filters.find('clean-traffic');
    expect(clean).toMatchObject({ uuid: rig().open().find('clean-traffic').uuid, isBuiltIn: true });
    expect(filters.find(clean.uuid.toUpperCase())).toEqual(clean);
    expect(filters.xml(clean)).toContain(`<uuid>${clean.uuid}</uuid>`);
  });

  it('that somebody defined are there again after a restart, and stand in for a built-in one', async () => {
    const { open, seen } = rig();
    const filters = open();
    const { filter: mine } = await filters.define(filter('mine', drop, UUID), 'strict');
    expect(mine).toMatchObject({ uuid: UUID, isBuiltIn: false });
    const { filter: own } = await filters.define(filter('allow-arp', drop), 'strict');
    expect(own.uuid).toBe(rig().open().find('allow-arp').uuid);
    const again = open();
    expect(again.xml(again.find('mine'))).toBe(filters.xml(mine));
    expect(again.find('allow-arp').isBuiltIn).toBe(false);
    await again.undefine('allow-arp');
    expect(again.find('allow-arp').isBuiltIn).toBe(true);
    await again.undefine(UUID);
    expect(() => again.find('mine')).toThrow(expect.objectContaining({ code: 'nwfilter.not-found' }));
    await expect(again.undefine('allow-arp')).rejects.toMatchObject({ code: 'nwfilter.built-in' });
    expect(seen).toEqual([
      'nwfilter.defined',
      'nwfilter.defined',
      'nwfilter.undefined',
      'nwfilter.undefined',
    ]);
  });

  it('have one uuid and one name each', async () => {
    const filters = rig().open();
    await filters.define(filter('mine', drop, UUID), 'strict');
    await expect(filters.define(filter('mine', drop), 'lenient')).rejects.toMatchObject({
      code: 'nwfilter.exists',
    });
    const again = await filters.define(filter('mine', drop), 'lenient', { byName: true });
    expect(again.filter.uuid).toBe(UUID);
    await expect(filters.define(filter('other', drop, UUID), 'strict')).rejects.toMatchObject({
      code: 'nwfilter.exists',
    });
    const another = UUID.replace(/1$/, '2');
    await expect(filters.define(filter('mine', drop, another), 'strict')).rejects.toMatchObject({
      code: 'nwfilter.exists',
    });
    await expect(filters.define(filter('mine', drop), 'lenient')).rejects.toMatchObject({
      code: 'nwfilter.exists',
    });
    await filters.define(filter('mine', accept), 'strict');
    expect(filters.find('mine').uuid).toBe(UUID);
  });

  it('may refer to what is defined later, and never to themselves', async () => {
    const filters = rig().open();
    await filters.define(filter('a', refer('b')), 'strict');
    await filters.define(filter('b', refer('c')), 'strict');
    await expect(filters.define(filter('c', refer('a')), 'strict')).rejects.toMatchObject({
      code: 'xml.invalid',
      reason: expect.stringContaining('c → a → b → c'),
    });
    await expect(filters.define(filter('d', refer('d')), 'strict')).rejects.toMatchObject({
      code: 'xml.invalid',
    });
  });

  it('are in force at once for running guests that use them, by way of others too', async () => {
    const { open, run, verdicts } = rig();
    const filters = open();
    await filters.define(filter('inner', accept), 'strict');
    await filters.define(filter('outer', refer('inner')), 'strict');
    run('outer', 'vnet0');
    run('clean-traffic', 'vnet1');
    await filters.define(filter('inner', drop), 'strict');
    expect(verdicts('vnet0')).toContain('drop');
    expect(verdicts('vnet1')).toBeUndefined();
    await filters.define(filter('inner', accept), 'strict');
    expect(verdicts('vnet0')).toContain('accept');
  });

  it('change nothing when a running guest could not have them', async () => {
    const { open, run, failure, verdicts } = rig();
    const filters = open();
    await filters.define(filter('mine', accept), 'strict');
    run('mine', 'vnet0');
    await filters.define(filter('mine', accept), 'strict');
    await expect(filters.define(filter('mine', refer('nobody')), 'strict')).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    failure.apply = new VirtError('program.failed', { reason: 'nft says no' });
    await expect(filters.define(filter('mine', drop), 'strict')).rejects.toMatchObject({
      code: 'program.failed',
    });
    delete failure.apply;
    expect(filters.xml(filters.find('mine'))).toContain("action='accept'");
    expect(open().xml(filters.find('mine'))).toContain("action='accept'");
    expect(verdicts('vnet0')).toEqual(['accept']);
  });

  it('stay while a running guest uses them, which is named', async () => {
    const { open, run, cards } = rig();
    const filters = open();
    await filters.define(filter('inner', accept), 'strict');
    await filters.define(filter('outer', refer('inner')), 'strict');
    run('outer', 'vnet0', 'shop');
    for (const name of ['inner', 'outer'])
      await expect(filters.undefine(name)).rejects.toMatchObject({
        code: 'nwfilter.in-use',
        reason: expect.stringContaining("'shop'"),
      });
    cards.length = 0;
    await filters.undefine('inner');
    expect(filters.list().some(({ name }) => name === 'inner')).toBe(false);
  });

  it('follow their files when those were edited by hand, under running guests too, unless that is not possible', async () => {
    const { open, run, verdicts, file } = rig();
    const filters = open();
    await filters.define(filter('mine', accept, UUID), 'strict');
    run('mine', 'vnet0');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace("action='accept'", "action='drop'"));
    await filters.rescan();
    expect(verdicts('vnet0')).toEqual(['drop']);
    const impossible = text.replace('</filter>', `${refer('nobody')}</filter>`);
    for (const broken of ['', impossible]) {
      writeFileSync(file, broken);
      await filters.rescan();
      expect(filters.xml(filters.find('mine'))).toContain("action='drop'");
      expect(readFileSync(file, 'utf8')).toContain("action='drop'");
    }
    expect(verdicts('vnet0')).toEqual(['drop']);
    expect(filters.quarantined).toHaveLength(2);
  });
});

describeWith(['xmllint', '/usr/share/libvirt/schemas/nwfilterbinding.rng'], 'bindings', () => {
  it("tell tap, guest, filter and parameters, as libvirt's schema has it", () => {
    const { open, run } = rig();
    run('clean-traffic', 'vnet7', 'a & b');
    const [binding] = open().bindings();
    if (binding === undefined) throw new Error('no binding');
    expect(binding).toMatchObject({ device: 'vnet7', mac: MAC, owner: { name: 'a & b', uuid: UUID } });
    const xml = formatFilterBinding(binding);
    expect(xml).toContain("<portdev name='vnet7'/>");
    expect(xml).toContain(`<parameter name='MAC' value='${MAC}'/>`);
    expectSchemaValid(xml, '/usr/share/libvirt/schemas/nwfilterbinding.rng');
  });
});
