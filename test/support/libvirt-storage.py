"""Storage as programs use it through python3-libvirt: events, streams by callbacks, lists with every filter. URI, directory."""
import hashlib, json, os, sys, threading, time
import libvirt

uri, directory = sys.argv[1:3]
libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()
threading.Thread(target=lambda: [libvirt.virEventRunDefaultImpl() for _ in iter(int, 1)], daemon=True).start()
conn = libvirt.open(uri)
told = {}
lifecycle, refreshed, own = [], [], []
any_pool = conn.storagePoolEventRegisterAny(
    None, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, lambda c, p, event, detail, o: lifecycle.append((p.name(), event)), None)
conn.storagePoolEventRegisterAny(
    None, libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH, lambda c, p, o: refreshed.append(p.name()), None)

place = os.path.join(directory, "py")
xml = f"<pool type='dir'><name>py</name><target><path>{place}</path></target></pool>"
pool = conn.storagePoolDefineXML(xml, 0)
conn.storagePoolEventRegisterAny(
    pool, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, lambda c, p, event, detail, o: own.append(event), None)
pool.build(0)
pool.create(0)
told["info"] = [pool.info()[0], pool.isActive(), pool.isPersistent(), pool.autostart()]
told["byPath"] = conn.storagePoolLookupByTargetPath(place).name()
told["byUuid"] = conn.storagePoolLookupByUUIDString(pool.UUIDString()).name()
told["filters"] = ["py" in [p.name() for p in conn.listAllStoragePools(1 << bit)] for bit in range(20)]
told["old"] = ["py" in conn.listStoragePools(), "py" in conn.listDefinedStoragePools(), conn.numOfStoragePools() > 0]

vol = pool.createXML("<volume><name>v</name><capacity unit='MiB'>8</capacity><target><format type='raw'/></target></volume>", 0)
told["vol"] = [vol.name(), vol.path() == f"{place}/v", vol.key() == vol.path(), vol.info()[:2]]
told["found"] = [conn.storageVolLookupByPath(vol.path()).name(), conn.storageVolLookupByKey(vol.key()).name(),
                 vol.storagePoolLookupByVolume().name(), [v.name() for v in pool.listAllVolumes(0)], pool.listVolumes(), pool.numOfVolumes()]
data = os.urandom(8 << 20)
stream = conn.newStream(0)
vol.upload(stream, 0, len(data), 0)
left = [data]
def source(_, n, __):
    chunk, left[0] = left[0][:n], left[0][n:]
    return chunk
stream.sendAll(source, None)
stream.finish()
digest = hashlib.sha256()
stream = conn.newStream(0)
vol.download(stream, 0, 0, 0)
stream.recvAll(lambda _, chunk, __: digest.update(chunk), None)
stream.finish()
told["same"] = digest.digest() == hashlib.sha256(data).digest()
# A client that gives up leaves the volume free.
stream = conn.newStream(0)
vol.upload(stream, 0, 0, 0)
stream.send(b"x" * 1000)
stream.abort()
copy = pool.createXMLFrom("<volume><name>c</name><capacity unit='MiB'>8</capacity><target><format type='raw'/></target></volume>", vol, 0)
copy.resize(1 << 20, libvirt.VIR_STORAGE_VOL_RESIZE_DELTA)
told["grown"] = copy.info()[1]
copy.wipePattern(libvirt.VIR_STORAGE_VOL_WIPE_ALG_ZERO, 0)
copy.delete(0)
def code(call):
    try:
        call()
    except libvirt.libvirtError as error:
        return [error.get_error_code(), error.get_error_domain(), error.get_error_message()]
told["missing"] = [code(lambda: conn.storagePoolLookupByName("nobody")), code(lambda: pool.storageVolLookupByName("nothing")),
                   code(lambda: conn.storageVolLookupByPath("/nowhere"))]
told["taken"] = code(lambda: pool.createXML("<volume><name>v</name><capacity>1</capacity></volume>", 0))
vol.delete(0)
told["left"] = os.listdir(place)
pool.refresh(0)
pool.destroy()
pool.delete(0)
pool.undefine()
time.sleep(0.5)
conn.storagePoolEventDeregisterAny(any_pool)
told["lifecycle"] = lifecycle
told["own"] = own
told["refreshed"] = "py" in refreshed
told["gone"] = not os.path.exists(place)
print(json.dumps(told))
