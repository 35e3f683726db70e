"""A walk through virt-manager, as its ordinary user goes it: the system connection, then the user session.

`walk.py [system] [session]`, at a desk (desk.sh). Prints a line for each step, saves what the screen showed in DESK_SHOTS, and ends with status 1
at the first step that does not come out; the log of virt-manager lies beside the pictures.
"""

import os
import subprocess
import sys
import time

from desktop import (
    Atspi,
    NotThere,
    act,
    answer,
    choose,
    click,
    click_at,
    colours,
    eventually,
    fill,
    find,
    has,
    keys,
    label_of,
    labels,
    menu,
    no_message,
    press,
    raised,
    set_number,
    shot,
    showing,
    tab,
    text_of,
    type_text,
    wait_for_label,
    walk,
    window,
    windows,
)

HOME = os.environ["HOME"]
SHOTS = os.environ["DESK_SHOTS"]
SYSTEM, SESSION = "QEMU/KVM", "QEMU/KVM User session"
MANAGER = "Virtual Machine Manager"


def virsh(*words, uri="qemu:///system"):
    done = subprocess.run(["virsh", "-q", "-c", uri, *words], capture_output=True, text=True)
    return done.stdout.strip()


def row(name):
    """A line of the manager's list that begins so."""

    def look():
        cells = (n for n in walk(window(MANAGER)) if n.get_role_name() == "table cell")
        return next((n for n in cells if label_of(n).split("\n")[0] == name), None)

    return eventually(f"{name!r} in the list", look)


def wait_for_state(name, state, seconds=20):
    eventually(f"{name} is {state}", lambda: label_of(row(name)).endswith(state), seconds)


def details_of(connection):
    raised(MANAGER)
    click(row(connection))
    menu(window(MANAGER), "Connection Details")
    return raised(f"{connection} - Connection Details")


# --- the system connection ---


def connects_by_itself():
    eventually("the connection", lambda: label_of(row(SYSTEM)) == SYSTEM)
    details = details_of(SYSTEM)
    assert has(find(details, "check box", "Autoconnect"), Atspi.StateType.CHECKED)
    wait_for_label(details, "qemu:///system")


def shows_the_default_network():
    details = raised(f"{SYSTEM} - Connection Details")
    tab(details, 1)
    click(find(details, "table cell", "default"))
    for text in ("Active", "NAT", "192.168.122.0/24", "192.168.122.2 - 192.168.122.254"):
        wait_for_label(details, text)
    assert has(find(details, "check box", "net-autostart"), Atspi.StateType.CHECKED)


def creates_edits_and_deletes_a_network():
    details = raised(f"{SYSTEM} - Connection Details")
    press(details, "net-add")
    wizard = window("Create a new virtual network")
    fill(wizard, "Net Name Field", "desknet")
    press(wizard, "Finish")
    click(find(details, "table cell", "desknet"))
    wait_for_label(details, "192.168.100.128 - 192.168.100.254")
    wait_for_label(details, "Active")
    shot("network")
    press(details, "net-stop")
    wait_for_label(details, "Inactive")
    fill(details, "net-name", "renamed")
    press(details, "Apply")
    find(details, "table cell", "renamed")
    press(details, "net-start")
    eventually("the network runs", lambda: "renamed" in virsh("net-list", "--name"))
    press(details, "net-stop")
    wait_for_label(details, "Inactive")
    press(details, "net-delete")
    answer("Yes")
    eventually("the network is gone", lambda: "renamed" not in labels(details, "table cell"))


def shows_the_default_pool():
    details = raised(f"{SYSTEM} - Connection Details")
    tab(details, 2)
    click(find(details, "table cell", "default"))
    wait_for_label(details, "/var/lib/libvirt/images")
    wait_for_label(details, "Active")


def makes_a_pool_of_isos():
    details = raised(f"{SYSTEM} - Connection Details")
    press(details, "pool-add")
    wizard = window("Add a New Storage Pool")
    fill(wizard, "Name:", "isos")
    fill(wizard, "/var/lib/libvirt/images/", f"{HOME}/Downloads/isos")
    press(wizard, "Finish")
    click(find(details, "table cell", "isos"))
    wait_for_label(details, f"{HOME}/Downloads/isos")
    wait_for_label(details, "Active")
    find(details, "table cell", "little.iso")
    shot("pool")


def installs_from_iso(connection, name, network):
    """The wizard, all five pages; the guest runs at the end, and its console is open."""
    raised(MANAGER)
    click(row(connection))
    press(window(MANAGER), "New")
    wizard = raised("New VM")
    press(wizard, "Forward")
    find(wizard, "text", "oslist-entry")
    detect = find(wizard, "check box", "Automatically detect")
    if has(detect, Atspi.StateType.CHECKED):  # There is nothing to detect on our disc; the choice is remembered.
        act(detect)
    fill(wizard, "media-entry", f"{HOME}/Downloads/isos/little.iso")
    choose_system(wizard)
    press(wizard, "Forward")
    set_number(wizard, "cpus", 1)
    memory = next(n for n in walk(wizard) if n.get_role_name() == "spin button" and showing(n) and label_of(n) != "cpus")
    Atspi.Value.set_current_value(memory, 512.0)
    press(wizard, "Forward")
    set_number(wizard, "GiB", 1)
    press(wizard, "Forward")
    if not any(n.get_role_name() == "combo box" and showing(n) for n in walk(wizard)):
        act(find(wizard, "toggle button", "Network selection"))
    assert network in [label_of(n) for n in walk(find(wizard, "combo box", "net-source"))]
    fill(wizard, "Name:", name)
    shot(f"wizard-{name}")
    press(wizard, "Finish")
    wait_for_state(name, "Running", 40)
    window(f"{name} on {connection}")


def choose_system(wizard):
    click(find(wizard, "text", "oslist-entry"))
    keys("ctrl+a")
    type_text("debian 11")
    time.sleep(1.5)
    keys("Down", "Return")
    eventually("the system", lambda: text_of(find(wizard, "text", "oslist-entry")) == "Debian 11")


def shows_the_graphical_console(title, name):
    guest = raised(title)
    act(find(guest, "radio menu item", "Graphical Console", shown=False))
    canvas = eventually("a display", lambda: next((n for n in walk(guest) if n.get_role_name() == "drawing area" and showing(n)), None))
    eventually("the screen shows something", lambda: colours(shot(f"screen-{name}"), canvas) > 1, 30)


def talks_on_the_serial_console(title, name, *expected):
    guest = raised(title)
    act(find(guest, "radio menu item", "Serial 1", shown=False))
    terminal = find(guest, "terminal")
    box = Atspi.Component.get_extents(terminal, Atspi.CoordType.SCREEN)

    def look():
        click_at(box.x + 200, box.y + 200)
        keys("Return")
        type_text("ip -4 -o addr show dev eth0; ip route; cat /etc/resolv.conf")
        keys("Return")
        time.sleep(2)
        return all(text in (text_of(terminal) or "") for text in expected)

    eventually(f"{expected} on the serial console", look, 60)
    shot(f"serial-{name}")


def pauses(title, name):
    guest = raised(title)
    act(find(guest, "toggle button", "Pause"))
    wait_for_state(name, "Paused")
    act(find(guest, "toggle button", "Pause"))
    wait_for_state(name, "Running")


def device(guest, name):
    click(find(find(guest, "table", "hw-list"), "table cell", name))


def applies(guest):
    press(guest, "config-apply")
    eventually("it is applied", lambda: not has(find(guest, "push button", "config-apply"), Atspi.StateType.SENSITIVE))
    no_message()


def changes_a_running_guest(title, name):
    """A disc out and in, a cable out and in, a disk and a card more."""
    guest = raised(title)
    act(find(guest, "radio button", "Details"))
    device(guest, "SATA CDROM")
    for path, lines in (("", 0), (f"{HOME}/Downloads/isos/little.iso", 1)):
        fill(guest, "media-entry", path)
        applies(guest)
        eventually("the disc", lambda: virsh("domblklist", name).count("little.iso") == lines)
    device(guest, "NIC")
    for state in ("down", "up"):
        act(find(guest, "check box", "active"))
        applies(guest)
        eventually(f"the link is {state}", lambda: state in virsh("domif-getlink", name, virsh("domiflist", name).split()[0]))
    adds(guest, "Storage")
    adds(guest, "Network")
    eventually("both are there", lambda: len(virsh("domiflist", name).splitlines()) == 2 and "vdb" in virsh("domblklist", name))
    device(guest, "Performance")
    time.sleep(3)
    shot("performance")


def adds(guest, kind):
    press(guest, "add-hardware")
    dialog = window("Add New Virtual Hardware")
    click(find(dialog, "table cell", kind))
    if kind == "Storage":
        set_number(dialog, "GiB", 1)
    press(dialog, "Finish")
    eventually("it is added", lambda: not [w for w in windows() if "Add New" in w.get_name()], 20)
    no_message()


def takes_goes_back_to_and_deletes_a_snapshot(title, name):
    guest = raised(title)
    act(find(guest, "radio button", "Snapshots"))
    press(guest, "snapshot-add")
    press(window("Create snapshot"), "Finish")
    eventually("the snapshot", lambda: virsh("snapshot-list", name, "--name") == "snapshot1", 90)
    no_message()
    entry = eventually("its line", lambda: next((n for n in walk(find(guest, "table", "snapshot-list")) if "snapshot1" in label_of(n)), None))
    click(entry)
    shot(f"snapshot-{name}")
    press(guest, "snapshot-start")
    answer("Yes")
    eventually("the state of then", lambda: "from snapshot" in virsh("domstate", name, "--reason"), 60)
    time.sleep(1)
    no_message()
    press(guest, "snapshot-delete")
    answer("Yes")
    eventually("it is deleted", lambda: virsh("snapshot-list", name, "--name") == "", 60)
    no_message()


def is_shut_down(title, name):
    guest = raised(title)
    press(guest, "Shut Down")
    wait_for_state(name, "Shutoff", 40)


def is_forced_off(title, name):
    guest = raised(title)
    act(find(guest, "push button", "Run"))
    wait_for_state(name, "Running")
    click(find(guest, "menu", "Virtual Machine"))
    click(find(guest, "menu", "Shut Down"))
    click(find(guest, "menu item", "Force Off"))
    answer("Yes")
    wait_for_state(name, "Shutoff")


def is_deleted_with_its_disk(connection, name, uri, disk):
    assert os.path.basename(disk) in virsh("vol-list", "default", uri=uri)
    raised(MANAGER)
    click(row(name))
    menu(window(MANAGER), "Delete")
    dialog = raised("Delete")
    press(dialog, "Delete")
    answer("Yes")
    eventually("the guest is gone", lambda: name not in virsh("list", "--all", "--name", uri=uri))
    time.sleep(1)
    no_message()
    assert os.path.basename(disk) not in virsh("vol-list", "default", uri=uri)


# --- the user session ---


def adds_the_session():
    # Started from the sources the daemon may take longer than clients wait; a client's second try finds it.
    eventually("the session daemon", lambda: virsh("uri", uri="qemu:///session") != "", 60)
    raised(MANAGER)
    menu(window(MANAGER), "Add Connection")
    dialog = raised("Add Connection")
    choose(find(dialog, "combo box", "Hypervisor"), "QEMU/KVM user session")
    press(dialog, "Connect")
    eventually("the connection", lambda: label_of(row(SESSION)) == SESSION, 30)


def has_no_networks_in_the_session():
    details = details_of(SESSION)
    tab(details, 1)
    assert labels(find(details, "table", "net-list"), "table cell") == []
    press(details, "net-add")
    wizard = window("Create a new virtual network")
    press(wizard, "Finish")
    time.sleep(1)
    shot("session-network")
    says = answer("Close")
    assert "virtual networks need the system connection" in says.replace("\n", " "), says
    press(wizard, "Cancel")


def has_a_pool_in_the_session():
    details = raised(f"{SESSION} - Connection Details")
    tab(details, 2)
    click(find(details, "table cell", "default"))
    wait_for_label(details, f"{HOME}/.local/share/libvirt/images")


def shows_the_disk_in_the_pool(name):
    details = raised(f"{SESSION} - Connection Details")
    click(find(details, "table cell", "default"))
    find(details, "table cell", f"{name}.qcow2")
    shot("session-pool")


GUEST, MINE = f"little on {SYSTEM}", f"mine on {SESSION}"
SYSTEM_STEPS = (
    (connects_by_itself,),
    (shows_the_default_network,),
    (creates_edits_and_deletes_a_network,),
    (shows_the_default_pool,),
    (makes_a_pool_of_isos,),
    (installs_from_iso, SYSTEM, "little", "Virtual network 'default' : NAT"),
    (shows_the_graphical_console, GUEST, "little"),
    (talks_on_the_serial_console, GUEST, "little", "192.168.122.", "via 192.168.122.1", "nameserver 192.168.122.1"),
    (pauses, GUEST, "little"),
    (changes_a_running_guest, GUEST, "little"),
    (takes_goes_back_to_and_deletes_a_snapshot, GUEST, "little"),
    (is_shut_down, GUEST, "little"),
    (is_forced_off, GUEST, "little"),
    (is_deleted_with_its_disk, SYSTEM, "little", "qemu:///system", "little.qcow2"),
)
SESSION_STEPS = (
    (adds_the_session,),
    (has_no_networks_in_the_session,),
    (has_a_pool_in_the_session,),
    (installs_from_iso, SESSION, "mine", "Usermode networking"),
    (shows_the_graphical_console, MINE, "mine"),
    (talks_on_the_serial_console, MINE, "mine", "10.0.2.15", "via 10.0.2.2", "nameserver 10.0.2.3"),
    (shows_the_disk_in_the_pool, "mine"),
    (is_shut_down, MINE, "mine"),
    (is_deleted_with_its_disk, SESSION, "mine", "qemu:///session", "mine.qcow2"),
)


def main(halves):
    steps = [step for half in halves for step in {"system": SYSTEM_STEPS, "session": SESSION_STEPS}[half]]
    os.makedirs(SHOTS, exist_ok=True)
    with open(os.path.join(SHOTS, "virt-manager.log"), "w", encoding="utf-8") as log:
        manager = subprocess.Popen(["virt-manager", "--debug", "--no-fork"], stdout=log, stderr=log)
        try:
            for step, *arguments in steps:
                started = time.monotonic()
                step(*arguments)
                words = " ".join([step.__name__.replace("_", " "), *(f"[{a}]" for a in arguments[:2])])
                print(f"ok {words} ({time.monotonic() - started:.1f} s)", flush=True)
        except (NotThere, AssertionError, StopIteration) as error:
            shot("failed")
            print(f"not ok {step.__name__}: {error!r}; see {SHOTS}/failed.png", flush=True)
            return 1
        finally:
            manager.terminate()
    return 0


sys.exit(main(sys.argv[1:] or ["system", "session"]))
