"""Makes PySide6 objects answer as PythonQt's do: properties are values, names are checked, slots are guarded.

In PythonQt `button.text` is a string and `button.enabled = False` sets the property, a misspelt attribute raises, a
list of strings comes back as a tuple, and a slot gets as many arguments as it can take. PySide6 differs in each of
these, so attribute access of QObject is replaced here, once per process and before any widget is made.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import inspect
import sys
import traceback
import types

from PySide6 import QtCore, QtGui, QtWidgets

slot_errors: list[tuple] = []  # sys.exc_info() of every exception that left a slot or an observer; tests want it empty
_own_properties: dict[type, set[str]] = {}  # native Qt class -> the Q_PROPERTYs it adds
_tables: dict[type, set[str]] = {}
_being_read: set[tuple[int, str]] = set()
_connections: dict[int, dict[str, list]] = {}  # by the id of the object, for as long as it lives
_speaking: list[int] = []  # the ids of the objects whose signals are being answered
_native_getattribute = QtCore.QObject.__getattribute__
_native_setattr = QtCore.QObject.__mro__[1].__setattr__
_native_connect = QtCore.QObject.connect
_native_disconnect = QtCore.QObject.disconnect


def install() -> None:
    """Replaces attribute access of every QObject in this process."""
    if _own_properties:
        return
    if sys.version_info < (3, 12):
        _keep_constants()
    for module in (QtCore, QtGui, QtWidgets):
        for value in [getattr(module, name) for name in dir(module)]:
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                meta = value.staticMetaObject
                own = range(meta.propertyOffset(), meta.propertyCount())
                _own_properties[value] = {meta.property(index).name() for index in own}
    QtCore.QObject.__getattribute__ = _getattribute
    for native in _own_properties:  # each PySide class carries its own slot for attribute setting
        native.__setattr__ = _setattr
    sys.excepthook = _excepthook  # where exceptions of VTK observers end


def _keep_constants() -> None:
    """PySide6 6.12 gives back one reference too many whenever a C++ method returns nothing, or True or False.

    From Python 3.12 on these are immortal; before, a long test ends in "deallocating None".
    """
    for constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _excepthook(kind, error, trace) -> None:
    slot_errors.append((kind, error, trace))
    traceback.print_exception(kind, error, trace)


def property_names(kind: type) -> set[str]:
    """The Qt properties of a class, inherited ones included; a plain Python attribute of the same name hides one."""
    if kind not in _tables:
        names: set[str] = set()
        for base in reversed(kind.__mro__):
            if base in _own_properties:
                names |= _own_properties[base]
                continue
            for name, value in vars(base).items():
                (names.add if isinstance(value, QtCore.Property) else names.discard)(name)
        _tables[kind] = names
    return _tables[kind]


def _getattribute(self, name):
    if name in _HOOKS:
        return types.MethodType(_HOOKS[name], self)
    if name == "name":
        name = "objectName"
    key = (id(self), name)
    # The C++ getter may be virtual (sizeHint): shiboken then looks for an override under the same name.
    if name in property_names(type(self)) and key not in _being_read:
        _being_read.add(key)
        try:
            value = QtCore.QObject.property(self, name)
        finally:
            _being_read.discard(key)
        return tuple(value) if isinstance(value, list) else value
    return _native_getattribute(self, name)


def _setattr(self, name, value):
    if name == "name":
        name = "objectName"
    kind = type(self)
    if name in property_names(kind):
        _set_property(self, name, value)
    elif isinstance(value, QtCore.QObject) and value.objectName == name:
        pass  # PySide6's .ui loader hangs children on their parent
    elif name.startswith("_") or not is_cxx(kind):
        _native_setattr(self, name, value)
    elif name in dir(kind):
        raise AttributeError(f"Slot '{name}' can not be overwritten on {kind.__name__} object")
    else:
        raise AttributeError(f"'{name}' does not exist on {kind.__name__}: a C++ object takes no new attributes")


def _set_property(self, name, value) -> None:
    meta = self.metaObject()
    prop = meta.property(meta.indexOfProperty(name))
    kind = prop.typeName()
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
    if value is None and kind == "QString":
        value = str(value)  # as PythonQt makes one of anything, and not an empty one
    if isinstance(value, tuple):
        value = list(value)
    wrong = type(value).__module__ == "numpy" or (kind in ("int", "double", "bool") and isinstance(value, str))
    if wrong or (kind == "QString" and not isinstance(value, str)) or not QtCore.QObject.setProperty(self, name, value):
        raise AttributeError(f"Property '{name}' of type '{kind}' does not accept {value!r}")


def is_cxx(kind: type) -> bool:
    """Whether instances stand for plain C++ objects, Qt's own or a stand-in's, and so take no new attributes."""
    return kind in _own_properties or "CXX" in vars(kind)


# --- signals and slots ---


def connected() -> list:
    """The objects that have a slot connected, among those that Python can see."""
    return [one for one in gc.get_objects() if isinstance(one, QtCore.QObject) and id(one) in _connections]


def accepted(slot, arguments: tuple) -> tuple:
    """The arguments PythonQt hands over: cut to a function's count, defaults included; all for other callables."""
    function = getattr(slot, "__func__", slot)
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return arguments
    bound = 1 if inspect.ismethod(slot) else 0
    return arguments[: function.__code__.co_argcount - bound]


def _guarded(slot, sender: int):
    def call(*arguments):
        _speaking.append(sender)
        try:
            slot(*accepted(slot, arguments))
        except Exception:
            slot_errors.append(sys.exc_info())
            traceback.print_exc()
        finally:
            _speaking.remove(sender)

    return call


def _signal(self, signature: str):
    """A stand-in's own signal for a C++ signature that carries VTK objects, or None."""
    alias = getattr(type(self), "SIGNALS", {}).get(signature)
    if alias is None:
        return None
    name, overload = alias if isinstance(alias, tuple) else (alias, None)
    signal = _native_getattribute(self, name)
    return signal[overload] if overload else signal


def _connect(self, signature: str, *target):
    slot = target[0] if len(target) == 1 else getattr(target[0], target[1].split("(")[0])
    if not callable(slot):
        raise TypeError(f"{slot!r} is not callable")
    wrapper = _guarded(slot, id(self))
    signal = _signal(self, signature)
    if signal is not None:
        signal.connect(wrapper)
    else:
        normalized = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
        if self.metaObject().indexOfSignal(normalized) < 0:
            raise RuntimeError(f"{type(self).__name__} has no signal {signature}")
        _native_connect(self, QtCore.SIGNAL(normalized), wrapper)
    links = _connections.setdefault(id(self), {})
    if not links:
        # As in PythonQt, a slot lives as long as the C++ object it is connected to. Its wrappers take no part in the
        # search for cycles: one that goes through a connection ends with the C++ object only, never by itself.
        _native_connect(self, QtCore.SIGNAL("destroyed()"), functools.partial(_forget, id(self)))
    links.setdefault(signature, []).append((slot, wrapper))
    return True


def _forget(key: int) -> None:
    _connections.pop(key, None)
    if key in _speaking:
        # An object without parent that Python made ends with its last variable, at once: in C++ the rest of the signal
        # then runs on memory that is free.
        error = RuntimeError("an object was deleted within its own signal; give it a parent and delete it later")
        slot_errors.append((RuntimeError, error, None))


def _disconnect(self, signature: str, slot=None):
    links = _connections.get(id(self), {}).get(signature, [])
    for link in [link for link in links if slot is None or link[0] == slot]:
        signal = _signal(self, signature)
        if signal is not None:
            signal.disconnect(link[1])
        else:
            _native_disconnect(self, QtCore.SIGNAL(signature), link[1])
        links.remove(link)
        return True
    return False


def _class_name(self) -> str:
    return self.metaObject().className()


def _delete_later(self) -> None:
    """PySide6's own takes the object from Python; in PythonQt it stays Python's and ends with its last variable."""
    QtCore.QCoreApplication.postEvent(self, QtCore.QEvent(QtCore.QEvent.DeferredDelete))


_HOOKS = {
    "connect": _connect,
    "disconnect": _disconnect,
    "className": _class_name,
    "deleteLater": _delete_later,
}
