"""The report of `benches/side-by-side`: tables, benches/README.md and its plot."""

from math import log10
from statistics import median

# What others measured on the same kind of machine without a NIC, ns per packet by flows; whole path
# without input for VPP, the XDP program alone for Katran.
PEERS = {
    "VPP lb, GRE": {1: 34, 1_000: 35, 100_000: 40, 1_000_000: 71},
    "Katran, XDP": {1: 73, 1_000: 94, 100_000: 416, 1_000_000: 531},
}
# What each scenario may cost at most, in macswaps of testpmd.
AIMS = {
    "hit, 1 flow": 2.4,
    "hit, 100,000 flows": 2.8,
    "hit, 1,000,000 flows": 3.0,
    "hit, 10,000,000 flows": 4.2,
    "flood, every packet a new flow": 5.0,
    "connectionless, 1 flow": 2.3,
    "connectionless, 1,000,000 flows": 2.3,
}


def of(values: list[float]) -> dict:
    return {"median": median(values), "least": min(values), "most": max(values)}


def spread(figure: dict, digits: int = 2) -> str:
    return f"{figure['median']:.{digits}f} ({figure['least']:.{digits}f} to {figure['most']:.{digits}f})"


def rows(header: list[str], cells: list[list[str]]) -> list[str]:
    """A Markdown table that reads well as text too; all columns but the first are numbers."""
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]

    def line(row):
        padded = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:]), ""])
    return [line(header), rule, *map(line, cells)]


def headline(report: dict) -> list[str]:
    """Every figure that has an aim."""
    cells = []
    ratios = {result["name"]: result["ratio"] for result in report["results"]}
    for scenario, aim in AIMS.items():
        if scenario in ratios:
            cells.append([f"{scenario}, to macswap", spread(ratios[scenario]), f"at most {aim:.1f}"])
    derived = report["derived"]
    if "mixed_less_tcp" in derived:
        cells.append(["TCP and UDP mixed less TCP alone, 1,000,000 flows, to macswap",
                      spread(derived["mixed_less_tcp"]), "at most 0.3"])
    if "ipv6_to_ipv4" in derived:
        cells.append(["IPv6 to IPv4, 1,000,000 flows", spread(derived["ipv6_to_ipv4"]), "at most 1.3"])
    if "scaling" in report:
        cells.append(["two workers to one", spread(report["scaling"]["ratio"]), "at least 1.9"])
    if "swaps" in report:
        swaps = report["swaps"]
        cells.append([f"longest of {swaps['swaps_each']} rounds with a swap, us", spread(of(swaps["longest_us"]), 1),
                      "at most 20"])
    if "latency" in report:
        latency = report["latency"]
        tenth, rings = (latency["rates"][0][side]["undisturbed"]["p99_us"] for side in ("rail", "wire"))
        bound = latency["burst_us"] + latency["empty_poll_us"]
        cells.append(["p99 of latency at 10 % load less that of the rings alone, us",
                      f"{tenth - rings:.2f} ({tenth:.2f} less {rings:.2f})",
                      f"a burst and a poll: {bound:.2f}"])
    if "idle" in report:
        idle = report["idle"]
        cells.append(["CPU of an idle worker, %", spread(of(idle["cpu_percent"]), 1), "at most 5"])
        cells.append(["full rate after idleness, us", spread(of(idle["full_us"]), 0), "at most 1000"])
    return rows(["what", "figure", "aim"], cells)


def traffic(report: dict) -> list[str]:
    cells = [[result["name"], f"{result['ns']['median']:.1f}", f"{result['path_ns']['median']:.1f}",
              f"{result['generator_ns']['median']:.1f}", spread(result["ratio"])]
             for result in report["results"]]
    return rows(["traffic", "ns/packet", "above port", "generator", "to macswap"], cells)


def scaling(report: dict) -> list[str]:
    figures = report["scaling"]
    return rows(["workers", "million packets per CPU-second"], [
        ["one", spread(figures["one_mpps"], 1)],
        ["two, each on a core, together", spread(figures["two_mpps"], 1)],
        ["two to one", spread(figures["ratio"])],
    ])


def quantiles(figures: dict) -> list[str]:
    return [f"{figures[key]:.2f}" for key in ("p50_us", "p99_us", "p99_9_us", "max_us")]


def latency(report: dict) -> list[str]:
    cells = []
    for rate in report["latency"]["rates"]:
        for side, label in (("rail", "rail"), ("wire", "rings alone")):
            row = rate[side]
            cells.append([f"{rate['share']} %, {label}", f"{row['mpps']:.2f}",
                          *quantiles(row["undisturbed"]), f"{100 * row['undisturbed_slices'] / row['slices']:.0f} %",
                          f"{row['all']['p99_us']:.2f}", f"{row['all']['p99_9_us']:.2f}"])
    return rows(["load", "Mpps", "p50 us", "p99 us", "p99.9 us", "max us", "undisturbed",
                 "p99 of all", "p99.9 of all"], cells)


def idle(report: dict) -> list[str]:
    figures = report["idle"]

    def row(label, values, digits):
        return [label, *(f"{value:.{digits}f}" for value in of(values).values())]

    return rows(["what", "median", "least", "most"], [
        row("CPU of an idle worker, %", figures["cpu_percent"], 1),
        row("first packet out after, us", figures["first_us"], 0),
        row("full rate after, us", figures["full_us"], 0),
        row("that rate, Mpps", figures["full_mpps"], 1),
    ])


def swaps(report: dict) -> list[str]:
    cells = [[row["rounds"], f"{row['times']['count']:,}", *quantiles(row["times"])]
             for row in report["swaps"]["rows"]]
    return rows(["rounds", "number", "p50 us", "p99 us", "p99.9 us", "max us"], cells)


def summary(report: dict) -> list[str]:
    """For a terminal."""
    lines = [f"testpmd: io {spread(report['io_ns'], 1)}, macswap {spread(report['macswap_ns'], 1)} ns per packet",
             "", *traffic(report), "", *headline(report)]
    for section, table in (("scaling", scaling), ("latency", latency), ("idle", idle), ("swaps", swaps)):
        if section in report:
            lines += ["", *table(report)]
    return lines


def readme(report: dict) -> str:
    lat, swapped = report["latency"], report["swaps"]
    return "\n".join([
        "# Benchmarks",
        "",
        "Written by `make bench`; measured **without a NIC**. No figure here says what a network card or its"
        " driver adds.",
        "",
        f"{report['machine']}; packet memory on {report['packet_memory']}. Figures are medians of"
        f" {report['rounds']} rounds with the least and the most in parentheses: a wide spread is a noisy"
        " machine. In every round testpmd and rail are measured in turn on `net_null` ports with 64-byte"
        f" packets. testpmd takes {spread(report['io_ns'], 1)} ns per packet for io,"
        f" {spread(report['macswap_ns'], 1)} ns for macswap.",
        "",
        "| command | what it measures |",
        "|---|---|",
        "| `make bench` | everything, and writes this page |",
        "| `benches/side-by-side RAIL` | rail beside testpmd, and all tables below |",
        "| `rail bench [--only NAME]` | the packet path by traffic; `--list` names what there is |",
        "| `rail bench --workers 2` | the same on two cores at once |",
        "| `rail bench --latency`, `--idle`, `--swaps` | the last three tables |",
        "| `cargo bench --bench tables`, `--bench store` | tables, hashes and the store alone |",
        "",
        "## What there are aims for",
        "",
        *headline(report),
        "",
        "![ns per packet against flows](flows.svg)",
        "",
        "The peers' lines are figures of other runs on the same kind of machine: VPP's lb plugin without its"
        " input, Katran's XDP program alone. They are there for scale, not as a race.",
        "",
        "## The packet path",
        "",
        *traffic(report),
        "",
        "- ns/packet: CPU time of the worker's thread, reception and transmission on the port, service match"
        " among 100 services and all counters included.",
        "- above port: what of that is not receiving and sending alone on the same port.",
        "- generator: what writing the headers of random flows after reception costs, as `net_null` brings"
        " none; measured alone in the same round, and taken off ns/packet.",
        "- to macswap: ns/packet over testpmd's macswap in the same round. testpmd touches one line of a"
        " packet and no table; of the figures here the ratio depends least on the machine.",
        "- hit: known TCP connections, IPv4 in GRE over IPv4, senders in random order; the other names say what"
        " differs.",
        "",
        "## Two workers",
        "",
        *scaling(report),
        "",
        "Known connections, 1,000,000 flows each. Packets per CPU-second are summed over the workers, which run"
        " at the same time; one and two are measured in turn in every round.",
        "",
        "## Latency",
        "",
        *latency(report),
        "",
        f"From the sender's ring to the receiver's, by the time-stamp counter. The load is a share of"
        f" {lat['peak_mpps']:.1f} Mpps, at which a worker between rings finds a whole burst in every poll; such a"
        f" burst takes {lat['burst_us']:.2f} us, a round with a single packet {lat['single_us']:.2f} us, a poll"
        f" that finds nothing {lat['empty_poll_us']:.3f} us. At"
        " 10 % a packet waits for the poll it comes in and leaves with the next one; nothing waits for"
        " a burst to fill. rings alone: the same with a thread that only hands packets on, which is what"
        " the two rings and the sender's own loop take. undisturbed: slices of 1 ms in which the kernel left"
        " both threads their cores; the columns before it are about these, those after it about all.",
        "",
        "## Idle",
        "",
        *idle(report),
        "",
        "With idle back-off, as by default. All that the worker takes arrives after a second without a packet;"
        " times count from the first of them. The rate is full at the end of the first 100 us that reach nine"
        " tenths of the rate that follows.",
        "",
        "## Swaps",
        "",
        *swaps(report),
        "",
        "How long a round of the worker's loop takes that forwards at full rate with a burst of 32 in each, while"
        f" another core compiles and publishes tables in which one service differs, {swapped['swaps_each']} times in"
        f" each of {len(swapped['longest_us'])} measurements. The longest round with a swap of each took"
        f" {spread(of(swapped['longest_us']), 1)} us. The kernel's interrupts are in all rows alike: its clock ticks"
        " take 10 us and more in a virtual machine, and now and then one falls into a swap. Rounds in which it"
        " gave the worker's core to another thread are in none of them:"
        f" {swapped['preempted_with_swaps']} with swaps, {swapped['preempted_without']} without.",
        "",
    ])


def svg(report: dict) -> str:
    """ns per packet against flows, both on logarithmic scales."""
    width, height, left, right, top, bottom = 640, 400, 60, 20, 20, 50
    least, most = 5, 1000
    ours = {r["flows"]: r["ns"]["median"] for r in report["results"] if r["scenario"] == "hit"}
    series = {"rustyrail, GRE, RX and TX included": ours, **PEERS}

    def x(flows):
        return left + log10(flows) / 7 * (width - left - right)

    def y(ns):
        share = (log10(ns) - log10(least)) / (log10(most) - log10(least))
        return height - bottom - share * (height - bottom - top)

    def text(at_x, at_y, words, anchor="start", more=""):
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for ns in (5, 10, 20, 50, 100, 200, 500, 1000):
        parts.append(f'<path d="M{left} {y(ns):.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(text(left - 6, y(ns) + 4, ns, "end"))
    for power, words in ((0, "1"), (3, "1k"), (5, "100k"), (6, "1M"), (7, "10M")):
        parts.append(text(x(10 ** power), height - bottom + 18, words, "middle"))
    parts.append(text(width / 2, height - 8, "flows", "middle"))
    parts.append(text(14, height / 2, "ns per packet", "middle",
                      f' transform="rotate(-90 14 {height / 2})"'))
    macswap = report["macswap_ns"]["median"]
    parts.append(f'<path d="M{left} {y(macswap):.1f}H{width - right}" stroke="#888" stroke-dasharray="4"/>')
    legend = [("testpmd macswap", "#888", ' stroke-dasharray="4"')]
    for (label, points), colour in zip(series.items(), ("#c33", "#36c", "#693")):
        points = sorted(points.items())
        line = " ".join(f"{x(f):.1f},{y(ns):.1f}" for f, ns in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(f):.1f}" cy="{y(ns):.1f}" r="3" fill="{colour}"/>' for f, ns in points]
        legend.append((label, colour, ' stroke-width="2"'))
    # In the corner that stays empty: nobody needs hundreds of nanoseconds for one flow.
    for row, (label, colour, style) in enumerate(reversed(legend)):
        at = top + 20 + 18 * row
        parts.append(f'<path d="M{left + 12} {at}h24" stroke="{colour}"{style}/>')
        parts.append(text(left + 44, at + 4, label))
    return "\n".join([*parts, "</svg>", ""])
