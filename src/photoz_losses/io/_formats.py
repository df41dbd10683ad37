"""Arrays by their names, out of and into HDF5 and npz.

A file may be damaged, or made to harm: nothing is unpickled, and nothing outside it is read. Zip
has checksums of its own; in HDF5 each array has one as an attribute, and the file their names.
Ours hold no strings of variable length: in those a bit that is another may hang HDF5.
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np

from photoz_losses.io._arrays import Array

DAMAGE = (  # what zipfile, zlib, NumPy and h5py raise where bytes are not as they should be
    *(OSError, EOFError, BadZipFile, zlib.error, struct.error, TokenError, SyntaxError),
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError, MemoryError),
)

SUM, NAMES = "sha256", "arrays"  # attributes of HDF5: of each array, and of the file
SMALL = 2**26  # bytes of memory that any file may ask for
FORMAT = ("v108", "v108")  # HDF5 that has checksums of whatever is not an array itself
INFLATION = 500  # and so many for each of its own: one-hot densities deflate 400-fold
END = struct.Struct("<4s4H2LH")  # the last record of a zip file; the fourth number counts members


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array at the file's top level; one ValueError, with the path, for whatever is wrong."""
    kind, read = ("npz", _read_npz) if path.suffix == ".npz" else ("HDF5", _read_hdf5)
    try:
        return read(path)
    except DAMAGE as error:
        raise ValueError(f"{path} is no {kind} file of whole and plain arrays: {error}") from None


def write_arrays(path: Path, suffix: str, arrays: Mapping[str, Array]) -> None:
    """Write `path`, which may end in anything, in the format of `suffix`."""
    if suffix == ".npz":
        with path.open("wb") as file, ZipFile(file, "w") as archive:  # as np.savez does, but that
            for name, array in arrays.items():  # takes allow_pickle for an array before NumPy 2.1
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        return
    h5py = _h5py()
    content = BytesIO()  # HDF5 itself ends the process where the disk is full
    with h5py.File(content, "w", libver=FORMAT) as file:
        for name, array in arrays.items():
            data = file.create_dataset(
                name, data=array if array.dtype.kind != "U" else _utf8(array)
            )
            data.attrs[SUM] = np.bytes_(_checksum(name, array))
        file.attrs[NAMES] = np.bytes_(json.dumps([*arrays]))
    path.write_bytes(content.getbuffer())


def _utf8(text: Array) -> Array:
    """Strings of one length in bytes, marked as UTF-8."""
    encoded = np.strings.encode(text, "utf-8")
    return encoded.astype(_h5py().string_dtype("utf-8", encoded.dtype.itemsize))


def _checksum(name: str, array: Array) -> str:
    text = array.dtype.kind == "U"
    what = [name, "text" if text else array.dtype.str, array.shape]
    content = json.dumps(array.tolist()).encode() if text else np.ascontiguousarray(array).data
    hashed = sha256(json.dumps(what).encode())
    hashed.update(content)
    return hashed.hexdigest()


def _read_npz(path: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with path.open("rb") as file, ZipFile(file) as archive:
        file.seek(-END.size - len(archive.comment), 2)
        *_, members, _, _, _ = END.unpack(file.read(END.size))
        _refuse_bomb(sum(member.file_size for member in archive.infolist()), path)
        if members != len(archive.infolist()):  # zipfile would not miss them
            raise ValueError(f"its directory has {len(archive.infolist())} of {members} members")
        for member in archive.infolist():
            if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise ValueError(f"{member.filename} is compressed as NumPy does not")
        damaged = archive.testzip()  # before a header is believed
        if damaged is not None:
            raise ValueError(f"{damaged} is not what was written, by its checksum")
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name} twice")
            try:
                with archive.open(member) as content:
                    needed = _declared_size(content)
                if needed not in (None, member.file_size):  # before so much memory is asked for
                    than = "shorter" if member.file_size < needed else "longer"
                    raise ValueError(f"it is {than} than its shape says")
                with archive.open(member) as content:
                    arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
            except DAMAGE as error:
                raise ValueError(f"{name}: {error}") from None
    return arrays


def _refuse_bomb(declared: int, path: Path) -> None:
    """ValueError if arrays of so many bytes are far more than a file of this size may hold."""
    most = max(SMALL, INFLATION * path.stat().st_size)
    if declared > most:
        raise ValueError(
            f"its arrays are to take {declared:.3g} bytes of memory, where those of a file of this "
            f"size may take {most:.3g}: if it is yours, save it again without compression"
        )


def _declared_size(file: IO[bytes]) -> int | None:
    """Bytes of an npy file by its header; None if that says nothing of the kind."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0}
    shape, _, dtype = header.get(version, np.lib.format.read_array_header_2_0)(file)
    return None if dtype.hasobject else file.tell() + math.prod(shape) * dtype.itemsize


def _read_hdf5(path: Path) -> dict[str, Array]:
    h5py = _h5py()
    arrays: dict[str, Array] = {}
    declared = 0
    with h5py.File(path, "r") as file:
        for name in file:
            _check_hard_link(name, file.get(name, getlink=True))
        datasets = {name: data for name in file if isinstance(data := file[name], h5py.Dataset)}
        sums = {name: _attribute(SUM, data) for name, data in datasets.items() if SUM in data.attrs}
        ours = bool(sums) or NAMES in file.attrs
        for name, data in datasets.items():
            _check_within(name, data)
            if ours and data.dtype.hasobject:
                raise ValueError(f"{name} has entries of variable length, as none that is written")
            declared += data.size * data.id.get_type().get_size()
            _refuse_bomb(declared, path)
            arrays[name] = _read_dataset(data)
        written = _names(_attribute(NAMES, file)) if ours else []
        _check_sums(arrays, sums, written)
    return arrays


def _attribute(name: str, of: Any) -> str:
    """Text of an attribute of ours; only its type is looked at where that is another."""
    if name not in of.attrs or of.attrs.get_id(name).dtype.kind != "S":
        raise ValueError(
            f"{of.name} has no attribute {name} of fixed length, as save_predictions writes it: if "
            f"the file is yours, and whole, save it again"
        )
    return bytes(of.attrs[name]).decode()


def _read_dataset(data: Any) -> Array:
    text = _h5py().check_string_dtype(data.dtype)
    is_text = text is not None and (text.length is None or text.encoding == "utf-8")
    array: Array = data.asstr()[...].astype(str) if is_text else data[...]
    return array


def _check_sums(arrays: Mapping[str, Array], sums: Mapping[str, str], written: list[str]) -> None:
    """Every array that was written is there, has its checksum, and is what it says."""
    missing = [name for name in written if name not in arrays]
    if missing:
        raise ValueError(f"{', '.join(missing)} was written and is not there")
    for name in dict.fromkeys([*written, *sums]):
        if sums.get(name) != _checksum(name, arrays[name]):
            raise ValueError(f"{name} is not what was written, by its checksum")


def _names(text: Any) -> list[str]:
    names = json.loads(text)
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"its attribute {NAMES} is no list of names")
    return names


def _check_hard_link(name: str, link: Any) -> None:
    h5py = _h5py()
    if isinstance(link, h5py.ExternalLink):
        raise ValueError(f"{name} is a link into another file, {link.filename}: copy it into this")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a soft link, to {link.path}: it must be the array itself")


def _check_within(name: str, data: Any) -> None:
    """The array lies within its file, every number of it: HDF5 would follow, or fill in."""
    if data.external:
        raise ValueError(f"{name} lies in another file, {data.external[0][0]}: copy it into this")
    if data.is_virtual:
        raise ValueError(f"{name} is a virtual dataset, put together of others: copy its numbers")
    if data.shape is None:
        raise ValueError(f"{name} has no shape")
    if data.chunks:
        needed = math.prod(-(-n // size) for n, size in zip(data.shape, data.chunks, strict=True))
        found, unit = data.id.get_num_chunks(), "chunks"
    else:
        needed = data.size * data.id.get_type().get_size()
        found, unit = data.id.get_storage_size(), "bytes"
    if found < needed:
        raise ValueError(f"{name} was never written whole: the file has {found} of {needed} {unit}")


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 needs h5py: pip install 'photoz-losses[hdf5]'") from error
    return h5py
