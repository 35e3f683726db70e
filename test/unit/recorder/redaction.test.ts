/** What leaves a host in a bug report: a definition with a password in every place that one can be in, and no password. */
import { describe, expect, it } from 'vitest';
import { Redactor, redacted } from '../../../src/model/domain/redaction.ts';

/** One secret for each place, so that a failure names the place. */
const secrets = {
  title: 'SECRET-title',
  description: 'SECRET-description',
  metadataText: 'SECRET-metadata-text',
  metadataAttribute: 'SECRET-metadata-attribute',
  cmdline: 'SECRET-cmdline',
  credential: 'SECRET-credential',
  serial: 'SECRET-smbios-serial',
  oem: 'SECRET-oem-string',
  fwcfg: 'SECRET-fwcfg & more',
  cookie: 'SECRET-cookie',
  query: 'SECRET-query',
  sas: 'SECRET-sas-token',
  vnc: "SECRET'vnc",
  spice: 'SECRET,spice',
  session: 'SECRET-sev-session',
  env: 'SECRET-env',
  arg: 'SECRET-arg',
  json: 'SECRET-json',
  property: 'SECRET-property',
};

const xml = `<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name><uuid>6d2f1a3e-4b5c-4d6e-8f70-123456789abc</uuid>
  <title>${secrets.title}</title><description>${secrets.description}</description>
  <metadata>
    <c:firstboot xmlns:c='https://cockpit' root='${secrets.metadataAttribute}'><c:password>${secrets.metadataText}</c:password></c:firstboot>
    <libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'><libosinfo:os id='http://debian.org/debian/12'/></libosinfo:libosinfo>
  </metadata>
  <os><type arch='x86_64' machine='pc'>hvm</type>
    <cmdline>root=/dev/vda1 console=ttyS0 quiet inst.rootpw=${secrets.cmdline} systemd.set_credential=passwd:${secrets.credential}</cmdline></os>
  <sysinfo type='smbios'><system><entry name='serial'>ds=nocloud;${secrets.serial}</entry><entry name='uuid'>6d2f1a3e-4b5c-4d6e-8f70-123456789abc</entry></system>
    <oemStrings><entry>io.systemd.credential:x=${secrets.oem}</entry></oemStrings></sysinfo>
  <sysinfo type='fwcfg'><entry name='opt/com.example/x'>${secrets.fwcfg.replace('&', '&amp;')}</entry></sysinfo>
  <launchSecurity type='sev'><session>${secrets.session}</session></launchSecurity>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='cdrom'><source protocol='https' name='iso' query='${secrets.query}'><host name='a' port='443'/><cookies><cookie name='c'>${secrets.cookie}</cookie></cookies></source><target dev='sda'/></disk>
    <disk type='network'><source protocol='https' name='disk.img?sig=${secrets.sas}'><host name='a'/></source><target dev='vda'/></disk>
    <graphics type='vnc' port='5900' passwd='${secrets.vnc.replace("'", '&apos;')}'/>
    <graphics type='spice' passwd='${secrets.spice}'/>
  </devices>
  <qemu:commandline><qemu:arg value='-object'/><qemu:arg value='secret,id=s0,data=${secrets.arg}'/><qemu:arg value='{"qom-type":"secret","data":"${secrets.json}"}'/><qemu:env name='TOKEN' value='${secrets.env}'/></qemu:commandline>
  <qemu:override><qemu:device alias='x'><qemu:frontend><qemu:property name='auth' type='string' value='${secrets.property}'/></qemu:frontend></qemu:device></qemu:override>
</domain>`;

/** The distinctive part of each: quoting must not hide it from the test. */
const marks = Object.entries(secrets).map(([place, secret]) => [place, secret] as const);

describe('redaction', () => {
  const redactor = new Redactor('report');
  const clean = redactor.domain(xml);

  it.each(marks)('leaves nothing of a secret in: %s', (_place, secret) => {
    expect(clean).not.toContain(secret);
    expect(clean).not.toContain('SECRET');
  });

  it.each(marks.filter(([place]) => place !== 'title'))(
    'finds it again in a log, however it is quoted: %s',
    (_place, secret) => {
      for (const form of [
        secret,
        JSON.stringify({ x: secret }),
        `'${secret.replaceAll("'", "'\\''")}'`,
        `value=${secret.replaceAll(',', ',,')},id=x`,
      ])
        expect(redactor.text(`2026-11-22 qemu: cannot use ${form} here`)).not.toContain('SECRET');
    },
  );

  it('keeps what explains a problem', () => {
    for (const word of [
      '<name>web</name>',
      'root=/dev/vda1',
      'console=ttyS0',
      'libosinfo:os',
      "port='5900'",
      'disk.img?',
      '6d2f1a3e',
    ])
      expect(clean).toContain(word);
    expect(redactor.text('-uuid 6d2f1a3e-4b5c-4d6e-8f70-123456789abc')).toContain('6d2f1a3e');
    expect(clean).toContain(redacted);
  });

  it('knows options that are called like secrets without having seen them', () => {
    const other = new Redactor('report');
    const texts = [
      '{"qom-type":"secret","data":"SECRET-1"}',
      '-object secret,id=a,data=SECRET-2,format=raw',
      'https://ann:SECRET-3@example.org/x',
      'password=SECRET-4',
      'rootpw:SECRET-5',
    ];
    for (const text of texts) expect(other.text(text)).not.toContain('SECRET');
    expect(other.value({ error: ['password=SECRET-6'], ms: 4 })).toEqual({
      error: [`password=${redacted}`],
      ms: 4,
    });
  });
});

describe('what is told those who look after the guest', () => {
  const redactor = new Redactor('secrets');
  redactor.domain(xml);

  it.each(['cookie', 'query', 'sas', 'session', 'env'] as const)('is without the %s', (place) => {
    const quoted = `-blockdev {"driver":"http","x":"c=${secrets[place]}"}: Unknown driver 'http'`;
    expect(redactor.text(quoted)).not.toContain('SECRET');
    expect(redactor.text(quoted)).toContain("Unknown driver 'http'");
  });

  it('says what the guest is called and configured with', () => {
    const said = `kernel: inst.rootpw is wrong, machine ${secrets.serial}, ${secrets.title}`;
    expect(redactor.text(said)).toBe(said);
  });
});
