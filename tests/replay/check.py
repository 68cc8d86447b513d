#!/usr/bin/env python3
"""An independent check of what `rail replay` made of the traffic of `generate.py`.

    check.py DIR CONFIG [--vlan VLAN]

reads from DIR what went in (in.pcap, plan, flows), what came out (out.pcap), the summary of
`rail replay --json` (books.json) and the answers of `rail trace --batch --json` for the flows (traces).
The outer headers of all packets are read with scapy; every twentieth packet is dissected by scapy from
the first byte to the last and built anew from its fields. Exit code 0 if all is right, else 1.
"""

import argparse
import collections
import json
import os
import sys
import time
import tomllib

from scapy.all import ARP, GRE, ICMP, IP, TCP, UDP, Dot1Q, Ether, checksum

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import maglev_oracle  # noqa: E402
from packets import read_pcap  # noqa: E402

RAIL = "192.0.2.10"
GATEWAY_MAC, ANY_MAC = "02:00:00:00:00:fe", "02:00:00:00:00:01"
ON_LINK = "192.0.2."
GUE_PORT = 6080
WHOLE = 20  # every so many packets are dissected to their last byte
PROTOCOLS = {"gre": 47, "ipip": 4, "gue": 17}

# RFC 6040, figure 4: [inner][outer] with Not-ECT, ECT(1), ECT(0), CE.
ECN = [[0, 0, 0, None], [1, 1, 1, 3], [2, 1, 2, 3], [3, 3, 3, 3]]


class Wrong(Exception):
    pass


def equal(what, found, expected):
    if found != expected:
        raise Wrong(f"{what} is {found!r}, expected {expected!r}")


class Checker:
    def __init__(self, directory, config, vlan):
        self.vlan = vlan
        self.services = {service["name"]: service for service in config["service"]}
        self.addresses = {
            (service["name"], backend["name"]): backend["address"]
            for service in config["service"]
            for backend in service["backend"]
        }
        with open(os.path.join(directory, "traces"), encoding="utf-8") as file:
            self.traces = [json.loads(line) for line in file]
        self.backends = collections.defaultdict(set)
        self.mac = None
        self.whole = 0

    def forwarded(self, sent, received, plan):
        """One packet to a backend: `plan` is its flow, and where in the received frame it was."""
        flow, outer_at, inner_at, length = map(int, plan)
        trace = self.traces[flow]
        service = self.services[trace["service"]]
        inner = received[inner_at : inner_at + length]

        # The link: our tag, our address, that of the next hop.
        link = 14 if self.vlan is None else 18
        frame = Ether(sent[:link])
        equal("source MAC", frame.src, self.mac or frame.src)
        self.mac = frame.src
        address = self.addresses[trace["service"], trace["backend"]]
        equal("next hop", frame.dst, ANY_MAC if address.startswith(ON_LINK) else GATEWAY_MAC)
        if self.vlan is not None:
            equal("tag", (frame[Dot1Q].vlan, frame[Dot1Q].prio, frame[Dot1Q].id), (self.vlan, 0, 0))
        equal("EtherType", int.from_bytes(sent[link - 2 : link], "big"), 0x0800)

        # The outer header.
        packet = sent[link:]
        ip = IP(packet[:20])
        equal("version and header length", (ip.version, ip.ihl), (4, 5))
        equal("outer addresses", (ip.src, ip.dst), (RAIL, address))
        equal("TTL", ip.ttl, 64)
        equal("flags, offset, ID", (str(ip.flags), ip.frag, ip.id), ("DF", 0, 0))
        equal("total length", ip.len, len(packet))
        equal("header checksum", checksum(packet[:20]), 0)
        encap = service.get("encap", "gre")
        equal("protocol", ip.proto, PROTOCOLS[encap])
        outer_tos = received[outer_at + 1] if outer_at >= 0 else inner[1]
        equal("DSCP and ECN", ip.tos, inner[1] & 0xFC | ECN[inner[1] & 3][outer_tos & 3])

        # What stands between the headers, then the packet as it came, byte for byte.
        header = {"gre": 4, "ipip": 0, "gue": 12}[encap]
        if encap == "gre" and "gre_key" in service:
            header = 8
            equal("GRE", packet[20:28].hex(), f"20000800{service['gre_key']:08x}")
        elif encap == "gre":
            equal("GRE", packet[20:24].hex(), "00000800")
        elif encap == "gue":
            udp = UDP(packet[20:28])
            equal("GUE port", udp.dport, GUE_PORT)
            equal("GUE source port", udp.sport >= 49152, True)
            equal("UDP length and checksum", (udp.len, udp.chksum), (len(packet) - 20, 0))
            equal("GUE header", packet[28:32].hex(), "00040000")
        equal("inner packet", packet[20 + header :].hex(), inner.hex())
        self.backends[flow].add(ip.dst)

    def dissected(self, sent, received, plan):
        """The same packet by scapy alone: every layer understood, and built anew from its fields."""
        frame = Ether(sent)
        ip = frame[IP]
        rebuilt = ip.copy()
        del rebuilt.len, rebuilt.chksum
        equal("outer header as scapy builds it", bytes(rebuilt)[:20].hex(), bytes(ip)[:20].hex())
        inner_at = int(plan[2])
        if GRE in frame:
            equal("what GRE carries", type(frame[GRE].payload), IP)
        layer = frame.getlayer(IP, 2)
        if layer is not None:
            expected = IP(received[inner_at : inner_at + int(plan[3])])
            equal("inner packet in scapy's words", layer.summary(), expected.summary())
        self.whole += 1

    def answered(self, sent, received):
        """The rail's own answers, to ARP and to echo requests."""
        question, answer = Ether(received), Ether(sent)
        equal("to whom", answer.dst, question.src)
        equal("source MAC", answer.src, self.mac or answer.src)
        if ARP in question:
            equal("operation", answer[ARP].op, 2)
            equal("whose", (answer[ARP].psrc, answer[ARP].hwsrc), (RAIL, answer.src))
            asker = (question[ARP].psrc, question[ARP].hwsrc)
            equal("asked by", (answer[ARP].pdst, answer[ARP].hwdst), asker)
            return
        asked, said = question[IP], answer[IP]
        equal("addresses", (said.src, said.dst), (asked.dst, asked.src))
        equal("ICMP type", (said[ICMP].type, said[ICMP].code), (0, 0))
        for field in ("id", "seq"):
            equal(field, getattr(said[ICMP], field), getattr(asked[ICMP], field))
        equal("TTL", said.ttl, 64)
        wire = bytes(said)
        equal("length", said.len, len(wire))
        body = asked.ihl * 4
        equal("header checksum", checksum(wire[:body]), 0)
        equal("ICMP checksum", checksum(wire[body:]), 0)
        length = asked.len
        equal("payload", wire[body + 8 :], bytes(asked)[body + 8 : length])


def oracle_agrees(config_path, checker):
    """All answers of `rail trace` by a table and a hash computed here."""
    key, tables = maglev_oracle.expected_tables(config_path)
    for trace in checker.traces:
        built = tables[trace["service"]]
        source, sport = trace["source"].rsplit(":", 1)
        destination, dport = trace["destination"].rsplit(":", 1)
        ports = int(sport), int(dport)
        if checker.services[trace["service"]].get("affinity") == "source":
            ports = None, None
        protocol = {"tcp": 6, "udp": 17}[trace["protocol"]]
        hash_ = maglev_oracle.flow_hash(key, protocol, source, ports[0], destination, ports[1])
        slot = maglev_oracle.slot_of(hash_, built["m"])
        equal("slot", trace["slot"], slot)
        equal("backend", trace["backend"], built["backends"][built["slots"][slot]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("config")
    parser.add_argument("--vlan", type=int)
    args = parser.parse_args()
    started = time.monotonic()
    # What TCP and UDP carry here is random bytes, not the protocol of their ports.
    TCP.payload_guess, UDP.payload_guess = [], []
    path = lambda name: os.path.join(args.dir, name)  # noqa: E731
    with open(args.config, "rb") as file:
        config = tomllib.load(file)
    checker = Checker(args.dir, config, args.vlan)
    oracle_agrees(args.config, checker)

    with open(path("plan"), encoding="utf-8") as file:
        plan = [line.split() for line in file]
    sent = read_pcap(path("out.pcap"))
    fates = collections.Counter()
    drops = collections.Counter()
    packets = 0
    for received, (fate, *rest) in zip(read_pcap(path("in.pcap")), plan, strict=True):
        packets += 1
        fates[fate] += 1
        try:
            if fate == "drop":
                drops[rest[0]] += 1
            elif fate == "forward":
                frame = next(sent, None) or b""
                checker.forwarded(frame, received, rest)
                if packets % WHOLE == 0:
                    checker.dissected(frame, received, rest)
            elif fate == "reply":
                checker.answered(next(sent, None) or b"", received)
        except Exception as error:
            raise SystemExit(f"packet {packets} ({fate} {' '.join(rest)}): {error!r}") from error
    left = sum(1 for _ in sent)
    equal("packets sent beyond those expected", left, 0)

    # The books: what `rail replay` says, against what the traffic was made for.
    with open(path("books.json"), encoding="utf-8") as file:
        books = json.load(file)
    equal("drops", books["drops"], dict(drops))
    equal("dropped", books["dropped"], fates["drop"])
    equal("rx", books["rx"], packets)
    equal("tx", books["tx"], fates["forward"] + fates["reply"])
    equal("to_host", books["to_host"], fates["host"])
    equal("held", books["held"], 0)
    into = books["rx"] + books["generated"]
    equal("balance", books["tx"] + books["to_host"] + books["dropped"] + books["held"], into)

    # One backend per flow, every flow seen.
    equal("flows", len(checker.backends), len(checker.traces))
    torn = [flow for flow, backends in checker.backends.items() if len(backends) > 1]
    equal("flows with several backends", torn, [])
    seconds = time.monotonic() - started
    print(
        f"{packets} packets, {len(checker.backends)} flows: {fates['forward']} forwarded, "
        f"{fates['reply']} answered, {fates['host']} to the host, {fates['drop']} dropped for "
        f"{len(drops)} reasons; {checker.whole} dissected to the last byte; {seconds:.0f} s"
    )


if __name__ == "__main__":
    try:
        main()
    except Wrong as error:
        raise SystemExit(str(error))
