/** The access table (docs/security.md, class A): every method has a class, and a read-only connection can only look. */
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { methods } from '../../../src/api/index.ts';
import type { MethodDeclaration } from '../../../src/api/method.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { accessOf } from '../../../src/daemon/frontends/jsonrpc/access.ts';
import { buildHandlers, type JsonRpcServices } from '../../../src/daemon/frontends/jsonrpc/bind.ts';
import type { Handlers } from '../../../src/daemon/frontends/jsonrpc/handlers.ts';
import { errorOf, fakeHandlers, startServer } from './support.ts';

const declarations = Object.values<MethodDeclaration>(methods);

/** What a read-only client may call. A new method is added here by a person who has thought about it. */
const queries = [
  'backup.plan-list',
  'backup.xml',
  'checkpoint.list',
  'checkpoint.xml',
  'daemon.info',
  'daemon.ping',
  'domain.addresses',
  'domain.disk.info',
  'domain.disk.jobs',
  'domain.disk.wait-job',
  'domain.get',
  'domain.get-metadata',
  'domain.interface-stats',
  'domain.job',
  'domain.launch-security',
  'domain.limits',
  'domain.list',
  'domain.log',
  'domain.perf',
  'domain.port-forward.list',
  'domain.power-order.get',
  'domain.record',
  'domain.stats',
  'domain.stats-history',
  'domain.stats-stream',
  'domain.threads',
  'domain.throttle-group.list',
  'domain.wait',
  'domain.xml',
  'event.subscribe',
  'event.unsubscribe',
  'host.capabilities',
  'host.check',
  'host.devices',
  'host.domain-capabilities',
  'host.info',
  'host.interface-xml',
  'host.interfaces',
  'host.sev',
  'host.statistics',
  'host.sysinfo',
  'image.list',
  'job.list',
  'network.get',
  'network.get-metadata',
  'network.leases',
  'network.list',
  'network.port-forward.list',
  'network.xml',
  'node-device.list',
  'node-device.xml',
  'nwfilter.bindings',
  'nwfilter.list',
  'nwfilter.xml',
  'pool.capabilities',
  'pool.get',
  'pool.list',
  'pool.xml',
  'rpc.discover',
  'secret.get',
  'secret.list',
  'secret.xml',
  'snapshot.get',
  'snapshot.list',
  'snapshot.xml',
  'template.list',
  'undo.list',
  'volume.find',
  'volume.get',
  'volume.list',
  'volume.trash-list',
  'volume.xml',
];

/** Valid params of every method that needs any. */
const valid: Readonly<Record<string, object>> = {
  'daemon.set-log-level': { level: 'info' },
  'host.set-sasl-user': { name: 'a', password: 'long enough' },
  'host.remove-sasl-user': { name: 'a' },
  'domain.plan': { xml: '<domain/>' },
  'checkpoint.create': { domain: 'a' },
  'checkpoint.list': { domain: 'a' },
  'checkpoint.sizes': { domain: 'a', checkpoint: 'c' },
  'checkpoint.xml': { domain: 'a', checkpoint: 'c' },
  'checkpoint.define': { domain: 'a', xml: '<domaincheckpoint/>' },
  'checkpoint.delete': { domain: 'a', checkpoint: 'c' },
  'backup.begin': { domain: 'a', xml: '<domainbackup/>' },
  'backup.xml': { domain: 'a' },
  'backup.cancel': { domain: 'a' },
  'backup.create': { domain: 'a', directory: '/b' },
  'backup.list': { directory: '/b' },
  'backup.verify': { path: '/b/a/1' },
  'backup.restore': { path: '/b/a/1' },
  'backup.delete': { path: '/b/a/1' },
  'backup.plan-set': { name: 'p', domain: 'a', directory: '/b', schedule: { every: 'day', minute: 0 } },
  'backup.plan-run': { name: 'p' },
  'backup.plan-remove': { name: 'p' },
  'snapshot.create': { domain: 'a' },
  'snapshot.plan': { domain: 'a' },
  'snapshot.list': { domain: 'a' },
  'snapshot.define': { domain: 'a', xml: '<domainsnapshot/>' },
  'domain.define': { xml: '<domain/>' },
  'domain.create': { name: 'a', memoryBytes: 1024 * 1024 },
  'domain.create-xml': { xml: '<domain/>' },
  'domain.set-lifecycle-action': { domain: 'a', event: 'crash', action: 'destroy' },
  'domain.set-autostart': { domain: 'a', autostart: true },
  'domain.rename': { domain: 'a', name: 'b' },
  'domain.set-title': { domain: 'a', title: null },
  'domain.set-description': { domain: 'a', description: null },
  'domain.get-metadata': { domain: 'a', uri: 'urn:x' },
  'domain.set-metadata': { domain: 'a', uri: 'urn:x', xml: null },
  'domain.port-forward.add': { domain: 'a', hostPort: 1, guestPort: 2 },
  'domain.port-forward.remove': { domain: 'a', hostPort: 1 },
  'domain.update-device': { domain: 'a', xml: '<disk/>' },
  'domain.change-media': { domain: 'a', device: 'sda', path: null },
  'domain.set-link': { domain: 'a', interface: 'net0', state: 'down' },
  'domain.set-bandwidth': { domain: 'a', interface: 'net0', inbound: null },
  'domain.wait': { domain: 'a', until: 'shutoff' },
  'domain.send-key': { domain: 'a', keys: ['a'] },
  'domain.monitor-command': { domain: 'a', command: 'query-status' },
  'domain.set-memory': { domain: 'a', memoryBytes: 1048576 },
  'domain.set-memory-stats-period': { domain: 'a', seconds: 1 },
  'domain.set-vcpus': { domain: 'a', count: 1 },
  'domain.set-vcpu': { domain: 'a', vcpus: '1', enabled: true },
  'domain.pin': { domain: 'a', target: 'emulator', cpus: '0' },
  'domain.perf': { domain: 'a' },
  'domain.set-perf': { domain: 'a', events: { page_faults: true } },
  'domain.dirty-rate.start': { domain: 'a' },
  'domain.set-launch-secret': { domain: 'a', header: 'YQ==', secret: 'YQ==' },
  'domain.iothread.add': { domain: 'a', id: 1 },
  'domain.iothread.remove': { domain: 'a', id: 1 },
  'domain.disk.resize': { domain: 'a', disk: 'vda', sizeBytes: 1048576 },
  'domain.disk.jobs': { domain: 'a' },
  'domain.disk.pull': { domain: 'a', disk: 'vda' },
  'domain.disk.commit': { domain: 'a', disk: 'vda' },
  'domain.disk.copy': { domain: 'a', disk: 'vda', destination: { file: '/x' } },
  'domain.disk.set-job-speed': { domain: 'a', disk: 'vda' },
  'domain.disk.end-job': { domain: 'a', disk: 'vda' },
  'domain.disk.wait-job': { domain: 'a', disk: 'vda' },
  'domain.disk.set-limits': { domain: 'a', disk: 'vda', limits: {} },
  'domain.disk.info': { domain: 'a', disk: 'vda' },
  'domain.disk.set-threshold': { domain: 'a', disk: 'vda', thresholdBytes: 0 },
  'domain.throttle-group.set': { domain: 'a', group: 'g', limits: {} },
  'domain.throttle-group.remove': { domain: 'a', group: 'g' },
  'domain.power-order.set': { domain: 'a', order: 1 },
  'domain.save': { domain: 'a', path: '/f' },
  'domain.restore': { path: '/f' },
  'domain.dump': { domain: 'a', path: '/f' },
  'save-image.get': { path: '/f' },
  'save-image.edit': { path: '/f', state: 'paused' },
  'domain.stats': {},
  'domain.stats-stream': {},
  'domain.guest.command': { domain: 'a', command: 'guest-ping' },
  'domain.guest.exec': { domain: 'a', path: 'true' },
  'domain.guest.read-file': { domain: 'a', path: '/f' },
  'domain.guest.write-file': { domain: 'a', path: '/f', base64: '' },
  'domain.guest.set-password': { domain: 'a', user: 'u', password: 'p' },
  'domain.guest.ssh-keys': { domain: 'a', user: 'u' },
  'domain.guest.set-ssh-keys': { domain: 'a', user: 'u', keys: [] },
  'event.unsubscribe': { subscription: 's1' },
  'host.interface-xml': { interface: 'a' },
  'image.pull': { image: 'debian:13' },
  'job.cancel': { id: 'x-1' },
  'network.define': { xml: '<network/>' },
  'network.create': { name: 'a' },
  'network.create-xml': { xml: '<network/>' },
  'network.update': { network: 'a', section: 'dns-txt', command: 'delete', xml: '<txt/>' },
  'network.get-metadata': { network: 'a', uri: 'urn:x' },
  'network.set-title': { network: 'a', title: null },
  'network.set-description': { network: 'a', description: null },
  'network.set-metadata': { network: 'a', uri: 'urn:x', xml: null },
  'network.set-autostart': { network: 'a', autostart: true },
  'network.port-forward.add': { network: 'a', hostPort: 1, guest: 'b', guestPort: 2 },
  'network.port-forward.remove': { network: 'a', hostPort: 1 },
  'node-device.detach': { device: 'a' },
  'node-device.reattach': { device: 'a' },
  'node-device.reset': { device: 'a' },
  'node-device.xml': { device: 'a' },
  'nwfilter.define': { xml: '<filter/>' },
  'nwfilter.undefine': { filter: 'a' },
  'nwfilter.xml': { filter: 'a' },
  'secret.define': { xml: '<secret/>' },
  'secret.set-value': { secret: 'a', value: 'YQ==' },
  'pool.capabilities': {},
  'pool.find-sources': { type: 'netfs' },
  'pool.define': { xml: '<pool/>' },
  'pool.create': { name: 'a' },
  'pool.create-xml': { xml: '<pool/>' },
  'pool.set-autostart': { pool: 'a', autostart: true },
  'volume.list': { pool: 'a' },
  'volume.trash-list': {},
  'volume.find': { path: '/a' },
  'volume.create': { pool: 'a', name: 'b' },
  'volume.create-xml': { pool: 'a', xml: '<volume/>' },
  'volume.import': { pool: 'a', name: 'b', url: 'https://example.org/b' },
  'volume.import-file': { pool: 'a', name: 'b' },
  'volume.clone': { pool: 'a', volume: 'b', name: 'c' },
  'volume.clone-xml': { pool: 'a', volume: 'b', xml: '<volume/>' },
  'volume.resize': { pool: 'a', volume: 'b', capacityBytes: 1 },
  'domain.clone': { domain: 'a', name: 'b' },
  'domain.set-limits': { domain: 'a', limits: {} },
  'template.set': { domain: 'a' },
  'volume.set-format': { pool: 'a', volume: 'b', format: 'raw' },
};

function paramsOf(name: string): object {
  const [noun = '', verb] = name.split('.');
  if (noun === 'volume') return valid[name] ?? { pool: 'a', volume: 'b' };
  if (noun === 'snapshot') return valid[name] ?? { domain: 'a', snapshot: 'b' };
  const needsOne = ['domain', 'network', 'pool', 'secret'].includes(noun) && verb !== 'list';
  return valid[name] ?? (needsOne ? { [noun]: 'a' } : {});
}

describe('the access table', () => {
  it('lets a read-only connection do exactly these', () => {
    const found = declarations.filter(({ access }) => access === 'query').map(({ name }) => name);
    expect(found.sort()).toEqual(queries);
  });

  it('has a handler bound for every method', () => {
    // Nothing is called: binding looks at the services only when a request comes.
    const handlers = buildHandlers({ log: silentLogger } as JsonRpcServices);
    expect(Object.keys(handlers).sort()).toEqual(Object.keys(methods).sort());
  });

  it('raises the class for secrets and for an emulator that the caller names', () => {
    expect(accessOf(methods['domain.xml'], { secure: true })).toBe('secret');
    expect(accessOf(methods['domain.xml'], { secure: false, migratable: true })).toBe('query');
    expect(accessOf(methods['host.domain-capabilities'], { emulator: '/tmp/evil' })).toBe('exec');
    expect(accessOf(methods['host.domain-capabilities'], {})).toBe('query');
    expect(accessOf(methods['domain.addresses'], { sources: ['lease', 'agent'] })).toBe('modify');
    expect(accessOf(methods['domain.addresses'], { sources: ['lease'] })).toBe('query');
    expect(accessOf(methods['domain.wait'], { until: 'ssh' })).toBe('modify');
    expect(accessOf(methods['domain.wait'], { until: 'shutoff' })).toBe('query');
  });

  it.each(declarations.map((declaration) => [declaration.name, declaration] as const))(
    'holds for %s on a read-only connection',
    async (name, declaration) => {
      const called: string[] = [];
      const handlers = Object.fromEntries(
        Object.keys(methods).map((method) => [
          method,
          () => {
            called.push(method);
            const { upgrade = false } = methods[method as keyof typeof methods] as MethodDeclaration;
            return Promise.resolve(upgrade ? { result: {}, stream: new PassThrough() } : {});
          },
        ]),
      ) as unknown as Handlers;
      const rig = await startServer({ readOnly: true, handlers });
      const raw = await rig.raw();
      const answer = await raw.ask({ jsonrpc: '2.0', id: 1, method: name, params: paramsOf(name) });
      if (declaration.access === 'query') {
        expect(answer).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
        expect(called).toEqual([name]);
      } else {
        expect(errorOf(answer)).toMatchObject({ code: 1008, data: { code: 'access.read-only' } });
        expect(called).toEqual([]);
      }
    },
  );

  it('refuses the raised forms on a read-only connection, in a batch too', async () => {
    const raw = await (await startServer({ readOnly: true, handlers: fakeHandlers() })).raw();
    const answers = (await raw.ask([
      { jsonrpc: '2.0', id: 1, method: 'domain.xml', params: { domain: 'a', secure: true } },
      { jsonrpc: '2.0', id: 2, method: 'host.domain-capabilities', params: { emulator: '/bin/sh' } },
    ])) as unknown[];
    for (const answer of answers) expect(errorOf(answer).data['code']).toBe('access.read-only');
  });

  it.each(declarations.map(({ name }) => name))('dispatches %s on a read-write connection', async (name) => {
    const handlers = fakeHandlers({
      [name]: () => Promise.reject(Object.assign(new Error('reached'), { name: 'Reached' })),
    });
    const raw = await (await startServer({ handlers })).raw();
    const answer = await raw.ask({ jsonrpc: '2.0', id: 1, method: name, params: paramsOf(name) });
    expect(errorOf(answer).code).toBe(-32_603);
  });
});
