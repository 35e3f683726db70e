/** Every attribute and child element that the device mapping knows has a golden case. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { Reader } from '../../../src/base/xml/codec.ts';
import { parseXml } from '../../../src/base/xml/parse.ts';
import { isElement, type XmlElement } from '../../../src/base/xml/tree.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const directory = new URL('../../golden/domain-xml/', import.meta.url);
const documents = readdirSync(directory)
  .filter((name) => name.startsWith('dev-') && name.endsWith('.xml'))
  .map((name) => readFileSync(new URL(name, directory), 'utf8'));

/** Fields that are declared once for many devices: one golden case anywhere is enough. */
const shared = /<(acpi|alias|address|log)>$/;

/** Newer than libvirt 9.0, with whose schema the golden cases are compared; read in test/unit/host-devices. */
const newer = new Set(['driver @model']);

function present(element: XmlElement, found: Set<string>): void {
  for (const name of element.attrs.keys()) found.add(`${element.name} @${name}`);
  for (const child of element.children.filter(isElement)) {
    found.add(`${element.name} <${child.name}>`);
    present(child, found);
  }
}

// Called with their reader below.
// oxlint-disable-next-line typescript/unbound-method
const { attr: attrOf, children: childrenOf } = Reader.prototype;

test('shows every attribute and element that the mapping asks for', () => {
  const asked = new Set<string>();
  const attr = vi.spyOn(Reader.prototype, 'attr').mockImplementation(function (this: Reader, name: string) {
    if (this.path.startsWith('devices')) asked.add(`${this.element.name} @${name}`);
    return attrOf.call(this, name);
  });
  const children = vi.spyOn(Reader.prototype, 'children').mockImplementation(function (
    this: Reader,
    name: string,
  ) {
    if (this.path.startsWith('devices')) asked.add(`${this.element.name} <${name}>`);
    return childrenOf.call(this, name);
  });
  for (const text of documents) parseDomain(text, { mode: 'strict' });
  attr.mockRestore();
  children.mockRestore();
  const found = new Set<string>();
  for (const text of documents) present(parseXml(text), found);
  const isShown = (part: string): boolean => {
    const name = shared.exec(part)?.[0];
    return (
      newer.has(part) ||
      found.has(part) ||
      (name !== undefined && [...found].some((other) => other.endsWith(name)))
    );
  };
  expect([...asked].filter((part) => !isShown(part)).sort()).toEqual([]);
});
