/** Who may call what: the access class of a call, and the one check of it. */
import type { AccessClass, MethodDeclaration } from '../../../api/method.ts';
import { VirtError } from '../../../base/errors.ts';

/** The class of a call: the method's own, or the higher one of a param that raises it. */
export function accessOf(declaration: MethodDeclaration, params: unknown): AccessClass {
  if (declaration.access !== 'query' || declaration.raises === undefined) return declaration.access;
  const given = params as Readonly<Record<string, unknown>>;
  for (const [name, raise] of Object.entries(declaration.raises)) {
    const value = given[name];
    if (value === undefined || value === false) continue;
    if (typeof raise === 'string') return raise;
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (raise.values.some((one) => values.includes(one))) return raise.access;
  }
  return declaration.access;
}

/** @throws VirtError access.read-only: a read-only connection may only look */
export function checkAccess(declaration: MethodDeclaration, params: unknown, readOnly: boolean): void {
  if (!readOnly) return;
  const access = accessOf(declaration, params);
  if (access === 'query') return;
  throw new VirtError('access.read-only', {
    wanted: `call '${declaration.name}'`,
    reason: 'this connection is read-only',
    hint: 'use the read-write socket',
    details: { access },
  });
}
