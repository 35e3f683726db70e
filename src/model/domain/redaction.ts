/**
 * Takes what is secret out of errors, the flight record and bug reports. A definition is cleaned element by element: what may hold a password
 * is left out unless it is known to hold none. What was left out there is then looked for in all other texts (logs, command
 * lines, records), however it is quoted there.
 */
import { parseXml } from '../../base/xml/parse.ts';
import { escapeAttribute, formatXml, isElement, type XmlElement, xmlElement } from '../../base/xml/tree.ts';
import { type DomainDef, formatDomain } from './domain.ts';

/** Stands where something was. */
export const redacted = '(redacted)';

/** Shorter texts are not looked for elsewhere: they would be found everywhere. */
const MIN_SOUGHT = 4;

/** Parts of longer texts are looked for from this length on. */
const MIN_PART = 8;
const separators = /[\s;=:&,"{}[\]]+/;

/** Words that mean nothing by themselves. */
const everywhere = /^(true|false|none|auto|null|\d{1,5})$/;

/** Elements whose text is, or may be, a secret. */
const secretTexts: ReadonlySet<string> = new Set(['cookie', 'session', 'dhCert', 'idAuth', 'initarg']);
/** Attributes that are secrets wherever they stand. */
const secretAttributes: ReadonlySet<string> = new Set(['passwd', 'password', 'query', 'token']);
/** What people give a kernel that is no secret; the value of any other word is. */
const plainKernelWords: ReadonlySet<string> = new Set([
  'root',
  'rootfstype',
  'rootflags',
  'console',
  'init',
  'rdinit',
  'panic',
  'loglevel',
  'systemd.unit',
  'net.ifnames',
  'biosdevname',
  'nokaslr',
  'ro',
  'rw',
  'quiet',
]);
/** Metadata that says what is installed, or is our own. */
const plainMetadata = /^(urn:vireo:|http:\/\/libosinfo\.org\/)/;

/**
 * What is left out: `secrets`: passwords, cookies, query strings, of texts for those who look after the guest; `report`: also what
 * may be private, of what is sent to strangers.
 */
export type RedactionScope = 'secrets' | 'report';

/** Collects what is secret, and cleans texts of it. */
export class Redactor {
  private readonly secrets = new Set<string>();
  private readonly isReport: boolean;

  constructor(scope: RedactionScope) {
    this.isReport = scope === 'report';
  }

  /** A domain's document (in its form with passwords) without what may be secret. @throws VirtError xml.malformed */
  domain(xml: string): string {
    return this.text(formatXml(this.element(parseXml(xml), [])));
  }

  /** Any text: known secrets go, and values of options that are called like one. */
  text(text: string): string {
    let clean = text;
    for (const form of this.forms()) if (clean.includes(form)) clean = clean.replaceAll(form, redacted);
    return clean
      .replace(/(:\/\/)[^/@\s'"]+:[^/@\s'"]+@/g, `$1${redacted}@`)
      .replace(
        /("(?:data|password|passwd|secret|token|cookie)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi,
        `$1"${redacted}"`,
      )
      .replace(
        /\b((?:password|passwd|token|cookie|sigkey|rootpw)[=:])(?!\(redacted\))[^\s,;'"]+/gi,
        `$1${redacted}`,
      )
      .replace(/\b(secret,[^\s'"]*\bdata=)[^\s,'"]+/g, `$1${redacted}`);
  }

  /** Values of any shape: texts in them are cleaned. */
  value(value: unknown): unknown {
    if (typeof value === 'string') return this.text(value);
    if (Array.isArray(value)) return value.map((one) => this.value(one));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, this.value(one)]));
  }

  /** Longest first, so that a secret that is part of another leaves nothing of that. */
  private forms(): string[] {
    const quoted = (secret: string) => [
      secret,
      escapeAttribute(secret),
      JSON.stringify(secret).slice(1, -1),
      secret.replaceAll("'", "'\\''"),
      secret.replaceAll(',', ',,'),
    ];
    return [...new Set([...this.secrets].flatMap(quoted))].sort((a, b) => b.length - a.length);
  }

  private hide(secret: string): string {
    const trimmed = secret.trim();
    if (trimmed === '') return secret;
    if (trimmed.length >= MIN_SOUGHT && !everywhere.test(trimmed)) this.secrets.add(trimmed);
    // `name=value;name=value`: each of them may stand somewhere by itself.
    for (const part of trimmed.split(separators)) if (part.length >= MIN_PART) this.secrets.add(part);
    return redacted;
  }

  /** Sought as a whole only: its words are everybody's. */
  private hideProse(text: string): string {
    if (text.trim().length >= MIN_SOUGHT) this.secrets.add(text.trim());
    return text.trim() === '' ? text : redacted;
  }

  private element(element: XmlElement, above: readonly string[]): XmlElement {
    const { name } = element;
    if (name === 'metadata') return this.isReport ? this.metadata(element) : element;
    // The guest's uuid once more, which is no secret and stands everywhere.
    if (name === 'entry' && element.attrs.get('name') === 'uuid') return element;
    const path = [...above, name];
    const attrs = [...element.attrs].map(([key, value]): [string, string] => [
      key,
      this.attribute(element, key, value),
    ]);
    const children = element.children.map((node) =>
      isElement(node) ? this.element(node, path) : this.words(path, node),
    );
    return xmlElement(name, attrs, children);
  }

  private words(path: readonly string[], text: string): string {
    const name = path.at(-1) ?? '';
    if (!this.isReport) return secretTexts.has(name) ? this.hide(text) : text;
    if (name === 'title') return text.trim() === '' ? text : redacted; // short words, which stand elsewhere too
    if (name === 'cmdline') return this.kernelCommandLine(text);
    // SMBIOS and fw_cfg bring credentials and whole cloud-init documents into guests.
    if (name === 'description') return this.hideProse(text);
    if (secretTexts.has(name) || path.includes('sysinfo')) return this.hide(text);
    return text;
  }

  private attribute(element: XmlElement, key: string, value: string): string {
    if (secretAttributes.has(key)) return this.hide(value);
    const { name } = element;
    if (name === 'qemu:env' && key === 'value') return this.hide(value);
    if (this.isReport && name === 'qemu:arg' && key === 'value') return this.option(value);
    if (
      this.isReport &&
      name === 'qemu:property' &&
      key === 'value' &&
      element.attrs.get('type') === 'string'
    )
      return this.hide(value);
    if (name === 'source' && key === 'name' && value.includes('?')) {
      const at = value.indexOf('?') + 1;
      return value.slice(0, at) + this.hide(value.slice(at));
    }
    return value;
  }

  /** A word of a command line that the user wrote: of options only the names are kept, as far as they are no value of a secret. */
  private option(value: string): string {
    if (/^-[\w-]+$/.test(value)) return value;
    if (value.startsWith('{')) return this.hide(value);
    return value
      .split(/(?<!,),(?!,)/)
      .map((part) => {
        const at = part.indexOf('=');
        if (at === -1) return part.length >= MIN_SOUGHT && part.includes(':') ? this.hide(part) : part;
        return part.slice(0, at + 1) + this.hide(part.slice(at + 1));
      })
      .join(',');
  }

  private kernelCommandLine(text: string): string {
    return text
      .split(/(\s+)/)
      .map((word) => {
        const at = word.indexOf('=');
        if (at === -1 || plainKernelWords.has(word.slice(0, at))) return word;
        return word.slice(0, at + 1) + this.hide(word.slice(at + 1));
      })
      .join('');
  }

  /** Of others' metadata names are kept: management programs keep first passwords there. */
  private metadata({ name, attrs, children }: XmlElement): XmlElement {
    const kept = children.map((node) => {
      if (!isElement(node)) return node;
      const isPlain = [...node.attrs].some(
        ([key, uri]) => key.startsWith('xmlns') && plainMetadata.test(uri),
      );
      return isPlain ? node : this.hidden(node);
    });
    return xmlElement(name, attrs, kept);
  }

  private hidden({ name, attrs, children }: XmlElement): XmlElement {
    return xmlElement(
      name,
      [...attrs].map(([key, value]) => [key, key.startsWith('xmlns') ? value : this.hide(value)]),
      children.map((node) => (isElement(node) ? this.hidden(node) : this.hide(node))),
    );
  }
}

/** A text about a domain, such as what QEMU said when it ended, without the passwords and cookies in its definition. */
export function withoutSecrets(definition: DomainDef, text: string): string {
  if (text === '') return text;
  const redactor = new Redactor('secrets');
  redactor.domain(formatDomain(definition, { secure: true }));
  return redactor.text(text);
}
