"""What a person does before a screen, by AT-SPI: look for a widget by role and name, press it, type, look at the screen."""

import os
import subprocess
import time

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402


class NotThere(Exception):
    """No such widget, or no such state, came up in time."""


def eventually(what, look, seconds=15):
    """Asks until the answer is true, and gives it back."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = look()
        except GLib.Error:  # The widget went meanwhile, or the program was busy.
            answer = None
        if answer:
            return answer
        if time.monotonic() > end:
            raise NotThere(what)
        time.sleep(0.1)


# --- looking ---


def children(node):
    for index in range(node.get_child_count()):
        child = node.get_child_at_index(index)
        if child is not None:
            yield child


def walk(node):
    """Every widget below; those that vanish meanwhile are left out."""
    try:
        yield node
        for child in list(children(node)):
            yield from walk(child)
    except GLib.Error:
        return


def has(node, state):
    return node.get_state_set().contains(state)


def showing(node):
    return has(node, Atspi.StateType.SHOWING)


def text_of(node):
    """Its text; None for what has none."""
    if not node.get_text_iface():
        return None
    return Atspi.Text.get_text(node, 0, Atspi.Text.get_character_count(node))


def label_of(node):
    """What a person sees beside or in it: its name, else that of its label, else its text."""
    if node.get_name():
        return node.get_name()
    for relation in node.get_relation_set():
        if relation.get_relation_type() == Atspi.RelationType.LABELLED_BY:
            return relation.get_target(0).get_name()
    return text_of(node) or ""


def windows():
    root = Atspi.get_desktop(0)
    root.clear_cache()
    return [one for application in children(root) for one in children(application) if showing(one)]


def window(title, seconds=15):
    """The window whose title has that text."""

    def look():
        return next((one for one in windows() if title in (one.get_name() or "")), None)

    return eventually(f"window {title!r}", look, seconds)


def find(where, role, name="", seconds=10, shown=True):
    """The first widget of that role whose label has that text, in whatever case."""

    def look():
        for node in walk(where):
            if node.get_role_name() == role and (not shown or showing(node)) and name.lower() in label_of(node).lower():
                return node
        return None

    return eventually(f"{role} {name!r}", look, seconds)


def labels(where, role=None):
    return [label_of(n) for n in walk(where) if showing(n) and role in (None, n.get_role_name()) and label_of(n)]


def wait_for_label(where, text, seconds=15):
    """Until a label, or the text of a field, is that."""
    eventually(text, lambda: any(text in (text_of(n) or "") for n in walk(where) if showing(n)), seconds)


# --- doing ---


def act(node):
    """Its first action. One that opens a modal window would answer only when that is closed: `click` those."""
    Atspi.Action.do_action(node, 0)
    time.sleep(0.4)


def click(node, button=1, times=1):
    """With the mouse, where it is on the screen; its window must not be covered (`raised`)."""
    eventually("it can be clicked", lambda: has(node, Atspi.StateType.SENSITIVE))
    box = Atspi.Component.get_extents(node, Atspi.CoordType.SCREEN)
    click_at(box.x + box.width // 2, box.y + box.height // 2, button, times)


def click_at(x, y, button=1, times=1):
    words = ["xdotool", "mousemove", str(x), str(y), "click", "--repeat", str(times), str(button)]
    subprocess.run(words, check=True)
    time.sleep(0.4)


def press(where, name, role="push button"):
    click(find(where, role, name))


def raised(title):
    """That window, in front of all others."""
    one = window(title)
    subprocess.run(["xdotool", "search", "--name", one.get_name(), "windowactivate", "--sync"], check=True, capture_output=True)
    time.sleep(0.4)
    return one


def fill(where, name, value):
    Atspi.EditableText.set_text_contents(find(where, "text", name), value)


def set_number(where, name, value):
    """In the spin button of exactly that label."""

    def look():
        return next((n for n in walk(where) if n.get_role_name() == "spin button" and showing(n) and label_of(n) == name), None)

    Atspi.Value.set_current_value(eventually(f"number {name!r}", look), float(value))


def tab(where, index):
    """Shows a page of the first list of pages."""
    Atspi.Selection.select_child(find(where, "page tab list"), index)
    time.sleep(0.4)


def choose(combo, item):
    """An entry of a combo box."""
    act(find(combo, "menu item", item, shown=False))


def menu(where, item):
    """An entry of the menus, wherever it is."""
    act(find(where, "menu item", item, shown=False))


def answer(button, seconds=10):
    """Presses a button of the message that is up; returns what it says."""
    box = eventually("a message", lambda: next((x for x in windows() if x.get_role_name() == "alert"), None), seconds)
    says = " ".join(text_of(n) or "" for n in walk(box) if n.get_role_name() == "label")
    press(box, button)
    return says


def no_message():
    """Nothing is complained about. Raises NotThere with the text of a message that is up."""
    for one in windows():
        if one.get_role_name() == "alert":
            raise NotThere(f"no message, but there is: {' '.join(labels(one, 'label'))}")


def keys(*names):
    subprocess.run(["xdotool", "key", "--clearmodifiers", *names], check=True)
    time.sleep(0.2)


def type_text(text):
    subprocess.run(["xdotool", "type", "--delay", "25", text], check=True)


def shot(name):
    """What the screen shows, as DESK_SHOTS/NAME.png."""
    directory = os.environ["DESK_SHOTS"]
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{name}.png")
    subprocess.run(["import", "-window", "root", path], check=True)
    return path


def colours(path, node):
    """How many colours a widget's part of a screen shot has: 1 when nothing is shown there."""
    box = Atspi.Component.get_extents(node, Atspi.CoordType.SCREEN)
    crop = f"{box.width}x{box.height}+{box.x}+{box.y}"
    words = ["convert", path, "-crop", crop, "+repage", "-format", "%k", "info:"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
