/** Smart cards: emulated from the host's or from certificates, or passed through from a client. */
import type { Smartcard } from '../../../model/domain/devices/chardev.ts';
import { aliasOf, placement } from './address.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** All of <smartcard>. */
export function buildSmartcards(b: Build): void {
  for (const [index, card] of b.definition.devices.smartcards.entries()) {
    const path = `devices.smartcard[${index}]`;
    b.device(path, { ...cardOptions(b, card, path), ...placement(b, card, path) });
  }
}

function cardOptions(b: Build, card: Smartcard, path: string): JsonObject & { readonly driver: string } {
  const { backend } = card;
  switch (backend.mode) {
    case 'host':
      return { driver: 'ccid-card-emulated', backend: 'nss-emulated' };
    case 'host-certificates': {
      const [cert1, cert2, cert3] = backend.certificates;
      if (backend.certificates.length !== 3) b.problem(`${path}.certificate`, 'exactly three are needed');
      return {
        driver: 'ccid-card-emulated',
        backend: 'certificates',
        cert1,
        cert2,
        cert3,
        db: backend.database ?? '/etc/pki/nssdb',
      };
    }
    case 'passthrough': {
      const { source, log } = backend;
      const chardev = buildChardev(b, {
        alias: aliasOf(card, path),
        source,
        log,
        path,
        spiceName: 'smartcard',
      });
      return { driver: 'ccid-card-passthru', chardev };
    }
  }
}
