/** What is asked of a guest with launch security (AMD SEV), and told it, before it runs. */

/** What a verifier needs to know of a guest's start (AMD 55766, SEV API: LAUNCH_MEASURE). */
export interface LaunchMeasurement {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly buildId: number;
  /** QEMU's word (qapi/misc-target.json, SevState): launch-secret, running, ... */
  readonly state: string;
  /** As the processor has it. */
  readonly policy: number;
  /** Base64; none of SEV-SNP, whose guests get reports from the processor themselves. */
  readonly measurement?: string;
}

/** A secret that the guest's owner has encrypted for this guest alone; both parts are base64. */
export interface LaunchSecret {
  readonly header: string;
  readonly secret: string;
  /** A physical address in the guest; left out: where its firmware wants it. */
  readonly address?: number;
}

export interface LiveLaunchSecurity {
  /** @throws VirtError qmp.failed where nothing was measured */
  measurement(): Promise<LaunchMeasurement>;
  /** Puts a secret into the memory of a guest that has not run yet. @throws VirtError qmp.failed */
  injectSecret(secret: LaunchSecret): Promise<void>;
}
