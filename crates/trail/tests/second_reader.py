#!/usr/bin/env python3
"""A second reader of the trail, written from docs/specs/trail.md alone.

second_reader.py FOLDER...: for each folder of segments, what is in it, one thing a line:

    == FOLDER
    record EPOCH SEQUENCE SHA-256-OF-ITS-BYTES
    damage SEGMENT OFFSET BYTES
    changed EPOCH FIRST LAST
    stretch EPOCH:FIRST EPOCH:LAST:HASH
    signatures GOOD FORGED DAMAGED HELD

The last only where there are any; HELD are good ones at whose record the chain is what was signed.

Nothing but the standard library is needed, and the program `zstd` for frames that are packed so.
"""

import hashlib
import os
import re
import struct
import subprocess
import sys

MARKER = bytes.fromhex("c71ea50d937a42e8")
SEGMENT_MAGIC = bytes.fromhex("894354 5241494c0a")
SIGNED_MAGIC = bytes.fromhex("89435453 49474e0a")
HEAD_MAGIC = bytes.fromhex("89435448 4541440a")


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def take_varint(data, at):
    value = 0
    for place in range(10):
        if at >= len(data):
            raise ValueError("a varint is cut off")
        value |= (data[at] & 0x7F) << 7 * place
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a varint has more than ten bytes")


def parse_name(text):
    found = re.fullmatch(r"e([0-9]{8})-s([0-9]{12,})\.trail", text)
    if not found:
        return None
    epoch, first = int(found[1]), int(found[2])
    same = text == "e%08d-s%012d.trail" % (epoch, first)
    return (epoch, first) if same and epoch > 0 and 0 < first < 1 << 64 else None


class Header:
    """A segment's header."""

    def __init__(self, data):
        if data[:8] != SEGMENT_MAGIC or len(data) < 16:
            raise ValueError("no segment")
        self.version, _, self.length = struct.unpack_from("<HHI", data, 8)
        if not 20 <= self.length <= 65536 or len(data) < self.length:
            raise ValueError("a wrong length")
        body = data[: self.length - 4]
        if crc32c(body) != struct.unpack_from("<I", data, self.length - 4)[0]:
            raise ValueError("a wrong checksum")
        if self.version not in (1, 2):
            return
        self.endpoint = body[16:32]
        self.name = struct.unpack_from("<QQ", body, 32)
        device_at = 68 if self.version == 1 else 116
        (device_length,) = struct.unpack_from("<I", body, device_at)
        self.device = body[device_at + 4 :]
        if len(self.device) != device_length:
            raise ValueError("a wrong device")
        self.previous = None
        if self.version == 2:
            epoch, sequence = struct.unpack_from("<QQ", body, 68)
            if sequence > 0:
                self.previous = (epoch, sequence, body[84:116])

    def genesis(self):
        epoch, sequence, link = self.previous or (0, 0, bytes(32))
        numbers = struct.pack("<QQQ", self.name[0], epoch, sequence)
        front = b"conntrail-chain1" + self.endpoint + numbers
        return hashlib.sha256(front + link + self.device).digest()


class Frame:
    """A frame's header, and its records once they were asked for."""

    def __init__(self, data, at):
        front = data[at : at + 60]
        if len(front) < 60 or front[:8] != MARKER:
            raise ValueError("no frame")
        (self.payload_length, self.raw_length, self.epoch, self.count) = struct.unpack_from(
            "<IIIH", front, 8
        )
        self.packing, self.layout = front[22], front[23]
        self.first, self.wall_min, self.wall_max = struct.unpack_from("<Qqq", front, 24)
        self.mask, self.checksum = front[48:52], struct.unpack_from("<I", front, 52)[0]
        self.groups, self.head, index = 1, None, 0
        if self.layout == 0:
            self.header_length = 60
        elif self.layout == 2:
            index, self.groups = struct.unpack_from("<HH", front, 56)
            self.header_length = 96 + index
        else:
            raise ValueError("an unknown layout")
        header = data[at : at + self.header_length]
        if len(header) < self.header_length:
            raise ValueError("a header is cut off")
        if crc32c(header[:-4]) != struct.unpack("<I", header[-4:])[0]:
            raise ValueError("a wrong checksum")
        if self.layout == 2:
            self.head = (self.epoch, self.first + self.count - 1, header[60:92])
        right = (
            self.payload_length <= self.raw_length <= 2 << 20
            and 0 < self.count <= self.raw_length
            and self.packing in (0, 1)
            and 0 < self.first
            and self.first + self.count < 1 << 64
            and self.wall_min <= self.wall_max
            and index <= 16384
            and 1 <= self.groups <= self.count
        )
        if not right:
            raise ValueError("a wrong number")
        self.at = at
        self.end = at + self.header_length + self.payload_length
        self.last = self.first + self.count - 1

    def load(self, data):
        payload = data[self.at + self.header_length : self.end]
        if crc32c(payload) != self.checksum:
            raise ValueError("a wrong checksum")
        if self.mask != bytes(4):
            payload = bytes(byte ^ self.mask[i % 4] for i, byte in enumerate(payload))
        if self.packing == 1:
            payload = unpack(payload)
        if len(payload) != self.raw_length:
            raise ValueError("a wrong length")
        self.split(payload)

    def split(self, raw):
        at, self.sizes = 0, [self.count]
        if self.groups > 1:
            self.sizes = []
            for _ in range(self.groups):
                size, at = take_varint(raw, at)
                self.sizes.append(size)
        if sum(self.sizes) != self.count or 0 in self.sizes:
            raise ValueError("wrong groups")
        self.records, self.pieces = [], []
        while at < len(raw):
            length, start = take_varint(raw, at)
            if start + length > len(raw):
                raise ValueError("a record is cut off")
            self.records.append(raw[start : start + length])
            self.pieces.append(raw[at : start + length])
            at = start + length
        if len(self.records) != self.count:
            raise ValueError("a wrong number of records")


def unpack(payload):
    done = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True, check=False)
    if done.returncode != 0:
        raise ValueError("zstd refuses it")
    return done.stdout


# Ed25519, as in RFC 8032.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def point_add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    return ((f - e) * (h - g), (h + g) * (f + e), (h - g) * (h + g), (f - e) * (f + e))


def point_times(number, point):
    result = (0, 1, 1, 0)
    while number > 0:
        if number & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        number >>= 1
    return result


def same_point(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_from(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P != 0 or x == 0 and sign:
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


BASE = point_from(bytes([0x58]) + bytes([0x66] * 31))


def is_signed(key, message, signature):
    a, r = point_from(key), point_from(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    if any(same_point(point_times(8, it), (0, 1, 1, 0)) for it in (a, r)):
        return False
    h = hashlib.sha512(signature[:32] + key + message).digest()
    h = int.from_bytes(h, "little") % ORDER
    return same_point(point_times(s, BASE), point_add(r, point_times(h, a)))


class Chain:
    """Follows the chain, as far as nothing is in the way."""

    def __init__(self):
        self.at, self.recent, self.open = None, {}, None
        self.stretches, self.changed, self.proved = [], [], {}

    def close(self):
        if self.open:
            self.stretches.append(self.open)
        self.open = None

    def lose(self):
        self.close()
        self.at, self.recent = None, {}

    def stand(self, head):
        self.at = head
        self.recent[head[1]] = head[2]

    def known(self, epoch, sequence):
        if self.at is None or self.at[0] != epoch:
            return None
        return self.at[2] if self.at[1] == sequence else self.recent.get(sequence)

    def segment(self, name, header):
        here = self.at is not None and self.at[0] == name[0]
        if header is None:
            if not here:
                self.lose()
        elif header.version == 1:
            self.lose()
        elif name[1] == 1 and not here:
            if self.at is None or header.previous != self.at:
                self.close()
            self.recent = {}
            self.stand((name[0], 0, header.genesis()))
        elif header.previous and self.known(name[0], name[1] - 1) != header.previous[2]:
            repeats = here and self.at[1] >= name[1]
            if not repeats and header.previous[:2] == (name[0], name[1] - 1):
                self.close()
                if not here:
                    self.recent = {}
                self.stand(header.previous)

    def lost(self, frame):
        self.close()
        if self.at is None or (frame.epoch, frame.last) > self.at[:2]:
            self.at = frame.head

    def frame(self, frame):
        if frame.head is None:
            self.lose()
            return
        here = self.at is not None and self.at[0] == frame.epoch
        link = self.known(frame.epoch, frame.first - 1)
        if link is None:
            if not here or self.at[1] < frame.last:
                self.close()
                self.stand(frame.head)
            return
        first, index = frame.first, 0
        for size in frame.sizes:
            front = link + struct.pack("<QQI", frame.epoch, first, size)
            records = b"".join(frame.pieces[index : index + size])
            link = hashlib.sha256(front + records).digest()
            first, index = first + size, index + size
            self.recent[first - 1] = link
        if link != frame.head[2]:
            self.changed.append((frame.epoch, frame.first, frame.last))
            self.close()
            self.stand(frame.head)
        elif self.at[1] < frame.last:
            self.at = frame.head
            self.proved[self.at[:2]] = self.at[2]
            begun = self.open[0] if self.open else (frame.epoch, frame.first)
            self.open = (begun, frame.head)


class Reader:
    """Reads a folder of segments."""

    def __init__(self, folder):
        self.folder = folder
        self.records, self.damage, self.chain = [], [], Chain()
        self.next = (0, 0)
        self.signatures, self.endpoints = [0, 0, 0, 0], {}
        names = sorted(filter(None, map(parse_name, os.listdir(folder))))
        head = self.head_file()
        for name in names:
            if head and name[0] == head[0] and (name[1] > head[1] or head[2] == 0):
                if name[1] >= head[1]:
                    continue
            path = os.path.join(folder, "e%08d-s%012d.trail" % name)
            with open(path, "rb") as file:
                data = file.read()
            settled = bool(head) and name[0] <= head[0] or name != names[-1]
            if head and name == head[:2]:
                data = data[: head[2]]
            self.segment(name, data, settled, self.next_segment(name, names))
        self.chain.close()
        for name in names:
            self.read_signatures(name)

    def next_segment(self, name, names):
        """Where the segment after this one begins, if it is one of the same epoch."""
        after = [other for other in names if other > name][:1]
        if not after or after[0][0] != name[0]:
            return None
        path = os.path.join(self.folder, "e%08d-s%012d.trail" % after[0])
        with open(path, "rb") as file:
            data = file.read()
        try:
            header = Header(data)
            right = header.version in (1, 2) and header.name == after[0]
        except ValueError:
            length = struct.unpack_from("<I", data, 12)[0] if len(data) >= 16 else 20
            right = not SEGMENT_MAGIC.startswith(data[:8]) or not len(data) < length <= 65536
        return after[0][1] if right else None

    def read_signatures(self, name):
        folder = os.path.join(os.path.dirname(self.folder), "signatures")
        try:
            with open(os.path.join(folder, "e%08d-s%012d.sig" % name), "rb") as file:
                data = file.read(256 * 180)
        except OSError:
            return
        for at in range(0, len(data), 180):
            entry = data[at : at + 180]
            whole = len(entry) == 180 and entry[:8] == SIGNED_MAGIC
            if not whole or crc32c(entry[:176]) != struct.unpack_from("<I", entry, 176)[0]:
                self.signatures[2] += 1
                continue
            epoch, sequence = struct.unpack_from("<QQ", entry, 24)
            right = (
                epoch == name[0]
                and sequence >= name[1]
                and entry[8:24] == self.endpoints.get(epoch, entry[8:24])
                and is_signed(entry[80:112], entry[:112], entry[112:176])
            )
            self.signatures[0 if right else 1] += 1
            if right and self.chain.proved.get((epoch, sequence)) == entry[40:72]:
                self.signatures[3] += 1

    def head_file(self):
        try:
            with open(os.path.join(self.folder, "head"), "rb") as file:
                data = file.read(64)
        except OSError:
            return None
        if len(data) < 64 or data[:8] != HEAD_MAGIC:
            return None
        if crc32c(data[:60]) != struct.unpack_from("<I", data, 60)[0]:
            return None
        return struct.unpack_from("<QQQ", data, 8)

    def segment(self, name, data, settled, until):
        header, at = None, 0
        try:
            header = Header(data)
            if header.version > 2 or header.version < 1 or header.name != name:
                return
            at = header.length
        except ValueError:
            pass
        if header and header.version == 2:
            self.endpoints[name[0]] = header.endpoint
        self.chain.segment(name, header)
        if name[0] != self.next[0]:
            self.next = (name[0], 1)
        bad_from = bad_to = None
        while len(data) - at >= 60:
            frame = self.frame_at(name, header, data, at)
            if frame is None:
                bad_from = at if bad_from is None else bad_from
                found = data.find(MARKER, at + 1)
                at = bad_to = found if found >= 0 else len(data)
                continue
            if until is not None and frame.first >= until:
                at = frame.end
                continue
            try:
                frame.load(data)
            except ValueError:
                self.chain.lost(frame)
                bad_from, bad_to = at if bad_from is None else bad_from, frame.end
            else:
                if frame.last >= self.next[1]:
                    self.damaged(name, bad_from, bad_to)
                    bad_from = None
                self.take(frame)
            at = frame.end
        if settled and (bad_from is not None or at < len(data)):
            end = len(data) if at < len(data) else bad_to
            self.damaged(name, at if bad_from is None else bad_from, end)

    def frame_at(self, name, header, data, at):
        try:
            frame = Frame(data, at)
        except ValueError:
            return None
        layout = {None: frame.layout, 1: 0, 2: 2}[header.version if header else None]
        right = (
            frame.layout == layout
            and frame.epoch == name[0]
            and frame.first >= name[1]
            and frame.end <= len(data)
        )
        return frame if right else None

    def damaged(self, name, start, end):
        if start is not None:
            self.damage.append((name, start, end - start))

    def take(self, frame):
        self.chain.frame(frame)
        for sequence, record in enumerate(frame.records, frame.first):
            if sequence >= self.next[1]:
                self.records.append((frame.epoch, sequence, record))
        self.next = (frame.epoch, max(self.next[1], frame.last + 1))


def main():
    for folder in sys.argv[1:]:
        reader = Reader(folder)
        print("==", folder)
        for epoch, sequence, record in reader.records:
            print("record", epoch, sequence, hashlib.sha256(record).hexdigest())
        for name, start, length in reader.damage:
            print("damage", "e%08d-s%012d.trail" % name, start, length)
        for changed in reader.chain.changed:
            print("changed", *changed)
        for first, last in reader.chain.stretches:
            print("stretch", "%d:%d" % first, "%d:%d:%s" % (last[0], last[1], last[2].hex()))
        if any(reader.signatures):
            print("signatures", *reader.signatures)


if __name__ == "__main__":
    main()
