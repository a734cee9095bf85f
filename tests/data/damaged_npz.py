"""Files that are almost what numpy.savez writes."""

import zipfile

import numpy as np


def _with_header(path, shape):
    """A file of which the header promises more than there is."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)


def _with_bytes(path, place, value):
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)


KINDS = (
    *("deflate", "checksum", "encrypted", "method", "name", "truncated", "no directory"),
    *("36 GB", "more than any memory", "negative", "less than there is", "text", "pickle"),
    "another format",
)


def write_damaged(path, kind):
    """Writes an .npz file that is damaged in one of the ways of `KINDS`."""
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(20, 30)))
    size = path.stat().st_size
    central = path.read_bytes().index(b"PK\x01\x02")
    match kind:
        case "deflate":
            _with_bytes(path, size // 2, path.read_bytes()[size // 2] ^ 255)
        case "checksum":
            _with_bytes(path, central + 16, path.read_bytes()[central + 16] ^ 255)
        case "encrypted":
            _with_bytes(path, 6, 1), _with_bytes(path, central + 8, 1)
        case "method":
            _with_bytes(path, 8, 99), _with_bytes(path, central + 10, 99)
        case "name":
            _with_bytes(path, central + 46, ord("z"))
        case "truncated":
            path.write_bytes(path.read_bytes()[: size // 2])
        case "no directory":
            path.write_bytes(path.read_bytes()[:central])
        case "36 GB":
            _with_header(path, (9_000_000_000,))
        case "more than any memory":
            _with_header(path, (2**62,))
        case "negative":
            _with_header(path, (-5, 3))
        case "less than there is":
            _with_header(path, (3,))
        case "text":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", "1, 2, 3")
        case "pickle":
            np.savez(path, x=np.array([{"a": 1}], object))
        case "another format":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", b"\x93NUMPY\x09\x00" + bytes(100))
