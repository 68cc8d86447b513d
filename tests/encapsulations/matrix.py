"""Every way a packet can reach a backend: its configuration, its traffic, and what has to come out."""

import collections
import ipaddress

RAIL4, RAIL6 = "192.0.2.10", "2001:db8:2::10"
ENTROPY4, ENTROPY6 = "10.77.0.0/20", "2001:db8:77::/64"
VIP4, VIP6 = "203.0.113.10", "2001:db8:10::10"
GATEWAY_MAC = "02:00:00:00:00:fe"
HASH_KEY = "000102030405060708090a0b0c0d0e0f"
WEIGHTS = (100, 50, 250, 100)

# `inner` and `outer` are IP versions; `port` tells the services of one VIP apart.
Way = collections.namedtuple("Way", "name inner outer encap options port")


def ways():
    found = []

    def add(name, inner, outer, encap, **options):
        found.append(Way(name, inner, outer, encap, options, 1001 + len(found)))

    for inner in (4, 6):
        for outer in (4, 6):
            both = f"{inner}in{outer}"
            add(f"gre-{both}", inner, outer, "gre")
            add(f"gre-key-{both}", inner, outer, "gre", gre_key=0xFEED0000 | inner << 4 | outer)
            add(f"ipip-{both}", inner, outer, "ipip")
            add(f"gue-{both}", inner, outer, "gue")
            add(f"gue-port-{both}", inner, outer, "gue", gue_port=6000 + inner * 10 + outer)
        add(f"l3dsr-{inner}", inner, inner, "l3dsr", dscp=inner * 7)
        add(f"l2dsr-{inner}", inner, inner, "l2dsr")
    return found


def backend_address(way, number):
    """Backend `number` from 1; one that is reached by its MAC address is on the link."""
    host = way.port % 100 * 4 + number
    if way.encap == "l2dsr":
        return f"192.0.2.{100 + host % 100}" if way.outer == 4 else f"2001:db8:2::{host:x}"
    return f"198.18.{way.port % 100}.{number}" if way.outer == 4 else f"2001:db8:18:{host:x}::1"


def backend_mac(way, number):
    return f"02:00:00:00:{way.port % 256:02x}:{number:02x}"


def configuration(entropy):
    text = f"""[node]
name = "rail-a"
workers = [0]
control_core = 1

[[port]]
device = "net_pcap0"
address = ["{RAIL4}/24", "{RAIL6}/64"]
gateway = ["192.0.2.1", "2001:db8:2::1"]
mtu = 1600

[[neighbor]]
address = "192.0.2.1"
mac = "{GATEWAY_MAC}"

[[neighbor]]
address = "2001:db8:2::1"
mac = "{GATEWAY_MAC}"

[pool]
hash_key = "{HASH_KEY}"
"""
    if entropy:
        text += f'[tunnel]\nentropy_prefix = "{ENTROPY4}"\nentropy_prefix6 = "{ENTROPY6}"\n'
    for way in ways():
        text += f'\n[[service]]\nname = "{way.name}"\nvip = "{VIP4 if way.inner == 4 else VIP6}"\n'
        text += f'port = {way.port}\nencap = "{way.encap}"\n'
        text += "".join(f"{key} = {value}\n" for key, value in way.options.items())
        for number, weight in enumerate(WEIGHTS, 1):
            text += f'[[service.backend]]\nname = "{way.name}-{number}"\nweight = {weight}\n'
            text += f'address = "{backend_address(way, number)}"\n'
        if way.encap == "l2dsr":
            for number in range(1, len(WEIGHTS) + 1):
                text += f'[[neighbor]]\naddress = "{backend_address(way, number)}"\n'
                text += f'mac = "{backend_mac(way, number)}"\n'
    return text


def sources(way, entropy):
    """The network an outer source has to be of."""
    if way.outer == 4:
        return ipaddress.ip_network(ENTROPY4 if entropy else RAIL4)
    return ipaddress.ip_network(ENTROPY6 if entropy else RAIL6)
