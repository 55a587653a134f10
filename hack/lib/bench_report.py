"""The report page of hack/bench: tables, plots over the number of connections, and the facts of the machine."""

import html, json, os, platform, subprocess, time
from pathlib import Path

PLOTS = [
    ("create", "cpu_ms_each", "CPU of a first check, ms"),
    ("steady", "cpu_ms_each", "CPU of a settled check, ms"),
    ("steady, TLS", "cpu_ms_each", "CPU of a settled check over TLS, ms"),
    ("create", "seconds", "Until all are Ready, s"),
    ("steady", "resident_mib", "Memory at rest, MiB"),
]


def machine(binary):
    """What figures depend on, beside the code."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(open("/proc/meminfo").readline().split()[1]) // 2**20
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit,
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory} GiB",
        "kernel": platform.release(),
        "load at the end": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "binary": f"{Path(binary).stat().st_size / 2**20:.1f} MiB",
    }


def plot(title, points):
    """One line over the number of connections, on a logarithmic axis."""
    import math

    top = max(value for _, value in points) * 1.15 or 1
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])
    x = lambda size: 50 + 330 * ((math.log10(size) - low) / ((high - low) or 1))
    y = lambda value: 170 - 140 * value / top
    line = " ".join(f"{x(size):.0f},{y(value):.0f}" for size, value in points)
    marks = "".join(
        f'<circle cx="{x(size):.0f}" cy="{y(value):.0f}" r="3"/>'
        f'<text x="{x(size):.0f}" y="{y(value) - 8:.0f}">{value:g}</text>'
        f'<text x="{x(size):.0f}" y="188">{size}</text>'
        for size, value in points
    )
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 420 200" width="420">'
        f'<path d="M50 170H400" stroke="#999"/><polyline points="{line}" fill="none" stroke="#06c"/>{marks}</svg></figure>'
    )


def table(scene, sizes, results):
    fields = list(dict.fromkeys(field for size in sizes for field in results[size].get(scene, {})))
    head = "".join(f"<th>{html.escape(field)}</th>" for field in fields)
    row = lambda size: "".join(f"<td>{results[size].get(scene, {}).get(field, '')}</td>" for field in fields)
    body = "".join(f"<tr><th>{size}</th>{row(size)}</tr>" for size in sizes if scene in results[size])
    return f"<h2>{html.escape(scene)}</h2><table><tr><th>connections</th>{head}</tr>{body}</table>"


def write_report(folder, results, binary):
    folder.mkdir(parents=True, exist_ok=True)
    facts, sizes = machine(binary), sorted(results)
    (folder / "bench.json").write_text(json.dumps({"machine": facts, "results": results}, indent=1))
    scenes = list(dict.fromkeys(scene for size in sizes for scene in results[size]))
    plots = []
    for scene, field, title in PLOTS:
        points = [(size, results[size][scene][field]) for size in sizes if scene in results[size]]
        if points:
            plots.append(plot(title, points))
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items())
    style = "body{font:14px sans-serif;margin:2em}td,th{padding:2px 8px;text-align:right}figure{display:inline-block}text{font-size:11px}"
    page = (
        f"<!doctype html><meta charset=utf-8><title>bench</title><style>{style}</style><h1>Bench</h1>"
        f"<table>{rows}</table>{''.join(plots)}{''.join(table(scene, sizes, results) for scene in scenes)}"
    )
    (folder / "index.html").write_text(page)
    print(f"the report is {folder}/index.html", flush=True)
