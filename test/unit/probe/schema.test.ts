import { describe, expect, it } from 'vitest';
import { entitiesOf, enumValues, flattenCommand, namesOf } from '../../../src/drivers/qemu/probe/schema.ts';

const object = (name: string, members: object[], more: object = {}): Record<string, unknown> => ({
  name,
  'meta-type': 'object',
  members,
  ...more,
});

const schema = [
  { name: 'blockdev-add', 'meta-type': 'command', 'arg-type': '1', 'ret-type': '9', features: ['json-cli'] },
  { name: 'STOP', 'meta-type': 'event', 'arg-type': '9' },
  object('1', [{ name: 'driver', type: 'kinds' }], {
    tag: 'driver',
    variants: [
      { case: 'file', type: 'file' },
      { case: 'raw', type: 'raw' },
      { case: 'blkdebug', type: 'file' },
    ],
  }),
  {
    name: 'kinds',
    'meta-type': 'enum',
    values: ['file', 'raw'],
    members: [{ name: 'file' }, { name: 'raw' }],
  },
  object('file', [
    { name: 'filename', type: 'str' },
    { name: 'aio', type: 'aio', default: null, features: ['deprecated'] },
  ]),
  { name: 'aio', 'meta-type': 'enum', values: ['threads', 'io_uring'] },
  object('raw', [
    { name: 'file', type: 'ref' },
    { name: 'list', type: '[file]' },
  ]),
  { name: 'ref', 'meta-type': 'alternate', members: [{ type: '1' }, { type: 'str' }] },
  { name: '[file]', 'meta-type': 'array', 'element-type': 'file' },
  { name: 'str', 'meta-type': 'builtin', 'json-type': 'string' },
  object('9', []),
];

describe('flattenCommand', () => {
  const paths = flattenCommand(entitiesOf(schema), 'blockdev-add', 'arg-type');

  it('lists members, branches, values and features, each type once on its way down', () => {
    expect(paths).toEqual([
      'blockdev-add/$json-cli',
      'blockdev-add/arg-type/driver',
      'blockdev-add/arg-type/driver/^file',
      'blockdev-add/arg-type/driver/^raw',
      'blockdev-add/arg-type/+file',
      'blockdev-add/arg-type/+file/filename',
      'blockdev-add/arg-type/+file/aio',
      'blockdev-add/arg-type/+file/aio/$deprecated',
      'blockdev-add/arg-type/+file/aio/^threads',
      'blockdev-add/arg-type/+file/aio/^io_uring',
      'blockdev-add/arg-type/+raw',
      'blockdev-add/arg-type/+raw/file',
      'blockdev-add/arg-type/+raw/list',
      'blockdev-add/arg-type/+raw/list/filename',
      'blockdev-add/arg-type/+raw/list/aio',
      'blockdev-add/arg-type/+raw/list/aio/$deprecated',
      'blockdev-add/arg-type/+raw/list/aio/^threads',
      'blockdev-add/arg-type/+raw/list/aio/^io_uring',
      'blockdev-add/arg-type/+blkdebug',
    ]);
  });

  it('has nothing to say of commands that are not there, and of events', () => {
    expect(flattenCommand(entitiesOf(schema), 'nope', 'arg-type')).toEqual([]);
    expect(flattenCommand(entitiesOf(schema), 'STOP', 'arg-type')).toEqual([]);
  });

  it('tells the values of one enumeration', () => {
    expect(enumValues(paths, 'blockdev-add/arg-type/driver')).toEqual(['file', 'raw']);
    expect(enumValues(paths, 'blockdev-add/arg-type/+file/aio')).toEqual(['io_uring', 'threads']);
  });

  it('survives a schema of wrong types', () => {
    const odd = [
      { name: 'x', 'meta-type': 'command', 'arg-type': 'y' },
      object('y', 5 as unknown as object[]),
    ];
    expect(flattenCommand(entitiesOf(odd), 'x', 'arg-type')).toEqual([]);
  });
});

describe('namesOf', () => {
  it('sorts commands and events apart', () => {
    expect(namesOf(schema, 'command')).toEqual(['blockdev-add']);
    expect(namesOf(schema, 'event')).toEqual(['STOP']);
  });
});
