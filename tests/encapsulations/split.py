#!/usr/bin/env python3
"""Packets that are too large for a tunnel and may be fragmented: made, and checked by scapy.

    split.py make DIR     writes DIR/rail.toml and DIR/in.pcap
    split.py check DIR    reads DIR/in.pcap and DIR/out.pcap: every piece fits, and what scapy makes of
                          the pieces of a packet is that packet, but for the options that go with its
                          first piece alone
"""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "replay")]
import matrix  # noqa: E402
from packets import MORE_FRAGMENTS, TCP, UDP, PcapWriter, address, ethernet, ipv4, read_pcap, tcp, udp  # noqa: E402
from scapy.all import GRE, IP, UDP as Udp, Ether, checksum  # noqa: E402

MTU = 1400
VIP, CLIENT = address(matrix.VIP4), address("198.51.100.7")
# What every fragment carries (router alert, strict source route would too), and what only the first does.
COPIED, FIRST_ONLY = b"\x94\4\0\0", b"\x44\x0c\5\0" + bytes(8)
PACKETS = 300


def ways():
    return [way for way in matrix.ways() if way.inner == 4 and way.encap in ("gre", "ipip", "gue", "l3dsr")]


def configuration():
    return matrix.configuration(False).replace("mtu = 1600", f"mtu = {MTU}")


def packet(pick, way, number):
    size = pick.randrange(MTU - 40, 1501)
    options = pick.choice((b"", b"", COPIED, FIRST_ONLY, COPIED + FIRST_ONLY, b"\1\1\1\1"))
    ports = (number % 60000 + 1, way.port)
    if pick.random() < 0.5:
        protocol, body = TCP, tcp(CLIENT, VIP, ports, pick.randbytes(size - 40 - len(options)), 16)
    else:
        protocol, body = UDP, udp(CLIENT, VIP, ports, pick.randbytes(size - 28 - len(options)))
    # A piece of a larger datagram is cut once more; it is the first one, for others wait for it.
    first = pick.random() < 0.2
    if first:
        body = body[: len(body) // 8 * 8]
    fragment = MORE_FRAGMENTS if first else 0
    return ipv4(CLIENT, VIP, protocol, body, options=options, ident=number, fragment=fragment, tos=pick.randrange(256) & 0xFC)


def make(directory):
    with open(os.path.join(directory, "rail.toml"), "w", encoding="utf-8") as file:
        file.write(configuration())
    pick, now = random.Random(4), 10**18
    pcap = PcapWriter(os.path.join(directory, "in.pcap"))
    for number in range(PACKETS):
        pcap.write(now, ethernet(packet(pick, ways()[number % len(ways())], number)))
        now += 10**6
    pcap.close()


def inner(way, frame):
    """The packet of the client in a frame, as scapy sees it."""
    outer = Ether(frame).payload
    if way.encap == "l3dsr":
        return outer
    if way.encap == "gre":
        return outer[GRE].payload
    if way.encap == "ipip":
        return outer.payload
    return IP(bytes(outer[Udp].payload)[4:])


def check(directory):
    sent = list(read_pcap(os.path.join(directory, "out.pcap")))
    whole = cut = 0
    for number, received in enumerate(read_pcap(os.path.join(directory, "in.pcap"))):
        way = ways()[number % len(ways())]
        original = IP(received[14 : 14 + int.from_bytes(received[16:18], "big")])
        payload, pieces = b"", []
        while True:
            frame = sent.pop(0)
            assert len(frame) - 14 <= MTU, f"packet {number}: {len(frame) - 14} bytes"
            piece = inner(way, frame)
            pieces.append(piece)
            wire = bytes(piece)
            assert checksum(wire[: piece.ihl * 4]) == 0, f"packet {number}: header checksum"
            assert piece.len == len(wire), f"packet {number}: total length"
            assert piece.frag * 8 == len(payload), f"packet {number}: offset {piece.frag * 8}"
            for field in ("src", "proto", "id", "ttl"):
                assert getattr(piece, field) == getattr(original, field), f"packet {number}: {field}"
            if way.encap != "l3dsr":
                assert (piece.dst, piece.tos) == (original.dst, original.tos), f"packet {number}"
            payload += wire[piece.ihl * 4 :]
            more = "MF" in piece.flags
            if not more or (len(payload) >= original.len - original.ihl * 4 and "MF" in original.flags):
                break
        expected = bytes(original)[original.ihl * 4 :]
        if way.encap == "l3dsr":  # The checksum follows the destination, and nothing else changes.
            at = 16 if original.proto == TCP else 6
            assert len(payload) == len(expected)
            payload = payload[:at] + expected[at : at + 2] + payload[at + 2 :]
        assert payload == expected, f"packet {number}: {way.name}: other bytes"
        assert ("MF" in pieces[-1].flags) == ("MF" in original.flags), f"packet {number}: last flag"
        assert bytes(pieces[0])[20 : pieces[0].ihl * 4] == bytes(original)[20 : original.ihl * 4]
        copied = b"".join(bytes(o) for o in original.options if o.copy_flag)
        for piece in pieces[1:]:
            options = bytes(piece)[20 : piece.ihl * 4]
            assert options == copied + bytes(-len(copied) % 4), f"packet {number}: {options.hex()}"
        cut += len(pieces) > 1
        whole += len(pieces) == 1
    assert not sent, "more was sent"
    assert cut > PACKETS / 2 and whole > 5, (cut, whole)
    print(f"{cut} packets cut, {whole} sent whole")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
