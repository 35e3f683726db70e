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
snapshot = """<domainsnapshot><name>%s</name><state>shutoff</state><creationTime>1</creationTime>%s</domainsnapshot>"""
redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
root = dom.snapshotCreateXML(snapshot % ('root', ''), redefine)
dom.snapshotCreateXML(snapshot % ('leaf', '<parent><name>root</name></parent>'), redefine)
pool = conn.storagePoolDefineXML(
    '<pool type="dir"><name>swept</name><target><path>%s</path></target></pool>' % sys.argv[3])
pool.create()
pool.createXML('<volume><name>one</name><capacity>1</capacity></volume>')
network = conn.networkDefineXML('<network><name>ports</name></network>')
network.create()
# Each with the number of its filters; a name with a dot is a method of an object.
lists.update({
    'domain.listAllSnapshots': 11, 'snapshot.listAllChildren': 11, 'pool.listAllVolumes': 0, 'network.listAllPorts': 0,
})
objects = {'domain': dom, 'snapshot': root, 'pool': pool, 'network': network}
for name, bits in lists.items():
    of, _, method = name.rpartition('.')
    call = getattr(objects.get(of, conn), method)
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
# Calls that other clients leave out; each is answered, or ends the sweep.
conn.getURI()
conn.listDefinedInterfaces()
conn.listDefinedStoragePools()
conn.listDevices('net', 0)
device = conn.nodeDeviceLookupByName('computer')
device.listCaps(), device.numOfCaps(), device.autostart(), device.isPersistent(), device.isActive()
secret = conn.secretDefineXML("<secret><usage type='volume'><volume>/swept</volume></usage></secret>")
conn.secretLookupByUsage(libvirt.VIR_SECRET_USAGE_TYPE_VOLUME, '/swept').undefine()
dom.snapshotListNames(0), root.listChildrenNames(0)
dom.setMaxMemory(65536)
dom.setMemoryStatsPeriod(5, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
pool.storageVolLookupByName('one').wipe(0)
pool.destroy()
pool.undefine()
network.destroy()
network.undefine()
for one in dom.listAllSnapshots():
    one.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)

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
