#!/usr/bin/env python3
"""Frames with tags of every kind, and what a port makes of them, by scapy.

    vlan.py make DIR MODE      writes DIR/rail.toml and DIR/in.pcap
    vlan.py check DIR MODE     holds DIR/out.pcap and DIR/books.json against DIR/in.pcap

MODE is what the port's configuration says: none, vlan, qinq, keep, or vlan-keep.
"""

import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "replay")]
from packets import PcapWriter, read_pcap  # noqa: E402
from scapy.all import ARP, GRE, ICMP, IP, TCP, Dot1AD, Dot1Q, Ether, Raw  # noqa: E402

OUTER, INNER = 200, 100
MODES = {
    "none": "",
    "vlan": f"vlan = {INNER}\n",
    "qinq": f"vlan = {INNER}\nouter_vlan = {OUTER}\n",
    "keep": 'tags = "keep"\n',
    "vlan-keep": f'vlan = {INNER}\ntags = "keep"\n',
}
RAIL, GATEWAY, VIP, CLIENT = "192.0.2.10", "192.0.2.1", "203.0.113.10", "198.51.100.7"
GATEWAY_MAC = "02:00:00:00:00:fe"
FRAMES = 600


def configuration(mode):
    return f"""[node]
name = "rail-a"
workers = [0]
control_core = 1
[[port]]
device = "net_pcap0"
address = ["{RAIL}/24"]
gateway = ["{GATEWAY}"]
mtu = 1600
{MODES[mode]}
[[neighbor]]
address = "{GATEWAY}"
mac = "{GATEWAY_MAC}"
[pool]
hash_key = "000102030405060708090a0b0c0d0e0f"
table_size = 251
[[service]]
name = "web"
vip = "{VIP}"
protocol = "tcp"
port = 443
[[service.backend]]
name = "web-1"
address = "198.18.0.1"
"""


def tags(pick):
    """None, one or two, as (kind, VLAN, priority)."""
    vlan = lambda: pick.choice((INNER, INNER, OUTER, 7, 0))  # noqa: E731
    one = lambda kind: (kind, vlan(), pick.randrange(8))  # noqa: E731
    return pick.choice((
        (),
        (one(Dot1Q),),
        (one(Dot1Q),),
        (one(Dot1AD), one(Dot1Q)),
        ((Dot1AD, OUTER, pick.randrange(8)), (Dot1Q, INNER, pick.randrange(8))),
        (one(Dot1Q), one(Dot1Q)),
    ))


def build(pick, number):
    link = Ether(src=GATEWAY_MAC, dst="02:00:00:00:00:10")
    for kind, vlan, priority in tags(pick):
        link = link / kind(vlan=vlan, prio=priority)
    what = number % 3
    if what == 0:
        return link / IP(src=CLIENT, dst=VIP) / TCP(sport=number + 1024, dport=443, flags="A") / Raw(bytes(40))
    if what == 1:
        return link / IP(src=CLIENT, dst=VIP) / ICMP(id=7, seq=number) / Raw(b"ping")
    return link / ARP(op=1, hwsrc=GATEWAY_MAC, psrc=GATEWAY, pdst=RAIL)


def make(directory, mode):
    with open(os.path.join(directory, "rail.toml"), "w", encoding="utf-8") as file:
        file.write(configuration(mode))
    pick, now = random.Random(5), 10**18
    pcap = PcapWriter(os.path.join(directory, "in.pcap"))
    for number in range(FRAMES):
        pcap.write(now, bytes(build(pick, number)))
        now += 10**7
    pcap.close()


def tags_of(frame):
    """(TPID, VLAN, priority) of every tag, and what follows them."""
    found, kind, layer = [], frame.type, frame.payload
    while isinstance(layer, (Dot1Q, Dot1AD)):
        found.append((kind, layer.vlan, layer.prio))
        kind, layer = layer.type, layer.payload
    return tuple(found), layer


def taken(mode, found):
    """Whether the port takes a frame with these tags."""
    vlans = [vlan for _, vlan, _ in found]
    if mode in ("none", "keep"):
        return True
    if mode == "qinq":
        return len(found) == 2 and found[0][0] == 0x88A8 and vlans == [OUTER, INNER]
    return bool(vlans) and vlans[0] == INNER


def expected(mode, found, layer):
    """The tags a packet leaves with."""
    if "keep" in mode:
        return found
    if isinstance(layer, ARP):  # Answered in place.
        return found
    return {
        "none": (),
        "vlan": ((0x8100, INNER, 0),),
        "qinq": ((0x88A8, OUTER, 0), (0x8100, INNER, 0)),
    }[mode]


def check(directory, mode):
    sent = read_pcap(os.path.join(directory, "out.pcap"))
    kinds, refused = set(), 0
    for number, received in enumerate(read_pcap(os.path.join(directory, "in.pcap"))):
        found, layer = tags_of(Ether(received))
        if not taken(mode, found):
            refused += 1
            continue
        frame = Ether(next(sent))
        left, answer = tags_of(frame)
        where = f"{mode}, frame {number}, {found}"
        assert left == expected(mode, found, layer), f"{where}: left with {left}"
        assert frame.dst == GATEWAY_MAC, where
        if isinstance(layer, ARP):
            assert answer[ARP].op == 2 and answer.psrc == RAIL, where
        elif layer.haslayer(ICMP):
            assert answer[ICMP].type == 0 and answer.src == VIP, where
            assert bytes(answer[ICMP].payload) == b"ping", where
        else:
            assert answer[GRE].payload.src == CLIENT and answer.dst == "198.18.0.1", where
            assert bytes(answer[GRE].payload) == bytes(layer)[: layer.len], where
        kinds.add((len(found), type(layer).__name__))
    assert next(sent, None) is None, "more was sent"
    with open(os.path.join(directory, "books.json"), encoding="utf-8") as file:
        books = json.load(file)
    assert books["drops"] == ({"bad_vlan": refused} if refused else {}), books
    assert len(kinds) >= 2, kinds
    print(f"{mode}: {FRAMES - refused} frames of {len(kinds)} kinds taken, {refused} refused")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
