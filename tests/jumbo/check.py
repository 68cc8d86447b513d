#!/usr/bin/env python3
"""What became of jumbo packets: reads two captures with scapy, prints JSON.

    check.py IN OUT

For every frame of OUT: the packet of IN it belongs to (its place, in order), the length of its outermost IP
packet, and how it left. Ends with an error when a checksum is wrong, or a byte of what a client sent is
another than it was.
"""

import json
import sys

from scapy.all import GRE, ICMP, IP, UDP, IPv6, PcapReader


def fail(text):
    raise SystemExit(f"check.py: {text}")


def network(frame):
    """The outermost IP packet."""
    for layer in (IP, IPv6):
        if layer in frame:
            return frame[layer]
    fail(f"no IP packet: {frame.summary()}")


def checked(packet):
    """The packet, once all its checksums are what scapy makes them."""
    again = packet.copy()
    layer = again
    while layer:
        if isinstance(layer, (IP, ICMP)) or isinstance(layer, UDP) and not fragment(packet):
            del layer.chksum
        # What an ICMP error quotes is as it was.
        layer = None if isinstance(layer, ICMP) else layer.payload
    if bytes(type(packet)(bytes(again))) != bytes(packet):
        fail(f"a checksum is wrong: {packet.summary()}")
    return packet


def fragment(packet):
    inner = packet[GRE].payload if GRE in packet else packet
    return isinstance(inner, IP) and (inner.frag or inner.flags.MF)


def compare(packet, sent):
    """How a packet left that came as `sent`; None if it is another's."""
    if ICMP in packet:
        quoted = packet[ICMP].payload
        if bytes(quoted)[:28] != bytes(sent)[:28]:
            return None
        return f"refused, {packet[ICMP].nexthopmtu} would fit"
    if GRE in packet:
        inner, to = packet[GRE].payload, f"in GRE to {packet.dst}"
        if bytes(inner) == bytes(sent):
            return to
        if isinstance(inner, IP) and fragment(packet) and inner.dst == sent.dst:
            start = inner.frag * 8
            if bytes(sent.payload)[start:start + len(inner.payload)] == bytes(inner.payload):
                return f"a piece from {start} {to}"
        return None
    if bytes(packet) == bytes(sent):
        return "as it came"
    # Direct return on layer 3 changes the destination, the DSCP and what sums them up.
    as_sent, now = sent.copy(), packet.copy()
    for each in (as_sent, now):
        each.dst, each.tos, each.chksum = "0.0.0.0", 0, 0
        each[UDP].chksum = 0
    return f"to {packet.dst}" if bytes(as_sent) == bytes(now) else None


def main():
    before, after = (list(PcapReader(path)) for path in sys.argv[1:])
    found = []
    for frame in after:
        packet = checked(network(frame))
        for number, sent in enumerate(map(network, before)):
            how = compare(packet, sent)
            if how:
                length = packet.len if isinstance(packet, IP) else packet.plen + 40
                if length != len(bytes(packet)):
                    fail(f"{length} bytes in the header, {len(bytes(packet))} in the frame")
                found.append({"packet": number, "ip": length, "how": how})
                break
        else:
            fail(f"nobody sent this: {packet.summary()}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
