"""Splits the breast cancer model in two inputs: what two owners of half the features each have.

Writes `breast-cancer/joint/`: `model.onnx`, which is `breast-cancer/model.onnx` behind a Concat of its
inputs `a` and `b`, and the columns of records and calibration for each. Answers are those of the whole
model. Needs nothing but Python: `python3 split.py`.
"""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "breast-cancer"
OUT = HERE / "joint"


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(message):
    """(number, raw field, content) of a protobuf message, in order."""
    at = 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at)
        kind, content = key & 7, b""
        if kind == 0:
            _, at = read_varint(message, at)
        elif kind == 2:
            length, at = read_varint(message, at)
            content = message[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}[kind]
        yield key >> 3, message[start:at], content


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def number(number, value):
    return varint(number << 3) + varint(value)


def value_info(name, width):
    batch = field(1, field(2, b"N"))
    shape = field(2, batch + field(1, number(1, width)))
    tensor = field(1, number(1, 1) + shape)
    return field(1, name) + field(2, tensor)


def split_model(model, widths):
    out = b""
    for at, raw, graph in fields(model):
        if at != 7:
            out += raw
            continue
        inputs = [content for at, _, content in fields(graph) if at == 11]
        (original,) = [content for at, _, content in fields(inputs[0]) if at == 1]
        axis = field(1, b"axis") + number(3, 1) + number(20, 2)
        concat = field(1, b"a") + field(1, b"b") + field(2, original)
        concat += field(3, b"both owners") + field(4, b"Concat") + field(5, axis)
        new, placed = field(1, concat), False
        for at, raw, _ in fields(graph):
            if at != 11:
                new += raw
            elif not placed:
                placed = True
                new += field(11, value_info(b"a", widths[0]))
                new += field(11, value_info(b"b", widths[1]))
        out += field(7, new)
    return out


def read_npy(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    header = eval(data[10 : 10 + length])  # our own file
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    return header["shape"], data[10 + length :]


def write_npy(path, shape, data):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def main():
    OUT.mkdir(exist_ok=True)
    (records, width), _ = read_npy(HERE / "records.npy")
    half = width // 2
    model = (HERE / "model.onnx").read_bytes()
    (OUT / "model.onnx").write_bytes(split_model(model, (half, width - half)))
    for what in ("records", "calibration"):
        (rows, width), data = read_npy(HERE / f"{what}.npy")
        for name, columns in (("a", range(half)), ("b", range(half, width))):
            cut = b"".join(
                data[4 * (row * width + columns[0]) : 4 * (row * width + columns[-1] + 1)]
                for row in range(rows)
            )
            write_npy(OUT / f"{name}-{what}.npy", (rows, len(columns)), cut)


if __name__ == "__main__":
    main()
