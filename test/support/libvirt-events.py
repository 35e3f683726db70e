"""Drives libvirt's python binding with its event loop: URI and a definition as arguments; prints what it saw as JSON."""
import json
import socket
import sys
import threading
import time

import libvirt

libvirt.registerErrorHandler(lambda _, __: None, None)
libvirt.virEventRegisterDefaultImpl()
running = True


def loop():
    while running:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=loop, daemon=True).start()
conn = libvirt.open(sys.argv[1])
conn.setKeepAlive(1, 3)
kinds = ['defined', 'undefined', 'started', 'suspended', 'resumed', 'stopped', 'shutdown', 'pmsuspended', 'crashed']
lifecycle, own, metadata = [], [], []
ids = [
    conn.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda _, __, event, detail, ___: lifecycle.append([kinds[event], detail]), None
    ),
    conn.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, lambda _, __, kind, uri, ___: metadata.append([kind, uri]), None
    ),
]
# Every kind there is can be asked for.
ids += [conn.domainEventRegisterAny(None, kind, lambda *_: None, None) for kind in range(1, 23)]
conn.networkEventRegisterAny(None, 0, lambda *_: None, None)
conn.storagePoolEventRegisterAny(None, 0, lambda *_: None, None)
conn.nodeDeviceEventRegisterAny(None, 0, lambda *_: None, None)
conn.secretEventRegisterAny(None, 0, lambda *_: None, None)

domain = conn.defineXML(open(sys.argv[2]).read())
conn.domainEventRegisterAny(domain, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *_: own.append(1), None)
try:
    conn.lookupByName('missing')
    missing = 0
except libvirt.libvirtError as error:
    missing = error.get_error_code()
domain.create()
domain.suspend()
domain.resume()
domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, 'a title', None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
assert domain.info()[1] == 65536 and domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
assert [one.name() for one in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)] == [domain.name()]
active = len(conn.listDomainsID())
assert conn.numOfDefinedDomains() == 0 and conn.listDefinedDomains() == []
assert conn.getAllDomainStats()[0][1]['state.state'] == 1

stream = conn.newStream(0)
domain.screenshot(stream, 0, 0)
picture = b''
while True:
    data = stream.recv(262120)
    if not data:
        break
    picture += data
stream.finish()

mine, theirs = socket.socketpair()
domain.openGraphics(0, theirs.fileno(), 0)
theirs.close()
assert mine.recv(12) == b'RFB 003.008\n'
mine.close()
display = socket.socket(fileno=domain.openGraphicsFD(0, 0))
display.settimeout(5)
greeting = display.recv(12).decode()
display.close()

stream = conn.newStream(0)
domain.openConsole(None, stream, 0)
stream.send(b'hello')
stream.finish()
stream = conn.newStream(0)
domain.openConsole(None, stream, 0)
stream.abort()

domain.destroy()
domain.undefine()
time.sleep(2.5)
for one in ids:
    conn.domainEventDeregisterAny(one)
alive = conn.isAlive()
running = False
print(json.dumps({
    'lifecycle': lifecycle, 'own': len(own), 'metadata': metadata, 'png': picture[1:4] == b'PNG',
    'alive': alive, 'ids': active, 'missing': missing, 'greeting': greeting,
}))
