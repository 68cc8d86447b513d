#!/usr/bin/env python3
"""An independent implementation of rustyrail's Maglev tables and flow hash, to check it by.

    rail table --config FILE --json | maglev_oracle.py FILE        compare slot by slot
    maglev_oracle.py FILE --table TABLE.json                       the same, from a file
    maglev_oracle.py FILE --flow web 6 198.51.100.7 4242 203.0.113.10 443
                                                                   tag, slot and backend of one flow
    maglev_oracle.py FILE --moved OTHER                            slots whose backend differs, a line per service
    maglev_oracle.py FILE --live OTHER web 17 198.51.100.7 1024 2023 203.0.113.10 443
                                                                   connections from so many ports, each where FILE
                                                                   sends it: which ones OTHER cuts or leaves elsewhere
    maglev_oracle.py --self-test                                   published vectors

Exit codes: 0 all equal, 1 something differs, 2 usage. Written from the description of the algorithms
alone, slowly and plainly: SipHash from its paper, permutations multiplied out, credits added up.
Needs Python 3.11 and nothing else.
"""

import argparse
import ipaddress
import json
import sys
import tomllib

MASK = (1 << 64) - 1
TABLE_SIZE = 65537
WEIGHT = 100
HAVE_PORTS = (6, 17, 33, 132, 136)  # TCP, UDP, DCCP, SCTP, UDP-Lite


# --- SipHash -------------------------------------------------------------------------------------


def rotl(value, bits):
    return (value << bits | value >> (64 - bits)) & MASK


def sip_rounds(v, count):
    for _ in range(count):
        v[0] = (v[0] + v[1]) & MASK
        v[2] = (v[2] + v[3]) & MASK
        v[1] = rotl(v[1], 13) ^ v[0]
        v[3] = rotl(v[3], 16) ^ v[2]
        v[0] = rotl(v[0], 32)
        v[2] = (v[2] + v[1]) & MASK
        v[0] = (v[0] + v[3]) & MASK
        v[1] = rotl(v[1], 17) ^ v[2]
        v[3] = rotl(v[3], 21) ^ v[0]
        v[2] = rotl(v[2], 32)


def siphash(c_rounds, d_rounds, k0, k1, data):
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for start in range(0, len(padded), 8):
        block = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= block
        sip_rounds(v, c_rounds)
        v[0] ^= block
    v[2] ^= 0xFF
    sip_rounds(v, d_rounds)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def key_halves(text):
    key = bytes.fromhex(text)
    if len(key) != 16:
        raise ValueError(f"hash_key has {len(key)} bytes, not 16")
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


# --- Maglev --------------------------------------------------------------------------------------


def offset_and_skip(m, key, name):
    k0, k1 = key
    data = name.encode()
    return siphash(2, 4, k0, k1, data) % m, siphash(2, 4, k1, k0, data) % (m - 1) + 1


def populate(m, backends):
    """Slots of a table; `backends` are (offset, skip, weight) in turn order, all weights positive."""
    if not backends:
        return []
    largest = max(weight for _, _, weight in backends)
    slots = [None] * m
    tried = [0] * len(backends)
    credit = [0] * len(backends)
    filled = 0
    while True:
        for index, (offset, skip, weight) in enumerate(backends):
            credit[index] += weight
            if credit[index] < largest:
                continue
            credit[index] -= largest
            while True:
                slot = (offset + tried[index] * skip) % m
                tried[index] += 1
                if slots[slot] is None:
                    break
            slots[slot] = index
            filled += 1
            if filled == m:
                return slots


def table(m, key, backends):
    """What `rail table --json` should say for {name: weight}: indices are into all names, sorted."""
    names = sorted(backends, key=str.encode)
    alive = [index for index, name in enumerate(names) if backends[name] > 0]
    turns = [(*offset_and_skip(m, key, names[index]), backends[names[index]]) for index in alive]
    slots = [alive[turn] for turn in populate(m, turns)]
    shares = {name: 0 for name in names}
    for slot in slots:
        shares[names[slot]] += 1
    return {
        "m": m,
        "digest": digest(m, names, slots),
        "backends": names,
        "shares": shares,
        "slots": slots,
    }


def digest(m, names, slots):
    owners = sorted(set(slots))
    data = m.to_bytes(4, "little")
    for owner in owners:
        name = names[owner].encode()
        data += len(name).to_bytes(4, "little") + name
    rank = {owner: rank for rank, owner in enumerate(owners)}
    data += b"".join(rank[slot].to_bytes(2, "little") for slot in slots)
    return f"{siphash(2, 4, 0, 0, data):016x}"


# --- Flows ---------------------------------------------------------------------------------------


def flow_hash(key, protocol, source, sport, destination, dport):
    """SipHash-1-3 over protocol, addresses and ports in wire order; None ports make the 3-tuple."""
    data = bytes([protocol])
    data += ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if sport is not None:
        ports = (sport, dport) if protocol in HAVE_PORTS else (0, 0)
        data += b"".join(port.to_bytes(2, "big") for port in ports)
    return siphash(1, 3, *key, data)


def slot_of(hash_, m):
    return (hash_ >> 32) * m >> 32


def live_connections(key, before, after, flows):
    """What becomes of connections that are pinned where `before` sends them."""
    counts = {"live": 0, "pinned_elsewhere": 0, "cut": 0}
    for flow in flows:
        hash_ = flow_hash(key, *flow)
        pinned, chosen = (
            built["backends"][built["slots"][slot_of(hash_, built["m"])]] for built in (before, after)
        )
        counts["live"] += 1
        if pinned not in after["backends"]:
            counts["cut"] += 1
        elif pinned != chosen:
            counts["pinned_elsewhere" if after["track"] else "cut"] += 1
    return counts


# --- The configuration and the comparison --------------------------------------------------------


def expected_tables(path):
    with open(path, "rb") as file:
        config = tomllib.load(file)
    pool = config.get("pool", {})
    m, key = pool.get("table_size", TABLE_SIZE), key_halves(pool["hash_key"])
    tables = {}
    for service in config.get("service", []):
        backends = {}
        for backend in service.get("backend", []):
            up = backend.get("state", "up") == "up"
            backends[backend["name"]] = backend.get("weight", WEIGHT) if up else 0
        tables[service["name"]] = table(m, key, backends)
        tables[service["name"]]["affinity"] = service.get("affinity", "flow")
        tables[service["name"]]["track"] = service.get("track", True)
    return key, tables


def differences(expected, found):
    """One line for every way in which `rail table --json` differs."""
    services = {service["name"]: service for service in found["services"]}
    if len(services) != len(found["services"]):
        yield "a service appears twice"
    for name in sorted(expected.keys() | services.keys()):
        if name not in services or name not in expected:
            yield f"{name}: only in {'the configuration' if name in expected else 'the output'}"
            continue
        want, have = expected[name], services[name]
        for field in ("m", "digest", "backends", "shares"):
            if want[field] != have.get(field):
                yield f"{name}: {field} is {have.get(field)!r}, expected {want[field]!r}"
        slots = have.get("slots", [])
        if len(slots) != len(want["slots"]):
            yield f"{name}: {len(slots)} slots, expected {len(want['slots'])}"
        wrong = [s for s, pair in enumerate(zip(want["slots"], slots)) if pair[0] != pair[1]]
        if wrong:
            first = wrong[0]
            yield (
                f"{name}: {len(wrong)} slots differ, the first is slot {first}: "
                f"{slots[first]}, expected {want['slots'][first]}"
            )


def self_test():
    def check(what, found, expected):
        if found != expected:
            raise SystemExit(f"self-test: {what} is {found!r}, expected {expected!r}")

    # The SipHash paper's example, and the first vectors of its reference implementation.
    key = key_halves("000102030405060708090a0b0c0d0e0f")
    check("SipHash-2-4", siphash(2, 4, *key, bytes(range(15))), 0xA129CA6149BE45E5)
    check("SipHash-2-4 of nothing", siphash(2, 4, *key, b""), 0x726FDB47DD0E0E31)
    check("SipHash-1-3 of nothing", siphash(1, 3, *key, b""), 0xABAC0158050FC4DC)
    check("SipHash-1-3 of a byte", siphash(1, 3, *key, b"\0"), 0xC9F49BF37D57CA93)

    # The Maglev paper's example.
    three = [(3, 4, 1), (0, 2, 1), (3, 1, 1)]
    check("the paper's table", populate(7, three), [1, 0, 1, 0, 2, 2, 0])
    check("without B1", populate(7, [three[0], three[2]]), [0, 0, 0, 0, 1, 1, 1])
    check("weights 1 and 2", populate(7, [(0, 1, 1), (0, 1, 2)]), [1, 0, 1, 1, 0, 1, 1])
    check("nobody", populate(7, []), [])

    built = table(251, key, {"b": 100, "a": 100, "gone": 0})
    check("names", built["backends"], ["a", "b", "gone"])
    check("shares", built["shares"], {"a": 126, "b": 125, "gone": 0})
    output = {"services": [{"name": "web", **json.loads(json.dumps(built))}]}
    check("equal tables", list(differences({"web": built}, output)), [])
    output["services"][0]["slots"][17] ^= 1
    check("one wrong slot", len(list(differences({"web": built}, output))), 1)
    output["services"].clear()
    check("no output", len(list(differences({"web": built}, output))), 1)
    print("self-test passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", help="the rail's configuration file")
    parser.add_argument("--table", default="-", help="output of `rail table --json`; default: stdin")
    names = ("SERVICE", "PROTOCOL", "SOURCE", "PORT", "DESTINATION", "PORT")
    parser.add_argument("--flow", nargs=6, metavar=names, help="look one flow up instead")
    parser.add_argument("--moved", metavar="OTHER", help="count the slots whose backend differs there")
    live = ("OTHER", "SERVICE", "PROTOCOL", "SOURCE", "FIRST", "LAST", "DESTINATION", "PORT")
    parser.add_argument("--live", nargs=8, metavar=live, help="connections that OTHER cuts or moves")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if args.config is None:
        parser.error("which configuration?")
    key, expected = expected_tables(args.config)
    if args.flow:
        service, protocol, source, sport, destination, dport = args.flow
        built = expected[service]
        ports = int(sport), int(dport)
        if built["affinity"] == "source":
            ports = None, None
        hash_ = flow_hash(key, int(protocol), source, ports[0], destination, ports[1])
        slot = slot_of(hash_, built["m"])
        backend = built["backends"][built["slots"][slot]] if built["slots"] else None
        print(json.dumps({"tag": hash_ >> 32, "slot": slot, "backend": backend}))
        return
    if args.live:
        other, service, protocol, source, first, last, destination, dport = args.live
        _, others = expected_tables(other)
        print(json.dumps(live_connections(
            key, expected[service], others[service],
            [(int(protocol), source, sport, destination, int(dport)) for sport in range(int(first), int(last) + 1)],
        )))
        return
    if args.moved:
        _, other = expected_tables(args.moved)
        for service in sorted(expected.keys() & other.keys()):
            pair = expected[service], other[service]
            owners = [[built["backends"][slot] for slot in built["slots"]] for built in pair]
            print(json.dumps({"service": service, "moved": sum(map(str.__ne__, *owners))}))
        return
    with sys.stdin if args.table == "-" else open(args.table, encoding="utf-8") as file:
        found = json.load(file)
    wrong = list(differences(expected, found))
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        raise SystemExit(1)
    slots = sum(len(built["slots"]) for built in expected.values())
    print(f"{len(expected)} services, {slots} slots: all equal")


if __name__ == "__main__":
    main()
