"""Packets as bytes, right by default. Written with struct alone: two hundred thousand of them are made."""

import socket
import struct

ROUTER_MAC = bytes.fromhex("0200000000fe")
RAIL_MAC = bytes.fromhex("020000000010")
TCP, UDP, ICMP, IPIP, IPV6, GRE = 6, 17, 1, 4, 41, 47
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000


def checksum(data):
    """RFC 1071. The sum of 16-bit words modulo 65535 is the number they spell, modulo 65535."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF
    if total == 0 and any(data):
        total = 0xFFFF
    return total ^ 0xFFFF


def address(text):
    return socket.inet_aton(text)


def ethernet(payload, ethertype=0x0800, tags=(), destination=RAIL_MAC, source=ROUTER_MAC):
    """`tags` are (type, tag control information), outermost first."""
    frame = destination + source
    for tpid, tci in tags:
        frame += struct.pack("!HH", tpid, tci)
    return frame + struct.pack("!H", ethertype) + payload


def ipv4(source, destination, protocol, payload, **fields):
    options = fields.get("options", b"")
    header_len = fields.get("header_len", 20 + len(options))
    total = fields.get("total", 20 + len(options) + len(payload))
    header = struct.pack(
        "!BBHHHBBH",
        fields.get("version", 4) << 4 | header_len // 4,
        fields.get("tos", 0),
        total,
        fields.get("ident", 0),
        fields.get("fragment", 0),
        fields.get("ttl", 64),
        protocol,
        0,
    )
    header += source + destination + options
    right = checksum(header)
    wrong = fields.get("checksum_error", 0)
    return header[:10] + struct.pack("!H", right ^ wrong) + header[12:] + payload


def pseudo(source, destination, protocol, length):
    return source + destination + struct.pack("!BBH", 0, protocol, length)


def tcp(source, destination, ports, payload, flags, **fields):
    options = fields.get("options", b"")
    offset = fields.get("data_offset", 5 + len(options) // 4)
    header = struct.pack(
        "!HHIIBBHHH",
        *ports,
        fields.get("sequence", 0),
        fields.get("acknowledgment", 0),
        offset << 4,
        flags,
        65535,
        0,
        0,
    )
    segment = header + options + payload
    total = checksum(pseudo(source, destination, TCP, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", total) + segment[18:]


def udp(source, destination, ports, payload, **fields):
    length = fields.get("length", 8 + len(payload))
    datagram = struct.pack("!HHHH", *ports, length, 0) + payload
    total = 0
    if fields.get("checksum", True):
        total = checksum(pseudo(source, destination, UDP, len(datagram)) + datagram) or 0xFFFF
    return datagram[:6] + struct.pack("!H", total) + datagram[8:]


def icmp(kind, code, rest, payload, checksum_error=0):
    message = struct.pack("!BBHI", kind, code, 0, rest) + payload
    total = checksum(message) ^ checksum_error
    return message[:2] + struct.pack("!H", total) + message[4:]


def gre(payload, key=None, sequence=None, summed=False, protocol=0x0800, flags=None, checksum_error=0):
    bits = (0x8000 if summed else 0) | (0x2000 if key is not None else 0)
    bits |= 0x1000 if sequence is not None else 0
    header = struct.pack("!HH", bits if flags is None else flags, protocol)
    if summed:
        header += bytes(4)
    if key is not None:
        header += struct.pack("!I", key)
    if sequence is not None:
        header += struct.pack("!I", sequence)
    packet = header + payload
    if summed:
        total = checksum(packet) ^ checksum_error
        packet = packet[:4] + struct.pack("!H", total) + packet[6:]
    return packet


def arp(operation, sender, target, hardware=1):
    """`sender` and `target` are (MAC address, IPv4 address)."""
    return struct.pack("!HHBBH", hardware, 0x0800, 6, 4, operation) + b"".join(sender + target)


class PcapWriter:
    """The classic format with nanoseconds, Ethernet."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))

    def write(self, nanoseconds, frame):
        seconds, rest = divmod(nanoseconds, 10**9)
        self.file.write(struct.pack("<IIII", seconds, rest, len(frame), len(frame)) + frame)

    def close(self):
        self.file.close()


def read_pcap(path):
    """The frames of a capture of either byte order and resolution."""
    with open(path, "rb") as file:
        data = file.read()
    magic = struct.unpack_from("<I", data)[0]
    order = "<" if magic in (0xA1B23C4D, 0xA1B2C3D4) else ">"
    at = 24
    while at < len(data):
        captured, length = struct.unpack_from(order + "II", data, at + 8)
        if captured != length:
            raise ValueError(f"a frame of {length} bytes was cut to {captured}")
        at += 16
        yield data[at : at + captured]
        at += captured
