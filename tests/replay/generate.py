#!/usr/bin/env python3
"""Traffic for a rail with `rail.toml`, always the same for the same arguments.

    generate.py DIR [--packets N] [--flows N] [--vlan VLAN] [--seed N]

writes DIR/in.pcap; DIR/flows, a flow a line as `rail trace --batch` reads it; and DIR/plan, a line for
each packet that says what has to become of it:

    forward FLOW OUTER INNER LENGTH   to the backend of that flow (its line, from 0); the packet that is
                                      forwarded starts INNER bytes into the frame and is LENGTH long; the
                                      header of the tunnel it came in starts at OUTER, -1 without one
    reply                             answered by the rail
    host                              passed to the host
    drop REASON                       dropped for that reason
"""

import argparse
import os
import random
import struct

from packets import *

WEB, GAME, ASLEEP = map(address, ("203.0.113.10", "203.0.113.11", "203.0.113.12"))
RAIL, ROUTER, STRANGER = map(address, ("192.0.2.10", "192.0.2.1", "192.0.2.2"))
ACCEPTED = [ROUTER, address("192.0.2.64"), address("192.0.2.79")]
CLIENT = address("198.51.100.7")
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
# Time between packets, and before the flood of pings at the end: the limit has recovered by then.
STEP, PAUSE = 10_000, 10 * 10**9
# What `limits.icmp_per_second` lets through at once, and how many more are sent.
PINGS_ANSWERED, PINGS_REFUSED = 1000, 300


class Traffic:
    def __init__(self, flows, vlan, seed):
        self.random = random.Random(seed)
        self.vlan = vlan
        self.flows = [self.flow(index) for index in range(flows)]
        self.opened = set()

    # --- Flows -----------------------------------------------------------------------------------

    def flow(self, index):
        """Protocol, source, destination, ports. The source ports make each one different."""
        pick = self.random
        source = bytes([198, 51, 100 + index % 20, 1 + index // 20 % 250])
        port = 1024 + index // 5000 * 7000 + pick.randrange(7000)
        kind = index % 20
        if kind < 12:
            return TCP, source, WEB, (port, 443)
        if kind < 16:
            return UDP, source, WEB, (port, 53)
        if kind < 18:
            return UDP, source, GAME, (port, pick.choice((27000, 27015, 27999)))
        vip = bytes([203, 0, 113, 128 + pick.randrange(16)])
        return pick.choice((TCP, UDP)), source, vip, (port, pick.randrange(1, 65536))

    def flow_line(self, flow):
        protocol, source, destination, (sport, dport) = flow
        dotted = [".".join(map(str, end)) for end in (source, destination)]
        return f"{'tcp' if protocol == TCP else 'udp'} {dotted[0]}:{sport} {dotted[1]}:{dport}"

    # --- Layers with everything about them that may differ -----------------------------------------

    def tags(self):
        if self.vlan is not None:
            first = (0x8100, self.random.choice((0, 0xE000, 0x1000)) | self.vlan)
            return (first,) if self.random.random() < 0.8 else (first, (0x8100, 7))
        roll = self.random.random()
        if roll < 0.6:
            return ()
        if roll < 0.8:
            return ((0x8100, self.random.randrange(65536)),)
        return ((0x88A8, 100), (0x8100, self.random.randrange(4096)))

    def padded(self, frame):
        """As a sender or a switch pads it: to the minimum, or with whatever was in its buffer."""
        if self.random.random() < 0.7:
            frame += bytes(max(0, 60 - len(frame)))
        if self.random.random() < 0.1:
            frame += self.random.randbytes(self.random.randrange(1, 30))
        return frame

    def frame(self, packet, ethertype=0x0800):
        return self.padded(ethernet(packet, ethertype, self.tags()))

    def options(self):
        if self.random.random() < 0.85:
            return b""
        router_alert, nops, timestamps = b"\x94\4\0\0", b"\1" * 8, b"\x44\x0c\5\0" + bytes(8)
        return self.random.choice((router_alert, nops, timestamps, nops * 5))

    def inner(self, flow, index, **fields):
        """One packet of a flow. The first one of a TCP flow opens it."""
        protocol, source, destination, ports = flow
        pick = self.random
        size = pick.choice((0, 0, 1, 7, 64, pick.randrange(200), 1, pick.randrange(1300)))
        payload = pick.randbytes(size)
        if protocol == TCP:
            flags = SYN
            if index in self.opened:
                flags = pick.choice((ACK, ACK, ACK, PSH | ACK, FIN | ACK, RST, SYN))
            else:
                payload = b""
            self.opened.add(index)
            more = {"options": b"\2\4\5\xb4"} if flags == SYN else {}
            sequence = pick.randrange(1 << 32)
            body = tcp(source, destination, ports, payload, flags, sequence=sequence, **more)
        else:
            body = udp(source, destination, ports, payload, checksum=pick.random() < 0.9)
        fields = {
            "tos": pick.choice((0, 0, 0xB8, pick.randrange(256), pick.randrange(256))),
            "ttl": pick.randrange(1, 256),
            "ident": pick.randrange(65536),
            "fragment": pick.choice((0, DONT_FRAGMENT)),
            "options": self.options(),
        } | fields
        return ipv4(source, destination, protocol, body, **fields)

    def tunnel(self, packet, outer_ecn, **fields):
        """GRE of every kind, or IPIP, from a source that is accepted."""
        pick = self.random
        kind = pick.randrange(6)
        key, sequence = pick.randrange(1 << 32), pick.randrange(1 << 32)
        protocol, payload = {
            0: lambda: (GRE, gre(packet)),
            1: lambda: (GRE, gre(packet, key=key)),
            2: lambda: (GRE, gre(packet, summed=True)),
            3: lambda: (GRE, gre(packet, key=key, sequence=sequence, summed=True)),
            4: lambda: (GRE, gre(packet, sequence=sequence)),
            5: lambda: (IPIP, packet),
        }[kind]()
        fields = {
            "tos": pick.randrange(64) << 2 | outer_ecn,
            "ttl": pick.randrange(1, 256),
            "fragment": pick.choice((0, DONT_FRAGMENT)),
            "options": self.options(),
        } | fields
        return ipv4(pick.choice(ACCEPTED), RAIL, protocol, payload, **fields)

    # --- Whole frames, each with its line of the plan ----------------------------------------------

    def forwarded(self, index):
        packet = self.inner(self.flows[index], index)
        if self.random.random() < 0.5:
            frame = self.frame(packet)
            return frame, f"forward {index} -1 {frame.index(packet)} {len(packet)}"
        # RFC 6040 forbids congestion on a path whose ends do not know of it.
        ecn = self.random.choice((0, 1, 2) if packet[1] & 3 == 0 else (0, 1, 2, 3))
        outer_packet = self.tunnel(packet, ecn)
        frame = self.frame(outer_packet)
        outer = frame.index(outer_packet)
        inner = outer + outer_packet.index(packet)
        return frame, f"forward {index} {outer} {inner} {len(packet)}"

    def first_fragment(self, index):
        protocol, source, destination, ports = self.flows[index]
        self.opened.add(index)
        payload = self.random.randbytes(256)
        if protocol == TCP:
            body = tcp(source, destination, ports, payload, ACK)
        else:
            body = udp(source, destination, ports, payload)
        packet = ipv4(source, destination, protocol, body[:128], fragment=MORE_FRAGMENTS, ident=index)
        frame = self.frame(packet)
        return frame, f"forward {index} -1 {frame.index(packet)} {len(packet)}"

    def ping(self):
        destination = self.random.choice((WEB, GAME, ASLEEP, RAIL))
        payload = self.random.randbytes(self.random.randrange(100))
        message = icmp(8, 0, self.random.randrange(1 << 32), payload)
        packet = ipv4(CLIENT, destination, ICMP, message, options=self.options(), ttl=3)
        return self.frame(packet), "reply"

    def other(self):
        """Something that does not go to a backend."""
        name = self.random.choice(sorted(OTHERS))
        frame, fate = OTHERS[name](self)
        return frame, fate

    def segment(self, destination=WEB, ports=(4242, 443), source=CLIENT, **fields):
        body = tcp(source, destination, ports, b"data", ACK)
        return ipv4(source, destination, TCP, body, **fields)


def dropped(reason, make):
    return lambda t: (make(t), f"drop {reason}")


def cut(t, packet, low, high):
    """The untagged (or once tagged) frame cut between two lengths, counted from the IP header's start."""
    tags = () if t.vlan is None else ((0x8100, t.vlan),)
    frame = ethernet(packet, 0x0800, tags)
    link = 14 + 4 * len(tags)
    return frame[: link + t.random.randrange(low, high)]


def lie(t, **fields):
    return t.frame(t.segment(**fields))


def bad_gre(t):
    packet = t.segment()
    broken = t.random.choice((
        gre(packet, flags=t.random.choice((0x4000, 0x0800, 0x0400, 0x0001, 0x0007))),
        gre(packet, summed=True, checksum_error=1),
        gre(packet, protocol=0x6558),
        gre(packet)[: t.random.randrange(4)],
    ))
    return t.frame(ipv4(ROUTER, RAIL, GRE, broken))


def bad_fragment(t):
    body = t.random.randbytes(16)
    protocol, payload, fragment = t.random.choice((
        (UDP, body[:13], MORE_FRAGMENTS),  # not a multiple of 8, and not the last
        (UDP, body, 0x1FFF),  # ends beyond 65,535
        (TCP, body, MORE_FRAGMENTS),  # without all of the TCP header (RFC 1858)
        (TCP, body, 1),  # overwrites the flags (RFC 1858)
    ))
    return t.frame(ipv4(CLIENT, WEB, protocol, payload, fragment=fragment))


def bad_transport(t):
    ends = (CLIENT, WEB)
    body, protocol = t.random.choice((
        (tcp(*ends, (1, 443), b"", ACK, data_offset=t.random.choice((0, 4, 6, 15))), TCP),
        (tcp(*ends, (1, 443), b"", ACK)[: t.random.randrange(20)], TCP),
        (udp(*ends, (1, 53), b"data", length=t.random.choice((0, 7, 13, 65535))), UDP),
        (udp(*ends, (1, 53), b"data")[: t.random.randrange(12)], UDP),
        (struct.pack("!HH", 1, 53) + bytes(7), 132),
    ))
    return t.frame(ipv4(*ends, protocol, body))


def bad_ipv6(t):
    good = struct.pack("!IHBB", 6 << 28, 8, UDP, 64) + bytes(32) + bytes(8)
    broken = t.random.choice((
        good[: t.random.randrange(40)],
        struct.pack("!IHBB", 4 << 28, 8, UDP, 64) + good[8:],
        struct.pack("!IHBB", 6 << 28, 900, UDP, 64) + good[8:],
    ))
    return ethernet(broken, 0x86DD, t.tags())


def bad_arp(t):
    sender = (ROUTER_MAC, ROUTER)
    good = arp(1, sender, (bytes(6), RAIL))
    group = arp(1, (b"\1" + ROUTER_MAC[1:], ROUTER), (bytes(6), RAIL))
    broken = (good[:27], arp(3, sender, (bytes(6), RAIL)), arp(1, sender, (bytes(6), RAIL), 6), group)
    tags = () if t.vlan is None else ((0x8100, t.vlan),)
    return ethernet(t.random.choice(broken), 0x0806, tags)


def to_host(t):
    lldp = ethernet(bytes(40), 0x88CC, t.tags())
    ssh = t.segment(destination=RAIL, ports=(4242, 22))
    ospf = ipv4(ROUTER, address("224.0.0.5"), 89, bytes(40))
    everybody = address(t.random.choice(("192.0.2.255", "255.255.255.255")))
    dhcp = ipv4(ROUTER, everybody, UDP, udp(ROUTER, everybody, (68, 67), bytes(20)))
    pong = ipv4(ROUTER, RAIL, ICMP, icmp(0, 0, 1, b""))
    error = ipv4(ROUTER, RAIL, ICMP, icmp(3, 3, 0, t.segment(source=RAIL)[:28]))
    others = arp(1, (ROUTER_MAC, ROUTER), (bytes(6), STRANGER))
    answer = arp(2, (ROUTER_MAC, ROUTER), (RAIL_MAC, RAIL))
    rest = t.random.choice((ssh, ospf, dhcp, pong, error))
    return t.random.choice((
        lldp,
        t.frame(others, 0x0806),
        t.frame(answer, 0x0806),
        t.frame(rest),
        t.frame(rest),
    ))


def arp_for_us(t):
    return t.frame(arp(1, (ROUTER_MAC, ROUTER), (bytes(6), RAIL)), 0x0806)


def tunnelled(t, packet, source=ROUTER, **fields):
    protocol, payload = t.random.choice(((GRE, gre(packet)), (GRE, gre(packet, key=1)), (IPIP, packet)))
    return t.frame(ipv4(source, RAIL, protocol, payload, **fields))


def too_deep(t):
    return tunnelled(t, ipv4(ROUTER, RAIL, GRE, gre(t.segment())))


def ecn_conflict(t):
    return tunnelled(t, t.segment(tos=t.random.randrange(64) << 2), tos=3)


def not_ours(t):
    elsewhere = t.segment(destination=address("203.0.113.99"))
    return t.random.choice((
        lambda: t.frame(elsewhere),
        lambda: tunnelled(t, elsewhere),
        lambda: tunnelled(t, t.segment(destination=RAIL, ports=(1, 22))),
        lambda: t.frame(ipv4(CLIENT, STRANGER, ICMP, icmp(8, 0, 1, b""))),
    ))()


def no_service(t):
    other = t.random.choice((
        t.segment(ports=(4242, 80)),
        ipv4(CLIENT, WEB, UDP, udp(CLIENT, WEB, (1, 443), b"quic")),
        ipv4(CLIENT, GAME, UDP, udp(CLIENT, GAME, (1, 28000), b"")),
        ipv4(CLIENT, WEB, 50, bytes(16)),
    ))
    return t.random.choice((t.frame, lambda packet: tunnelled(t, packet)))(other)


def later_fragment(t):
    body = t.random.randbytes(t.random.randrange(24, 100))
    offset = t.random.randrange(2, 100)
    return t.frame(ipv4(CLIENT, WEB, UDP, body, fragment=offset))


def ignored(t):
    nobody = t.random.choice(("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"))
    return t.frame(t.random.choice((
        ipv4(address(nobody), WEB, ICMP, icmp(8, 0, 1, b"")),
        ipv4(CLIENT, WEB, ICMP, icmp(0, 0, 1, b"")),
        ipv4(CLIENT, WEB, ICMP, icmp(13, 0, 1, bytes(12))),
    )))


def bad_icmp(t):
    return t.frame(t.random.choice((
        ipv4(CLIENT, WEB, ICMP, icmp(8, 0, 1, b"data", checksum_error=0x0100)),
        ipv4(CLIENT, RAIL, ICMP, icmp(8, 0, 1, b"data")[: t.random.randrange(8)]),
    )))


def too_big(t):
    """Not to be fragmented, and from nobody who could be told."""
    nobody = address("127.0.0.1")
    big = tcp(nobody, WEB, (4242, 443), bytes(1600 - 24 - 40 + t.random.randrange(1, 100)), ACK)
    return ethernet(ipv4(nobody, WEB, TCP, big, fragment=DONT_FRAGMENT), 0x0800, t.tags())


def segmented(t):
    """Larger than a buffer: it arrives in several pieces."""
    big = tcp(CLIENT, WEB, (4242, 443), bytes(t.random.randrange(2100, 6000)), ACK)
    return ethernet(ipv4(CLIENT, WEB, TCP, big), 0x0800, t.tags())


def bad_ethernet(t):
    if t.random.random() < 0.5:
        return ethernet(t.segment(), 0x0800, ((0x8100, t.vlan or 1), (0x8100, 2), (0x8100, 3)))
    frame = ethernet(t.segment(), 0x0800, ((0x8100, t.vlan or 1),))
    return frame[: t.random.randrange(1, 18)]


def bad_vlan(t):
    wrong = (t.vlan % 4094) + 1
    tags = t.random.choice(((), ((0x8100, wrong),), ((0x8100, 0),), ((0x8100, wrong), (0x8100, t.vlan))))
    return ethernet(t.segment(), 0x0800, tags)


OTHERS = {
    "bad_ethernet": dropped("bad_ethernet", bad_ethernet),
    "cut": dropped("bad_ipv4", lambda t: cut(t, t.segment(), 0, 44)),
    "cut in tunnel": dropped("bad_ipv4", lambda t: tunnelled(t, t.segment()[: t.random.randrange(44)])),
    "version": dropped("bad_ipv4", lambda t: lie(t, version=t.random.choice((0, 5, 6, 15)))),
    "header length": dropped("bad_ipv4", lambda t: lie(t, header_len=t.random.choice((0, 4, 16)))),
    "total length": dropped("bad_ipv4", lambda t: lie(t, total=t.random.choice((0, 19, 999, 65535)))),
    "checksum": dropped("bad_ipv4_checksum", lambda t: lie(t, checksum_error=1 << t.random.randrange(16))),
    "ttl": dropped("ttl_zero", lambda t: lie(t, ttl=0)),
    "ttl in tunnel": dropped("ttl_zero", lambda t: tunnelled(t, t.segment(ttl=0))),
    "bad_ipv6": dropped("bad_ipv6", bad_ipv6),
    "bad_transport": dropped("bad_transport", bad_transport),
    "bad_gre": dropped("bad_gre", bad_gre),
    "bad_arp": dropped("bad_arp", bad_arp),
    "bad_icmp": dropped("bad_icmp", bad_icmp),
    "bad_fragment": dropped("bad_fragment", bad_fragment),
    "later fragment": dropped("fragment", later_fragment),
    "tunnel_source": dropped("tunnel_source", lambda t: tunnelled(t, t.segment(), source=STRANGER)),
    "tunnel_depth": dropped("tunnel_depth", too_deep),
    "ecn": dropped("ecn", ecn_conflict),
    "not_ours": dropped("not_ours", not_ours),
    "no_service": dropped("no_service", no_service),
    "no_backend": dropped("no_backend", lambda t: t.frame(t.segment(ASLEEP, (4242, 80)))),
    "icmp_ignored": dropped("icmp_ignored", ignored),
    "too_big": dropped("too_big", too_big),
    "multi_segment": dropped("multi_segment", segmented),
    "host": lambda t: (to_host(t), "host"),
    "host again": lambda t: (to_host(t), "host"),
    "arp": lambda t: (arp_for_us(t), "reply"),
    "bad_vlan": dropped("bad_vlan", bad_vlan),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--flows", type=int, default=20_000)
    parser.add_argument("--vlan", type=int)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    if args.vlan is None:
        del OTHERS["bad_vlan"]
    traffic = Traffic(args.flows, args.vlan, args.seed)

    flood = PINGS_ANSWERED + PINGS_REFUSED
    count = args.packets - flood
    # Every flow at least once, and a tenth of something else.
    rest = count - args.flows
    others = rest // 10
    tasks = list(range(args.flows))
    tasks += [traffic.random.randrange(args.flows) for _ in range(rest - others)]
    tasks += [None] * others
    traffic.random.shuffle(tasks)

    pcap = PcapWriter(os.path.join(args.dir, "in.pcap"))
    plan = []
    now = 10**18
    for index in tasks:
        roll = traffic.random.random()
        if index is None and roll < 0.02:
            frame, fate = traffic.ping()
        elif index is None:
            frame, fate = traffic.other()
        elif roll < 0.005:
            frame, fate = traffic.first_fragment(index)
        else:
            frame, fate = traffic.forwarded(index)
        pcap.write(now, frame)
        plan.append(fate)
        now += STEP
    now += PAUSE
    for number in range(flood):
        frame, _ = traffic.ping()
        pcap.write(now, frame)
        plan.append("reply" if number < PINGS_ANSWERED else "drop icmp_rate")
    pcap.close()
    with open(os.path.join(args.dir, "flows"), "w") as file:
        file.writelines(traffic.flow_line(flow) + "\n" for flow in traffic.flows)
    with open(os.path.join(args.dir, "plan"), "w") as file:
        file.writelines(fate + "\n" for fate in plan)
    assert len(set(traffic.flows)) == args.flows, "two flows are the same"


if __name__ == "__main__":
    main()
