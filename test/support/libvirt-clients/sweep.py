"""Every list with every filter, and every kind of event, by python's binding: sweep.py URI GUEST-XML. Prints JSON."""
import json, sys, threading, time
import libvirt

libvirt.registerErrorHandler(lambda context, error: None, None)
libvirt.virEventRegisterDefaultImpl()


def loop():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=loop, daemon=True).start()
conn = libvirt.open(sys.argv[1])
guest = open(sys.argv[2]).read()
told = {'lists': {}, 'refused': {}, 'events': {}, 'unsupported': []}

lists = {
    'listAllDomains': 16, 'listAllNetworks': 6, 'listAllInterfaces': 2, 'listAllSecrets': 4,
    'listAllNWFilters': 0, 'listAllNWFilterBindings': 0, 'listAllDevices': 22, 'listAllStoragePools': 17,
}
dom = conn.defineXML(guest)
for name, bits in lists.items():
    call = getattr(conn, name)
    for flags in [0] + [1 << bit for bit in range(bits)]:
        try:
            told['lists'].setdefault(name, []).append(len(call(flags)))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
            told['unsupported'].append(name)
            break
    else:
        try:
            call(1 << 26)
            told['refused'][name] = None
        except libvirt.libvirtError as error:
            told['refused'][name] = error.get_error_code()

seen = told['events']


def note(kind):
    def callback(*args):
        seen.setdefault(kind, []).append([arg for arg in args if isinstance(arg, (int, str)) and not isinstance(arg, bool)])
    return callback


def kinds(prefix):
    """Numbers of the kinds that the binding knows."""
    return sorted(getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix) and name != prefix + 'LAST')


for number in kinds('VIR_DOMAIN_EVENT_ID_'):
    conn.domainEventRegisterAny(None, number, note('domain %d' % number), None)
for number in kinds('VIR_NETWORK_EVENT_ID_'):
    conn.networkEventRegisterAny(None, number, note('network %d' % number), None)
for number in kinds('VIR_STORAGE_POOL_EVENT_ID_'):
    conn.storagePoolEventRegisterAny(None, number, note('pool %d' % number), None)
for number in kinds('VIR_NODE_DEVICE_EVENT_ID_'):
    conn.nodeDeviceEventRegisterAny(None, number, note('device %d' % number), None)
for number in kinds('VIR_SECRET_EVENT_ID_'):
    conn.secretEventRegisterAny(None, number, note('secret %d' % number), None)

dom.create()
dom.reset()
dom.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, 'title', None, None)
dom.suspend()
dom.resume()
dom.destroy()
dom.undefine()
net = conn.networkDefineXML('<network><name>swept</name></network>')
net.undefine()
deadline = time.time() + 10
while time.time() < deadline and (len(seen.get('domain 0', [])) < 5 or len(seen.get('network 0', [])) < 2):
    time.sleep(0.05)
told['lifecycle'] = [event[-3:-1] if len(event) > 2 else event for event in seen.get('domain 0', [])]
print(json.dumps(told))
