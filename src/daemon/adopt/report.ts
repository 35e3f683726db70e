/** What became of each object of a libvirt installation when it was taken over. */

/**
 * `adopted`: came over, or would on a dry run. `present`: was here already. `kept`: put aside, for when Vireo can use it.
 * `refused`: did not come over, `detail` says why.
 */
export type Outcome = 'adopted' | 'present' | 'kept' | 'refused';

export type AdoptedKind =
  | 'domain'
  | 'network'
  | 'pool'
  | 'secret'
  | 'nwfilter'
  | 'snapshot'
  | 'checkpoint'
  | 'managed-save';

export interface AdoptedObject {
  readonly kind: AdoptedKind;
  readonly name: string;
  readonly uuid: string | null;
  readonly outcome: Outcome;
  readonly detail: string | null;
}

export interface AdoptionReport {
  /** The directory of the definitions that were read. */
  readonly from: string;
  readonly dryRun: boolean;
  readonly objects: readonly AdoptedObject[];
}
