/** Prints the KVM report of the machine that it runs on. */
import { probeKvm } from '../../../src/kvm/report.ts';

process.stdout.write(`${JSON.stringify(await probeKvm())}\n`);
