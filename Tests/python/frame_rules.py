"""What Protocol.md lets a daemon answer to any bytes: the oracle of the tests over the socket.

Knows Tests/Vectors/policy.yaml. Where a frame has several faults the document does not say which
is answered, so a set of statuses comes back; no fault is {0}.
"""

import struct

import frame_calls
from frame_layout import UNITS_MAX

OK, FRAME, TOO_LARGE, OPCODE, BODY, VERSION, FIELD, FORBIDDEN = range(8)
METER, UNITS, PLAN, OPERATION = range(8, 12)
UNKNOWN, CONFLICT = 16, 19
IDENTITY = 2

SIXTEEN = {f"m{index:02}".encode(): 1 for index in range(1, 17)}
CHARGES = {
    b"chat": {b"calls": 1, b"tokens": 10}, b"models": {b"calls": 1}, b"batch": {b"calls": 1},
    b"archive": {b"gigabytes": 10**9}, b"everything": SIXTEEN,
}
METERS = {b"calls", b"tokens", b"gigabytes", *SIXTEEN}
PLANS = {b"pro_tier", b"free_tier"}


def answers(stream, admin=False):
    """What comes back for `stream` before the connection ends: opcode, request id, statuses."""
    expected, at = [], 0
    while len(stream) - at >= 16:
        length, opcode, reserved, status, identity = struct.unpack_from("<IBBHQ", stream, at)
        faults = length_faults(length) | ({FRAME} if reserved or status else set())
        if faults:
            return [*expected, (opcode | 0x80, identity, faults)]
        if len(stream) - at < 4 + length:
            return expected
        body = stream[at + 16:at + 4 + length]
        expected.append((opcode | 0x80, identity, statuses(opcode, body, admin)))
        at += 4 + length
    if len(stream) - at >= 4:
        faults = length_faults(struct.unpack_from("<I", stream, at)[0])
        if faults:
            expected.append((0x80, 0, faults))
    return expected


def length_faults(length):
    return {FRAME} if length < 12 else {TOO_LARGE} if length > 65_536 else set()


def statuses(opcode, body, admin):
    if opcode == 0x50:
        return frame_calls.statuses(body, admin)
    if opcode in (0x40, 0x41, 0x42):
        if not admin:
            return {FORBIDDEN}
        faults = {BODY} if len(body) != (4 if opcode == 0x42 else 0) else set()
    elif opcode in RULES:
        faults = RULES[opcode](body)
        if not faults and opcode in CHARGING:
            # Perhaps some earlier request had that id.
            return {OK, CONFLICT} if has_identity(body) else {OK}
    else:
        faults = {OPCODE}
    return faults or {OK}


def ping(body):
    return {BODY} if len(body) > 64 else set()


def hello(body):
    if len(body) < 12:
        return {BODY}
    lowest, highest, features, name = struct.unpack_from("<HHIB", body)
    faults = set()
    if lowest > highest or name > 64 or any(body[9:12]):
        faults.add(BODY)
    if lowest <= highest and not lowest <= 1 <= highest:
        faults.add(VERSION)
    if features:
        faults.add(FIELD)
    if len(body) < 12 + name:
        return faults | {BODY}
    return faults | extensions(body[12 + name:])


def check(body):
    return question(body, known=3, reserved=slice(11, 16))


def reserve(body):
    return question(body, known=11, reserved=slice(11, 12))


def question(body, known, reserved):
    if len(body) < 32:
        return {BODY}
    kind, family, by, count, flags, credential, name, method = struct.unpack_from("<BBBBHHHB", body)
    address = body[16:32]
    faults = {FIELD} if flags & ~known else set()
    used = {0: 0, 4: 4, 6: 16}.get(family)
    wrong = [
        kind > 2, by not in (1, 2), any(body[reserved]), (kind == 0) != (credential == 0),
        credential > 8_192, count > 16, used is None or any(address[used:]),
        not 1 <= name <= (128 if by == 1 else 8_192),
        method != 0 if by == 1 else not 1 <= method <= 32,
    ]
    if any(wrong):
        faults.add(BODY)
    start = 32 + credential + method
    if start + name > len(body):
        return faults | {BODY}
    # Which operation a route leads to is the business of other tests.
    operation = body[start:start + name] if by == 1 else None
    faults |= metered(body[start + name:], count, operation)
    if by == 2 and count and not faults:
        return {OK, METER, UNITS, CONFLICT}
    return faults


def extend(body):
    return held(body, numbers=2, reserved=[17])


def settle(body):
    return held(body, numbers=1, reserved=[17, 20, 21, 22, 23])


def held(body, numbers, reserved):
    """A daemon that has just begun knows no reservation, and no operation by it."""
    if len(body) < 24:
        return {BODY}
    faults = {FIELD} if body[18] & ~2 or body[19] else set()
    if body[16] > 16 or any(body[place] for place in reserved):
        faults.add(BODY)
    return faults | metered(body[24:], body[16], None, numbers, knows_identity=False) | {UNKNOWN}


def cancel(body):
    if len(body) < 24:
        return {BODY}
    faults = {FIELD} if body[16] & ~2 or body[17] else set()
    if any(body[18:24]):
        faults.add(BODY)
    return faults | extensions(body[24:]) | {UNKNOWN}


def consume(body):
    if len(body) < 16:
        return {BODY}
    organization, user, plan, count, flags, operation = struct.unpack_from("<BBBBHB", body)
    lengths = [organization, user, plan, operation]
    faults = {FIELD} if flags & ~7 else set()
    if any(body[7:16]) or not 1 <= count <= 16 or not all(1 <= n <= 128 for n in lengths):
        faults.add(BODY)
    if 16 + sum(lengths) > len(body):
        return faults | {BODY}
    names, rest = texts(body[16:], lengths)
    if not all(map(is_name, names)):
        faults.add(BODY)
    if 1 <= plan <= 128 and names[2] not in PLANS:
        faults.add(PLAN)
    if 1 <= operation <= 128 and names[3] not in CHARGES:
        faults.add(OPERATION)
    return faults | metered(rest, count, names[3])


def usage(body):
    if len(body) < 8:
        return {BODY}
    lengths = list(body[:3])
    flags, more = struct.unpack_from("<HH", body, 4)
    faults = {FIELD} if flags & ~4 else set()
    if body[3] or more or not lengths[0] or max(lengths) > 128:
        faults.add(BODY)
    if 8 + sum(lengths) > len(body):
        return faults | {BODY}
    names, rest = texts(body[8:], lengths)
    if not all(map(is_name, names)):
        faults.add(BODY)
    if 1 <= len(names[2]) <= 128 and names[2] not in PLANS:
        faults.add(PLAN)
    return faults | extensions(rest)


def is_name(data):
    """UTF-8 without control characters: what a token can say too."""
    try:
        return all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in data.decode())
    except UnicodeDecodeError:
        return False


def texts(data, lengths):
    found = []
    for length in lengths:
        found.append(data[:length])
        data = data[length:]
    return found, data


def metered(data, count, operation, numbers=1, knows_identity=True):
    """Meters, then extension fields; `operation` charges the meters, if it is one."""
    faults, seen = set(), set()
    charges = CHARGES.get(operation)
    for _ in range(count):
        if not data or len(data) < 1 + 8 * numbers + data[0]:
            return faults | {BODY}
        name = data[1:1 + data[0]]
        units = max(struct.unpack_from(f"<{numbers}Q", data, 1 + data[0]))
        data = data[1 + 8 * numbers + len(name):]
        if not 1 <= len(name) <= 128 or name in seen:
            faults.add(BODY)
        seen.add(name)
        if not 1 <= len(name) <= 128:
            continue
        if name not in METERS or (charges is not None and name not in charges):
            faults.add(METER)
        if units > UNITS_MAX or units * (charges or {}).get(name, 1) >= 2**64:
            faults.add(UNITS)
    return faults | extensions(data, knows_identity)


def extensions(data, knows_identity=False):
    faults, identities = set(), 0
    while data:
        if len(data) < 4:
            return faults | {BODY}
        tag, flags, length = struct.unpack_from("<BBH", data)
        known = knows_identity and tag == IDENTITY
        if flags & ~1 or (flags and not known):
            faults.add(FIELD)
        if len(data) < 4 + length:
            return faults | {BODY}
        identities += known
        if known and (length != 16 or not any(data[4:20]) or identities > 1):
            faults.add(BODY)
        data = data[4 + length:]
    return faults


def has_identity(body):
    """Not asked of a body with faults: one of a critical field that is taken, or of a field that
    is not critical. A text that looks like one does no harm."""
    return b"\x02\x01\x10\x00" in body or b"\x02\x00\x10\x00" in body


RULES = {
    0x01: hello, 0x02: ping, 0x10: check, 0x11: consume, 0x12: usage, 0x13: reserve,
    0x14: extend, 0x15: settle, 0x16: cancel,
}
CHARGING = (0x10, 0x11, 0x13)
