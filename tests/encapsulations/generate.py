#!/usr/bin/env python3
"""Packets for every service of the matrix, one of each flow.

    generate.py DIR [--flows N] [--entropy]

writes DIR/rail.toml and DIR/in.pcap: N flows of every service in turn, each packet with another class,
hop limit, length, options, extension headers and checksum, as far as its family has them.
"""

import argparse
import os
import random
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "replay")]
import socket  # noqa: E402

import matrix  # noqa: E402
from packets import DONT_FRAGMENT, TCP, UDP, PcapWriter, checksum, ethernet, ipv4  # noqa: E402
from packets import tcp, udp  # noqa: E402

SYN, ACK = 2, 16
STEP = 10_000  # ns between packets


def upper(pick, protocol, source, destination, ports, v6):
    """A segment or datagram with a right checksum, or a UDP datagram over IPv4 without one."""
    payload = pick.randbytes(pick.choice((0, 1, 7, 64, pick.randrange(200), pick.randrange(1200))))
    if not v6:
        if protocol == TCP:
            flags = pick.choice((SYN, ACK, ACK))
            options = b"\2\4\5\xb4" if flags == SYN else b""
            return tcp(source, destination, ports, payload, flags, options=options)
        return udp(source, destination, ports, payload, checksum=pick.random() < 0.8)
    if protocol == TCP:
        segment = struct.pack("!HHIIBBHHH", *ports, 1, 2, 5 << 4, ACK, 65535, 0, 0) + payload
        at = 16
    else:
        segment = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
        at = 6
    pseudo = source + destination + struct.pack("!II", len(segment), protocol)
    total = checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", total) + segment[at + 2 :]


def ipv6(pick, source, destination, protocol, payload):
    extensions = b""
    following = protocol
    if pick.random() < 0.15:
        kind = pick.choice((0, 60))  # hop-by-hop or destination options, PadN
        extensions = struct.pack("!BBBB", protocol, 0, 1, 4) + bytes(4)
        following = kind
    word = 6 << 28 | pick.randrange(256) << 20 | pick.randrange(1 << 20)
    header = struct.pack("!IHBB", word, len(extensions) + len(payload), following, pick.randrange(1, 256))
    return header + source + destination + extensions + payload


def packet(pick, way, index):
    protocol = pick.choice((TCP, UDP))
    ports = (1024 + index // 250 * 7 % 60000 + pick.randrange(7), way.port)
    if way.inner == 6:
        source = socket.inet_pton(socket.AF_INET6, f"2001:db8:c::{index % 250:x}:{index:x}")
        destination = socket.inet_pton(socket.AF_INET6, matrix.VIP6)
        return ipv6(pick, source, destination, protocol, upper(pick, protocol, source, destination, ports, True))
    source, destination = bytes([198, 51, index // 250 % 250, index % 250]), socket.inet_aton(matrix.VIP4)
    body = upper(pick, protocol, source, destination, ports, False)
    options = pick.choice((b"",) * 5 + (b"\x94\4\0\0", b"\1" * 8))
    return ipv4(
        source,
        destination,
        protocol,
        body,
        tos=pick.randrange(256),
        ttl=pick.randrange(1, 256),
        ident=pick.randrange(65536),
        fragment=pick.choice((0, DONT_FRAGMENT)),
        options=options,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("--flows", type=int, default=20_000)
    parser.add_argument("--entropy", action="store_true")
    args = parser.parse_args()
    with open(os.path.join(args.dir, "rail.toml"), "w", encoding="utf-8") as file:
        file.write(matrix.configuration(args.entropy))
    pick = random.Random(3)
    pcap = PcapWriter(os.path.join(args.dir, "in.pcap"))
    now = 10**18
    ways = matrix.ways()
    for index in range(args.flows):
        for way in ways:
            frame = ethernet(packet(pick, way, index), 0x0800 if way.inner == 4 else 0x86DD)
            if pick.random() < 0.3:
                frame += bytes(max(0, 60 - len(frame))) + pick.randbytes(pick.randrange(20))
            pcap.write(now, frame)
            now += STEP
    pcap.close()


if __name__ == "__main__":
    main()
