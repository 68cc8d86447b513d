#!/usr/bin/env python3
"""Checks by scapy what `rail replay` made of the packets of `generate.py`.

    check.py DIR [--entropy]

reads DIR/in.pcap, DIR/out.pcap and DIR/rail.toml. Every packet: its link, addresses, lengths, class,
hop limit and inner bytes. Every fiftieth: dissected by scapy, and every checksum computed anew by it.
The shares of the backends: within two points of those of Maglev's table, computed independently. With
--entropy, instead of that: the sources of outer headers are of the prefixes, and many.
"""

import argparse
import collections
import ipaddress
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, ".."), os.path.join(HERE, "..", "replay")]
import maglev_oracle  # noqa: E402
import matrix  # noqa: E402
from packets import checksum, read_pcap  # noqa: E402
from scapy.all import GRE, IP, TCP, UDP, IPv6  # noqa: E402

DISSECTED = 50  # one in so many
SHARE = 0.02  # most that a share may differ from Maglev's
PROTOCOLS = {"gre": {4: 47, 6: 47}, "ipip": {4: 4, 6: 41}, "gue": {4: 17, 6: 17}}
ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class Wrong(Exception):
    pass


def equal(what, found, expected):
    if found != expected:
        raise Wrong(f"{what} is {found!r}, expected {expected!r}")


class Header:
    """What an IP header says of itself, IPv4 without options or IPv6."""

    def __init__(self, packet, version):
        equal("version", packet[0] >> 4, version)
        self.length = 20 if version == 4 else 40
        at = 12 if version == 4 else 8
        size = (self.length - at) // 2
        self.source = ipaddress.ip_address(packet[at : at + size])
        self.destination = ipaddress.ip_address(packet[at + size : at + 2 * size])
        if version == 4:
            self.tos, self.hops, self.protocol = packet[1], packet[8], packet[9]
            equal("header length", packet[0] & 15, 5)
            equal("total length", int.from_bytes(packet[2:4], "big"), len(packet))
            equal("ID, flags and offset", packet[4:8].hex(), "00004000")
            equal("header checksum", checksum(packet[:20]), 0)
        else:
            self.tos = int.from_bytes(packet[:2], "big") >> 4 & 255
            self.protocol, self.hops = packet[6], packet[7]
            equal("payload length", int.from_bytes(packet[4:6], "big"), len(packet) - 40)


def tos_of(inner):
    return inner[1] if inner[0] >> 4 == 4 else int.from_bytes(inner[:2], "big") >> 4 & 255


def tunnelled(way, packet, inner, networks):
    """An outer header with all that belongs to it, and the inner packet as it came."""
    outer = Header(packet, way.outer)
    equal("hop limit", outer.hops, 64)
    equal("DSCP and ECN", outer.tos, tos_of(inner))
    equal("protocol", outer.protocol, PROTOCOLS[way.encap][way.inner])
    network = networks[way.name]
    equal(f"source {outer.source} of {network}", outer.source in network, True)
    if network.num_addresses > 2:
        number = int(outer.source) - int(network.network_address)
        equal("a host's address", 0 < number < network.num_addresses - (way.outer == 4), True)
    at = outer.length
    if way.encap == "gre":
        ethertype = f"{ETHERTYPES[way.inner]:04x}"
        key = way.options.get("gre_key")
        expected = f"0000{ethertype}" if key is None else f"2000{ethertype}{key:08x}"
        equal("GRE header", packet[at : at + len(expected) // 2].hex(), expected)
        at += len(expected) // 2
    elif way.encap == "gue":
        port, to, length, _ = (int.from_bytes(packet[at + n : at + n + 2], "big") for n in (0, 2, 4, 6))
        equal("GUE port", to, way.options.get("gue_port", 6080))
        equal("GUE source port", port >= 49152, True)
        equal("UDP length", length, len(packet) - at)
        equal("GUE header", packet[at + 8 : at + 12].hex(), "00040000" if way.inner == 4 else "00290000")
        at += 12
    equal("inner packet", packet[at:].hex(), inner.hex())
    return str(outer.destination), str(outer.source)


def direct_l3(way, packet, inner):
    """The packet itself with another destination and DSCP; its checksums are scapy's business."""
    size, at = (4, 16) if way.inner == 4 else (16, 24)
    expected = bytearray(inner)
    expected[at : at + size] = packet[at : at + size]
    tos = way.options["dscp"] << 2 | tos_of(inner) & 3
    if way.inner == 4:
        expected[1] = tos
        expected[10:12] = packet[10:12]
        equal("header checksum", checksum(packet[: (packet[0] & 15) * 4]), 0)
        transport, protocol = (packet[0] & 15) * 4, packet[9]
    else:
        expected[0], expected[1] = 0x60 | tos >> 4, tos << 4 & 0xF0 | inner[1] & 15
        transport, protocol = (40, packet[6]) if packet[6] in (6, 17) else (48, packet[40])
    field = transport + (16 if protocol == 6 else 6)
    if protocol == 17 and inner[field : field + 2] == bytes(2):
        equal("UDP without a checksum", packet[field : field + 2], bytes(2))
    expected[field : field + 2] = packet[field : field + 2]
    equal("packet", packet.hex(), expected.hex())
    return str(ipaddress.ip_address(packet[at : at + size]))


def dissected(way, packet, inner):
    """Every checksum again, as scapy computes it when it builds the packet from its fields."""
    layer = (IP if way.outer == 4 else IPv6)(packet)
    if way.encap == "gre":
        carried = layer[GRE].payload
        equal("what GRE carries", type(carried), IP if way.inner == 4 else IPv6)
        equal("key", layer[GRE].key, way.options.get("gre_key"))
    if way.encap == "ipip":
        equal("what is inside", type(layer.payload), IP if way.inner == 4 else IPv6)
    if way.encap == "gue":
        found = layer[UDP].chksum
        if way.outer == 4:
            return equal("UDP checksum over IPv4", found, 0)
        again = layer.copy()
        del again[UDP].chksum
        again = IPv6(bytes(again))
        return equal("UDP checksum over IPv6", found, again[UDP].chksum)
    if way.encap in ("l3dsr", "l2dsr"):
        kind = TCP if layer.haslayer(TCP) else UDP
        found = layer[kind].chksum
        if kind is UDP and found == 0:
            return None
        again = layer.copy()
        del again[kind].chksum
        again = type(layer)(bytes(again))
        return equal(f"{kind.__name__} checksum", found, again[kind].chksum)
    again = layer.copy()
    if way.outer == 4:
        del again.len, again.chksum
    else:
        del again.plen
    return equal("outer header as scapy builds it", bytes(again)[:40].hex(), packet[:40].hex())


def shares(config, ways, counts):
    """The largest distance of a backend's share from that of its slots."""
    _, tables = maglev_oracle.expected_tables(config)
    worst = 0
    for way in ways:
        table = tables[way.name]
        total = sum(counts[way.name].values())
        for number in range(1, len(matrix.WEIGHTS) + 1):
            address = str(ipaddress.ip_address(matrix.backend_address(way, number)))
            expected = table["shares"][f"{way.name}-{number}"] / table["m"]
            distance = abs(counts[way.name][address] / total - expected)
            if distance > SHARE:
                raise Wrong(f"{way.name}-{number} has {counts[way.name][address]} of {total}, not {expected:.3f}")
            worst = max(worst, distance)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("--entropy", action="store_true")
    args = parser.parse_args()
    # What is carried here is random bytes, not the protocol of any port.
    TCP.payload_guess, UDP.payload_guess = [], []
    path = lambda name: os.path.join(args.dir, name)  # noqa: E731
    ways = matrix.ways()
    networks = {way.name: matrix.sources(way, args.entropy) for way in ways}
    macs = {
        way.name: {matrix.backend_mac(way, n): n for n in range(1, len(matrix.WEIGHTS) + 1)} for way in ways
    }
    counts = collections.defaultdict(collections.Counter)
    hosts = collections.defaultdict(set)
    sent = read_pcap(path("out.pcap"))
    packets = whole = 0
    for index, received in enumerate(read_pcap(path("in.pcap"))):
        way = ways[index % len(ways)]
        try:
            frame = next(sent, None)
            if frame is None:
                raise Wrong("nothing more was sent")
            length = (
                int.from_bytes(received[16:18], "big")
                if way.inner == 4
                else 40 + int.from_bytes(received[18:20], "big")
            )
            inner, packet = received[14 : 14 + length], frame[14:]
            equal("EtherType", int.from_bytes(frame[12:14], "big"), ETHERTYPES[way.outer])
            equal("source MAC", frame[6:12].hex(), sources_mac(frame))
            to = frame[:6].hex(":")
            if way.encap == "l2dsr":
                equal("next hop is a backend", to in macs[way.name], True)
                equal("packet", packet.hex(), inner.hex())
                backend = matrix.backend_address(way, macs[way.name][to])
            else:
                equal("next hop", to, matrix.GATEWAY_MAC)
                if way.encap == "l3dsr":
                    backend = direct_l3(way, packet, inner)
                else:
                    backend, host = tunnelled(way, packet, inner, networks)
                    hosts[way.name].add(host)
            counts[way.name][str(ipaddress.ip_address(backend))] += 1
            if index // len(ways) % DISSECTED == 0:
                dissected(way, packet, inner)
                whole += 1
            packets += 1
        except Exception as error:
            raise SystemExit(f"packet {index}, {way.name}: {error!r}") from error
    equal("packets beyond those expected", sum(1 for _ in sent), 0)
    if args.entropy:
        for name, seen in hosts.items():
            total = sum(counts[name].values())
            room = min(networks[name].num_addresses, total)
            equal(f"{name}: {len(seen)} sources of {room} are many", len(seen) > room / 3, True)
        return print(f"{packets} packets of {len(ways)} ways, {whole} dissected, sources spread")
    worst = shares(path("rail.toml"), ways, counts)
    print(f"{packets} packets of {len(ways)} ways, {whole} dissected, shares within {worst * 100:.2f} points")


FIRST = []


def sources_mac(frame):
    """All frames come from one address: that of the first one."""
    FIRST.append(frame[6:12].hex()) if not FIRST else None
    return FIRST[0]


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        raise SystemExit(str(error))
