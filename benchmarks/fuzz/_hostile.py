"""Edit a store with h5py as somebody would who wants its reader to fail, or to read other files."""

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# Edits after which a store may be whole and say something else.
FORGERIES = ("value", "order", "exchange", "alias", "text", "json")
# Folder beside the store with files that it must not reach, and what is in them.
OUTSIDE = "outside"
CANARY = 7310.0625
CANARY_TEXT = "canary-in-the-coal-mine"
_CREATE = h5py.h5p.create


def write_canaries(folder: Path) -> None:
    """Write an HDF5 file, a raw and a text file whose contents may turn up nowhere."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "other.h5", "w") as file:
        for n in (1, 3, 9, 1000):
            file[f"numbers{n}"] = np.full(n, CANARY)
        file["table"] = np.full((4, 9, 3), CANARY)
        file["text"] = np.array([CANARY_TEXT] * 9, object)
        file.create_group("group")["x"] = CANARY
    (folder / "raw").write_bytes(np.full(10_000, CANARY).tobytes())
    (folder / "text").write_text(f"{CANARY_TEXT}\n" * 500)


def touched(folder: Path) -> str | None:
    """Say which canary was read or changed since `forget`; None: none was."""
    for path in sorted(folder.iterdir()):
        stat = path.stat()
        if stat.st_mtime != 2.0:
            return f"{path.name} was changed"
        if stat.st_atime != 1.0:
            return f"{path.name} was read"
    return None


def forget(folder: Path) -> None:
    """Set times of access that the first read changes, as file systems keep them by default."""
    for path in folder.iterdir():
        os.utime(path, (1.0, 2.0))


def make_hostile(path: Path, draw: random.Random) -> str:
    """Edit a store in place, in one or two ways.

    Args:
        path: Of a valid store, whatever its layout; `write_canaries` has made `OUTSIDE` beside it.
        draw: Decides how.

    Returns:
        What was done.
    """
    done = []
    with h5py.File(path, "r+") as file:
        for _ in range(draw.choice((1, 1, 1, 2))):
            names = _names(file)
            name = draw.choice(names)
            edit = draw.choice(_OF_ATTRIBUTES if draw.random() < 0.3 else _OF_OBJECTS)
            try:
                edit(file, name, draw)
                done.append(f"{edit.__name__.strip('_')} {name}")
            except Exception as error:  # h5py refuses some for some kinds of objects
                done.append(f"{edit.__name__.strip('_')} {name}: {type(error).__name__}")
    return "; ".join(done)


def _names(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _array(file: Any, name: str) -> Any:
    """A dataset's values; of a group, a few numbers."""
    item = file[name]
    return item[()] if isinstance(item, h5py.Dataset) else np.arange(3.0)


def _put(file: Any, name: str, make: Callable[[], Any]) -> None:
    """Put something in the place of an object, and keep its attributes where it has some."""
    attributes = dict(file[name].attrs)
    del file[name]
    new = make()
    if isinstance(new, h5py.Group | h5py.Dataset):
        for key, value in attributes.items():
            new.attrs[key] = value


# Links.


def _remove(file: Any, name: str, draw: random.Random) -> None:
    del file[name]


def _soft(file: Any, name: str, draw: random.Random) -> None:
    del file[name]
    file[name] = h5py.SoftLink(draw.choice((f"/{name}", "/missing", "/", ".", *_names(file)[:20])))


def _external(file: Any, name: str, draw: random.Random) -> None:
    item = file[name]
    rows = item.shape[0] if isinstance(item, h5py.Dataset) and item.shape else 0
    target = draw.choice(("/numbers9", "/table", "/text", "/group", f"/numbers{rows}", "/"))
    del file[name]
    file[name] = h5py.ExternalLink(f"{OUTSIDE}/other.h5", target)


def _cycle(file: Any, name: str, draw: random.Random) -> None:
    parent = file[name].parent
    file[f"{name}-cycle" if draw.random() < 0.5 else f"{parent.name}/again"] = file["/"]
    if isinstance(file[name], h5py.Group):
        file[name]["in itself"] = file[name]


def _exchange(file: Any, name: str, draw: random.Random) -> None:
    other = draw.choice(_names(file))
    if other.startswith(name) or name.startswith(other):
        return
    file.move(name, "between")
    file.move(other, name)
    file.move("between", other)


def _alias(file: Any, name: str, draw: random.Random) -> None:
    other = file[draw.choice(_names(file))]
    del file[name]
    file[name] = other


# Storage.


def _external_storage(file: Any, name: str, draw: random.Random) -> None:
    array = _array(file, name)
    shape = np.shape(array)
    dtype = array.dtype if getattr(array, "dtype", None) is not None else np.dtype("f8")
    if dtype.kind == "O":
        dtype = np.dtype("S64")
    size = max(1, int(np.prod(shape)) * dtype.itemsize)
    where = [(f"{OUTSIDE}/{draw.choice(('raw', 'text'))}", 0, size)]
    _put(file, name, lambda: file.create_dataset(name, shape, dtype, external=where))


def _virtual(file: Any, name: str, draw: random.Random) -> None:
    shape = np.shape(_array(file, name)) or (3,)
    layout = h5py.VirtualLayout(shape, "f8", maxshape=(None, *shape[1:]))
    inside = draw.random() < 0.3
    source = h5py.VirtualSource(
        "." if inside else f"{OUTSIDE}/other.h5", f"/{name}" if inside else "/table", shape, "f8"
    )
    layout[...] = source
    _put(file, name, lambda: file.create_virtual_dataset(name, layout, fillvalue=1.0))


def _never_written(file: Any, name: str, draw: random.Random) -> None:
    shape = np.shape(_array(file, name))
    rows = draw.choice((10**9, 10**12, 2**40))
    new = (rows, *shape[1:])
    dtype = draw.choice(("f8", "u1", h5py.string_dtype("utf-8")))
    _put(file, name, lambda: file.create_dataset(name, new, dtype, chunks=(64, *shape[1:])))


def _grown(file: Any, name: str, draw: random.Random) -> None:
    item = file[name]
    rows = draw.choice((0, item.shape[0] - 1, item.shape[0] + 1, 10**9))
    item.resize(max(0, rows), axis=0)


def _filters(file: Any, name: str, draw: random.Random) -> None:
    array, shape = _array(file, name), np.shape(_array(file, name))
    dtype = file[name].dtype if isinstance(file[name], h5py.Dataset) else None
    list_ = _CREATE(h5py.h5p.DATASET_CREATE)
    list_.set_chunk(tuple(max(1, min(n, draw.choice((1, 7, 10**6)))) for n in shape) or (1,))
    for _ in range(draw.choice((2, 8, 30))):
        draw.choice((list_.set_shuffle, lambda: list_.set_deflate(9), list_.set_fletcher32))()
    space = h5py.h5s.create_simple(shape or (1,))
    kind = h5py.h5t.py_create(dtype or np.dtype("f8"), logical=True)

    def make() -> Any:
        new = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, list_))
        new[...] = array
        return new

    _put(file, name, make)


def _bomb(file: Any, name: str, draw: random.Random) -> None:
    """Many rows of zeros, which a filter makes small: they are there when they are read."""
    shape = np.shape(_array(file, name))[1:]
    rows = (1 << 26) // max(1, int(np.prod(shape)))
    options = {"compression": "gzip", "chunks": (rows, *shape), "fillvalue": 0}

    def make() -> Any:
        return file.create_dataset(name, data=np.zeros((rows, *shape), "u1"), **options)

    _put(file, name, make)


# Types and shapes.


def _dtype(file: Any, name: str, draw: random.Random) -> None:
    shape = np.shape(_array(file, name))
    dtype = draw.choice(
        ("f4", ">f8", "i8", "u8", "i1", "S5", "S1", "V7", "c16", "f2", "?", h5py.string_dtype(),
         h5py.string_dtype("ascii", 8), h5py.ref_dtype, h5py.regionref_dtype,
         h5py.vlen_dtype("f8"), h5py.enum_dtype({"A": 1}), np.dtype([("a", "f8"), ("b", "S3")]))
    )  # fmt: skip

    def make() -> Any:
        new = file.create_dataset(
            name, shape, dtype, maxshape=(None, *shape[1:]) if shape else None
        )
        if dtype in (h5py.ref_dtype, h5py.regionref_dtype):
            # h5py itself dies of numbers that become references.
            return new
        with contextlib.suppress(TypeError, ValueError, OSError):
            new[...] = draw.choice((0, 1, b"x", np.nan))
        return new

    _put(file, name, make)


def _shape(file: Any, name: str, draw: random.Random) -> None:
    array = np.asarray(_array(file, name))
    kind = file[name].dtype if isinstance(file[name], h5py.Dataset) else None
    rows = len(array) if array.ndim else 0
    changed = draw.choice(
        (array[None], array.ravel(), array[: rows // 2] if rows else array[None], array[..., None],
         np.concatenate([array, array]) if rows else array, np.zeros((0, *array.shape[1:])),
         array.T, array.ravel()[:1].reshape(()) if array.size else array,
         array[:-1] if rows else [])
    )  # fmt: skip
    if np.size(changed) == 0 and kind is not None and kind.kind == "O":
        changed = np.zeros(np.shape(changed), "S1")
    same = kind if np.asarray(changed).dtype.kind == "O" else None
    _put(file, name, lambda: file.create_dataset(name, data=changed, dtype=same))


def _empty(file: Any, name: str, draw: random.Random) -> None:
    _put(file, name, lambda: file.create_dataset(name, data=h5py.Empty("f8")))


def _group(file: Any, name: str, draw: random.Random) -> None:
    _put(file, name, lambda: file.create_group(name))


def _committed(file: Any, name: str, draw: random.Random) -> None:
    del file[name]
    file[name] = np.dtype("f8")


def _value(file: Any, name: str, draw: random.Random) -> None:
    """Change one value, to one that is possible or not."""
    item = file[name]
    values = item[()]
    at = draw.randrange(values.size)
    if values.dtype.kind == "O":
        values.flat[at] = draw.choice(_TEXTS)
    elif values.dtype.kind == "f":
        values.flat[at] = draw.choice((np.nan, np.inf, 1e300, 0.0, -1.0, 1e-320))
    else:
        values.flat[at] = draw.choice((0, 1, 2**31 - 1, -1) if values.dtype.kind == "i" else (0, 1))
    item[...] = values


def _order(file: Any, name: str, draw: random.Random) -> None:
    item = file[name]
    item[...] = item[()][::-1]


def _references(file: Any, name: str, draw: random.Random) -> None:
    array = np.empty(np.shape(_array(file, name)), h5py.ref_dtype)
    array[...] = file.ref
    _put(file, name, lambda: file.create_dataset(name, data=array, dtype=h5py.ref_dtype))


# Texts and attributes.

_TEXTS: tuple[Any, ...] = (
    "", "{", "null", "[]", "{}", "nan", "NaN", '{"a": NaN}', "1" * 10**6, "[" * 100_000,
    '{"a":' * 20_000, '"' + "x" * 10**6 + '"', '{"x": 1e999}', "[" + "1," * 100_000 + "1]",
    b"\xff\xfe",
    '{"positions": [[1, 2]]}', '{"info": 3}', '{"potential": {"name": "../x"}}', "x\0y", "é" * 100,
    '{"__ndarray__": [[1000000000000], "float64", []]}', '{"__complex__": [1]}', "\x1b[31m", "true",
    '{"__ase_objtype__": "cell", "array": 3}', '{"a": {"__ndarray__": [[-1], "object", [1]]}}', "7",
    '<script>alert(1)</script>', '{"constraints": 7}', '{"name": "FixAtoms", "kwargs": 7}',
)  # fmt: skip


def _attribute_of(file: Any, name: str, draw: random.Random) -> tuple[Any, str]:
    """An object with attributes, and the name of one; the nearest above where it has none."""
    item: Any = file[name]
    while not len(item.attrs) and item.name != "/":
        item = item.parent
    if not len(item.attrs) or draw.random() < 0.3:
        holders = [file[n] for n in ["/", *_names(file)] if len(file[n].attrs)]
        item = draw.choice(holders)
    return item, draw.choice(sorted(item.attrs))


def _no_attribute(file: Any, name: str, draw: random.Random) -> None:
    item, key = _attribute_of(file, name, draw)
    del item.attrs[key]


def _attribute(file: Any, name: str, draw: random.Random) -> None:
    item, key = _attribute_of(file, name, draw)
    item.attrs[key] = draw.choice(
        (0, 1, -1, 3, 2**62, 1.5, np.nan, np.zeros((2, 2)), "x", b"x", h5py.Empty("f8"), True, "",
         np.array(["a", "b"], object), file.ref, np.zeros(5000, "u1"))
    )  # fmt: skip


def _text(file: Any, name: str, draw: random.Random) -> None:
    """Replace a text: an attribute, or a row of a dataset of texts."""
    text = draw.choice(_TEXTS)
    item = file[name]
    if isinstance(item, h5py.Dataset) and item.dtype.kind == "O" and item.size:
        values = item[()]
        values.flat[draw.randrange(values.size)] = text
        item[...] = values
        return
    item, key = _attribute_of(file, name, draw)
    if len(text) > 60_000:
        # Attributes beyond 64 KiB lie in a heap only with the newest layout.
        text = text[:60_000]
    item.attrs[key] = text


def _json(file: Any, name: str, draw: random.Random) -> None:
    """Replace the text of a run, or what one structure carries, by other text in good order."""
    text = draw.choice(_TEXTS)
    data = np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)
    name = draw.choice(("run/options", "run/versions", "texts/extras", "texts/id"))
    before = file[name][()]
    if name.startswith("texts/"):
        end = f"structures/{name.split('/')[1]}_end"
        ends = file[end][()]
        file[end][...] = ends + len(data) - int(ends[0])
        data = np.concatenate([data, before[int(ends[0]) :]])
    file[name].resize(data.shape)
    file[name][...] = data


def _many_attributes(file: Any, name: str, draw: random.Random) -> None:
    for i in range(300):
        file[name].attrs[f"attribute {i}"] = i


Edit = Callable[[Any, str, random.Random], None]
_OF_OBJECTS: tuple[Edit, ...] = (
    _remove, _soft, _external, _external, _cycle, _exchange, _alias, _external_storage, _virtual,
    _external_storage, _never_written, _grown, _filters, _bomb, _dtype, _dtype, _shape, _shape,
    _empty, _group, _committed, _value, _value, _value, _order, _references, _text, _text,
    _json, _json, _json,
)  # fmt: skip
_OF_ATTRIBUTES: tuple[Edit, ...] = (
    _no_attribute,
    _attribute,
    _attribute,
    _text,
    _text,
    _many_attributes,
)
